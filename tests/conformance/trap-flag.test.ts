import { describe, expect, it } from 'vitest';
import { newArea, randomEncoding, randomState } from '../support/oracle/cases.ts';
import { compare, failureText } from '../support/oracle/compare.ts';
import { operandOffset } from '../support/oracle/encoding.ts';
import { allForms } from '../support/oracle/forms.ts';
import { createOutcome, createState, TF } from '../support/oracle/machine-state.ts';
import { hasNativeOracle, nativeOracle } from '../support/oracle/native.ts';
import { Random, seedOf } from '../support/oracle/random.ts';
import { engineOracle, TIERS } from '../support/oracle/tiers.ts';

const DB = 1;
const PRINTED = 5;

describe.runIf(hasNativeOracle).each(TIERS)('RFLAGS.TF, %s', (tier) => {
  it('traps behind every instruction that does not fault, and behind every iteration of a repeated one', () => {
    const state = createState();
    const expected = createOutcome();
    const got = createOutcome();
    const engine = engineOracle(tier);
    const failures: string[] = [];
    let trapped = 0;
    for (const form of allForms()) {
      const random = new Random(seedOf(form.key));
      const encoding = randomEncoding(form, random);
      newArea(encoding, state, random);
      randomState(encoding, state, random);
      state.rflags |= TF;
      nativeOracle()?.run(encoding.code, state, expected, true);
      engine.run(encoding.code, state, got, true);
      const at = operandOffset(encoding, state);
      if (expected.exception === null) {
        trapped++;
        if (got.exception?.vector === DB) got.exception = null;
        else failures.push(failureText(encoding, state, [['trap', '#DB', String(got.exception?.vector)]], at));
      }
      const differences = compare(encoding, state, expected, got, at);
      if (differences.length !== 0) failures.push(failureText(encoding, state, differences, at));
    }
    expect(failures.slice(0, PRINTED).join('\n\n')).toBe('');
    expect(trapped).toBeGreaterThan(allForms().length / 2);
  });
});
