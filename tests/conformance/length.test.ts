import { describe, expect, it } from 'vitest';
import { newArea, randomEncoding, randomState } from '../support/oracle/cases.ts';
import { allForms } from '../support/oracle/forms.ts';
import { CODE_BASE, createOutcome, createState } from '../support/oracle/machine-state.ts';
import { hasNativeOracle, nativeOracle } from '../support/oracle/native.ts';
import { Random, seedOf } from '../support/oracle/random.ts';

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
});
