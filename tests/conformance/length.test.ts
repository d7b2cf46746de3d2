import { describe, expect, it } from 'vitest';
import { createInsn, decode } from '../../src/cpu/x86/decode/decoder.ts';
import { DecodeStatus } from '../../src/cpu/x86/decode/insn.ts';
import { newArea, randomEncoding, randomState } from '../support/oracle/cases.ts';
import { allForms } from '../support/oracle/forms.ts';
import { CODE_BASE, createOutcome, createState } from '../support/oracle/machine-state.ts';
import { hasNativeOracle, nativeOracle } from '../support/oracle/native.ts';
import { Random, seedOf } from '../support/oracle/random.ts';

const UD = 6;

describe.runIf(hasNativeOracle)('instruction lengths', () => {
  it('are what the host CPU steps over, for every form that does not branch, repeat or fault', () => {
    const state = createState();
    const out = createOutcome();
    const wrong: string[] = [];
    let stepped = 0;
    for (const form of allForms()) {
      if (form.family === 'control' || form.family === 'system' || form.row.string === true) continue;
      const random = new Random(seedOf(form.key));
      for (let attempt = 0; attempt < 3; attempt++) {
        const encoding = randomEncoding(form, random);
        newArea(encoding, state, random);
        randomState(encoding, state, random);
        nativeOracle()?.run(encoding.code, state, out, true);
        if (out.exception !== null) continue;
        stepped++;
        if (out.rip !== CODE_BASE + encoding.code.length)
          wrong.push(`${form.key}: ${Buffer.from(encoding.code).toString('hex')}, rip ${out.rip}`);
        break;
      }
    }
    expect(wrong).toEqual([]);
    expect(stepped).toBeGreaterThan(allForms().length / 2);
  });

  it('LOCK is refused by the decoder where the host CPU refuses it', () => {
    const state = createState();
    const out = createOutcome();
    const insn = createInsn();
    const wrong: string[] = [];
    for (const form of allForms()) {
      // LOCK MOV CR0 is MOV CR8 to AMD's processors.
      if (form.key.includes(' lock') || /^MOV_(from|to)_CR$/.test(form.row.name)) continue;
      const random = new Random(seedOf(form.key));
      const encoding = randomEncoding(form, random);
      newArea(encoding, state, random);
      randomState(encoding, state, random);
      const code = Uint8Array.of(0xf0, ...encoding.code);
      nativeOracle()?.run(code, state, out, true);
      const refused = decode(code, 0, code.length, 64, insn) === DecodeStatus.invalid;
      if (refused !== (out.exception?.vector === UD)) wrong.push(`${form.key}: ${Buffer.from(code).toString('hex')}`);
    }
    expect(wrong).toEqual([]);
  });
});
