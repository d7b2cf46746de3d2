/**
 * Straight runs of SSE arithmetic, in which a tier knows of earlier results what it need not look at again: mostly ordinary
 * numbers, now and then a denormal, a zero, an infinity or a NaN, in the default mode and in others.
 */
import { describe, expect, it } from 'vitest';
import { newArea, randomEncoding } from '../support/oracle/cases.ts';
import { compare, failureText } from '../support/oracle/compare.ts';
import type { Encoding } from '../support/oracle/encoding.ts';
import type { EngineOracle } from '../support/oracle/engine.ts';
import { allForms } from '../support/oracle/forms.ts';
import { createOutcome, createState, FX_MXCSR, FX_XMM, type Oracle } from '../support/oracle/machine-state.ts';
import { hasNativeOracle, nativeOracle } from '../support/oracle/native.ts';
import { Random } from '../support/oracle/random.ts';
import { engineOracle, TIERS } from '../support/oracle/tiers.ts';

const RUNS = process.env['ORRERY_CONFORMANCE'] === 'full' ? 50_000 : 1000;
const LENGTH = 12;
const UD2 = [0x0f, 0x0b];
const REGISTERS = 5;

/** Opcodes in map 0F: SQRT ADD MUL SUB MIN DIV MAX. */
const OPCODES = [0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f];
const PREFIXES = [[], [0x66], [0xf2], [0xf3]];
/** MOVAPS, MOVAPD, MOVSD, MOVSS, UNPCKLPD, CVTSS2SD, CVTSD2SS, HADDPD, ADDSUBPS, UCOMISD, CMPLTSD. */
const OTHERS = [
  [0x0f, 0x28],
  [0x66, 0x0f, 0x28],
  [0xf2, 0x0f, 0x10],
  [0xf3, 0x0f, 0x10],
  [0x66, 0x0f, 0x14],
  [0xf3, 0x0f, 0x5a],
  [0xf2, 0x0f, 0x5a],
  [0x66, 0x0f, 0x7c],
  [0xf2, 0x0f, 0xd0],
  [0x66, 0x0f, 0x2e],
];

function randomCode(random: Random): Uint8Array {
  // Mostly of one width, as programs are.
  const width = random.pick([0, 1]);
  const bytes: number[] = [];
  for (let i = 0; i < LENGTH; i++) {
    const modrm = 0xc0 | (random.below(REGISTERS) << 3) | random.below(REGISTERS);
    if (random.oneIn(5)) bytes.push(...random.pick(OTHERS), modrm);
    else {
      const prefix = random.oneIn(8) ? random.pick(PREFIXES) : random.pick(width ? [[0x66], [0xf2]] : [[], [0xf3]]);
      bytes.push(...prefix, 0x0f, random.pick(OPCODES), modrm);
    }
  }
  return new Uint8Array([...bytes, ...UD2]);
}

const ODD64 = [
  0n,
  1n << 63n,
  1n,
  0x000fffffffffffffn,
  0x8000000000000001n,
  0x0010000000000000n,
  0x7ff0000000000000n,
].concat([0xfff0000000000000n, 0x7ff8000000000001n, 0x7ff0000000000001n, 0x7fefffffffffffffn, 0x0010000000000001n]);
const ODD32 = [0, 0x80000000, 1, 0x7fffff, 0x80000001, 0x800000, 0x7f800000, 0xff800000, 0x7fc00001, 0x7f800001].concat(
  [0x7f7fffff, 0x00800001],
);

function fill(fx: DataView, random: Random): void {
  const doubles = random.oneIn(2);
  const scale = random.oneIn(6) ? 1000 : 4;
  for (let i = 0; i < REGISTERS; i++) {
    for (let at = FX_XMM + i * 16; at < FX_XMM + i * 16 + 16; at += doubles ? 8 : 4) {
      const odd = random.oneIn(12);
      const number = (random.u32() / 2 ** 32 - 0.5) * 2 ** (random.below(2 * scale) - scale);
      if (doubles && odd) fx.setBigUint64(at, random.pick(ODD64), true);
      else if (doubles) fx.setFloat64(at, number, true);
      else if (odd) fx.setUint32(at, random.pick(ODD32), true);
      else fx.setFloat32(at, number, true);
    }
  }
  const masks = random.oneIn(8) ? random.u32() & 0x1f80 : 0x1f80;
  const modes = random.oneIn(5) ? (random.u32() & 0xe000) | (random.u32() & 0x40) : 0;
  fx.setUint32(FX_MXCSR, masks | modes | (random.oneIn(3) ? 0 : 0x20), true);
}

function firstFailures(host: Oracle, engine: EngineOracle): string[] {
  // INVARIANT: UD2 is in the tables.
  const neutral: Encoding = randomEncoding(
    allForms(64).find((form) => form.row.name === 'UD2')!,
    new Random(1),
  );
  const state = createState();
  const [expected, got] = [createOutcome(), createOutcome()];
  const failures: string[] = [];
  for (let seed = 1; seed <= RUNS && failures.length < 3; seed++) {
    const random = new Random(seed);
    newArea(neutral, state, random);
    fill(new DataView(state.fx.buffer, state.fx.byteOffset), random);
    const code = randomCode(random);
    host.run(code, state, expected);
    engine.runProgram(code, state, got, 1000);
    const differences = compare(neutral, state, expected, got, -1);
    if (differences.length === 0) continue;
    const bytes = Array.from(code, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    failures.push(`seed ${seed}: ${bytes}\n${failureText(neutral, state, differences, -1)}`);
  }
  return failures;
}

describe.runIf(hasNativeOracle).each(TIERS)('runs of SSE arithmetic, %s', (tier) => {
  it('end as on the host CPU', () => {
    const host = nativeOracle();
    if (host === undefined) return;
    expect(firstFailures(host, engineOracle(tier)).join('\n\n')).toBe('');
  }, 600_000);
});
