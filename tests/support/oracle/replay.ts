/** Runs recorded vectors (vectors.ts) through an engine tier. */
import { readFileSync } from 'node:fs';
import { inflateRawSync } from 'node:zlib';
import { newArea, randomEncoding, randomState } from './cases.ts';
import { compare, failureText } from './compare.ts';
import { formsOf, type Result } from './conformance.ts';
import { operandOffset } from './encoding.ts';
import type { Family } from './forms.ts';
import { type CodeSize, createOutcome, createState, type Oracle } from './machine-state.ts';
import { Random, seedOf } from './random.ts';
import { readVectors } from './vectors.ts';

/** Cases recorded for each form. */
export const VECTOR_CASES = 3;

export function vectorFile(family: Family, codeSize: CodeSize): URL {
  const name = codeSize === 64 ? family : `${family}-${codeSize}`;
  return new URL(`../../conformance/vectors/${name}.bin`, import.meta.url);
}

/** Replays the first `cases` vectors of each form of a family. Forms that were never recorded are not counted. */
export function replay(family: Family, engine: Oracle, cases: number = VECTOR_CASES, codeSize: CodeSize = 64): Result {
  const result: Result = {
    forms: 0,
    cases: 0,
    faults: 0,
    failedForms: 0,
    failedCases: 0,
    failures: [],
    failedNames: new Map(),
  };
  const recorded = readVectors(inflateRawSync(readFileSync(vectorFile(family, codeSize))));
  const state = createState();
  const expected = createOutcome();
  const got = createOutcome();
  for (const form of formsOf(family, codeSize)) {
    const vectors = recorded.get(seedOf(form.key));
    if (vectors === undefined) continue;
    result.forms++;
    let failed = 0;
    const random = new Random(seedOf(form.key));
    for (const vector of vectors.slice(0, cases)) {
      const encoding = randomEncoding(form, random);
      newArea(encoding, state, random);
      randomState(encoding, state, random);
      vector.apply(state, expected);
      result.cases++;
      if (expected.exception !== null) result.faults++;
      engine.run(encoding.code, state, got, encoding.step);
      const at = operandOffset(encoding, state);
      const differences = compare(encoding, state, expected, got, at);
      if (differences.length === 0) continue;
      if (failed++ === 0) result.failures.push(failureText(encoding, state, differences, at));
    }
    if (failed === 0) continue;
    result.failedForms++;
    result.failedCases += failed;
    result.failedNames.set(form.row.name, (result.failedNames.get(form.row.name) ?? 0) + failed);
  }
  return result;
}
