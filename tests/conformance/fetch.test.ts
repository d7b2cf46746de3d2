import { describe, expect, it } from 'vitest';
import { CODE_BASE, CODE_BYTES, CODE_PAGE, createOutcome, createState } from '../support/oracle/machine-state.ts';
import { hasNativeOracle, nativeOracle } from '../support/oracle/native.ts';
import { engineOracle, TIERS } from '../support/oracle/tiers.ts';

const END = CODE_PAGE + CODE_BYTES;
const JMP_BYTES = 5;

/** A jump to `cut` bytes before the end of the last page of code, and the first bytes of `insn` there. */
function atTheEnd(insn: readonly number[], cut: number): Uint8Array {
  const code = new Uint8Array(END - CODE_BASE).fill(0xcc);
  const distance = code.length - cut - JMP_BYTES;
  code.set([0xe9, distance & 255, distance >> 8, 0, 0]);
  code.set(insn.slice(0, cut), code.length - cut);
  return code;
}

const INSTRUCTIONS = {
  'MOV RAX, imm64': [0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8],
  'ADD [RSP + disp32], imm32': [0x48, 0x81, 0x84, 0x24, 0, 1, 0, 0, 1, 0, 0, 0],
  'JMP rel32': [0xe9, 0, 0, 0, 0],
  'prefixes only': [0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90],
  'no instruction': [0x06, 0, 0],
  'RET in the last byte, its target unmapped': [0xc3],
} as const;

describe.runIf(hasNativeOracle).each(TIERS)('fetching across the end of mapped code, %s', (tier) => {
  it.each(Object.entries(INSTRUCTIONS))('%s faults as on the host CPU', (_, insn) => {
    const expected = createOutcome();
    const got = createOutcome();
    const state = createState();
    for (let cut = 1; cut <= insn.length; cut++) {
      const code = atTheEnd(insn, cut);
      nativeOracle()?.run(code, state, expected);
      engineOracle(tier).runProgram(code, state, got, 100);
      expect({ cut, rip: got.rip, exception: got.exception }).toEqual({
        cut,
        rip: expected.rip,
        exception: expected.exception,
      });
      expect(got.state.gpr).toEqual(expected.state.gpr);
    }
  });
});
