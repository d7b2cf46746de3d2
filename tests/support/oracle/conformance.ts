/**
 * The conformance run: forms of a family, several encodings each, several states each, host CPU against an engine tier.
 *
 * Every form has its own seed, so a failure repeats whatever else is run. ORRERY_CONFORMANCE=full runs twenty times as many.
 */
import { compare, failureText } from './compare.ts';
import { newArea, randomEncoding, randomState } from './cases.ts';
import { operandOffset, strays } from './encoding.ts';
import { allForms, type Family, type Form } from './forms.ts';
import { type CodeSize, createOutcome, createState, type Oracle } from './machine-state.ts';
import { Random, seedOf } from './random.ts';

export interface Amount {
  readonly encodings: number;
  readonly states: number;
}

const isFull = process.env['ORRERY_CONFORMANCE'] === 'full';

/** How much of a family is run: translating an encoding costs the JIT more than running it many times. */
export function amountFor(tier: 'interp' | 'jit'): Amount {
  if (isFull) return { encodings: 24, states: 20 };
  return tier === 'interp' ? { encodings: 4, states: 6 } : { encodings: 1, states: 6 };
}

export interface Result {
  forms: number;
  cases: number;
  /** Cases that ended in an exception on the host. */
  faults: number;
  failedForms: number;
  failedCases: number;
  /** The first failing case of each form, as text. */
  failures: string[];
  /** Row names with failures, and of how many cases. */
  failedNames: Map<string, number>;
}

export const FAMILIES: readonly Family[] = [
  'integer',
  'shift',
  'bit',
  'string',
  'stack',
  'control',
  'system',
  'x87',
  'mmx',
  'sse',
  'crypto',
  'avx',
];

export function formsOf(family: Family, codeSize: CodeSize = 64): readonly Form[] {
  return allForms(codeSize).filter((form) => form.family === family);
}

/** Runs `forms` on both and compares. */
export function runForms(forms: readonly Form[], host: Oracle, engine: Oracle, amount: Amount, seed = 0): Result {
  const result: Result = {
    forms: 0,
    cases: 0,
    faults: 0,
    failedForms: 0,
    failedCases: 0,
    failures: [],
    failedNames: new Map(),
  };
  const state = createState();
  const expected = createOutcome();
  const got = createOutcome();
  for (const form of forms) {
    result.forms++;
    let failedHere = 0;
    const random = new Random(seedOf(form.key) + seed);
    let threw = false;
    for (let e = 0; e < amount.encodings && !threw; e++) {
      const encoding = randomEncoding(form, random);
      newArea(encoding, state, random);
      for (let s = 0; s < amount.states && !threw; s++) {
        randomState(encoding, state, random);
        if (strays(encoding)) continue;
        host.run(encoding.code, state, expected, encoding.step);
        result.cases++;
        if (expected.exception !== null) result.faults++;
        let text: string | undefined;
        const at = operandOffset(encoding, state);
        try {
          engine.run(encoding.code, state, got, encoding.step);
          const differences = compare(encoding, state, expected, got, at);
          if (differences.length !== 0) text = failureText(encoding, state, differences, at);
        } catch (error) {
          threw = true; // and it would again
          text = failureText(encoding, state, [['run', 'an outcome', String(error)]], at);
        }
        if (text === undefined) continue;
        if (failedHere === 0) result.failures.push(text);
        failedHere++;
      }
    }
    if (failedHere > 0) {
      result.failedForms++;
      result.failedCases += failedHere;
      result.failedNames.set(form.row.name, (result.failedNames.get(form.row.name) ?? 0) + failedHere);
    }
  }
  return result;
}

export function summary(result: Result): string {
  const { forms, cases, faults, failedForms, failedCases } = result;
  return `${forms} forms, ${cases} cases (${faults} faults); failing: ${failedForms} forms, ${failedCases} cases`;
}
