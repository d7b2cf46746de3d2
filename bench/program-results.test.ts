import { describe, expect, it } from 'vitest';
import { leastTimes, programScript, resultsOf } from './program-results.ts';

describe('what the programs of the benchmark print', () => {
  it('is found among other lines of a console', () => {
    const output =
      'Linux\r\nbench lz 400 411371015 0001bcd8\r\nbench pixels skipped: no AVX2\r\nbench copy 12 5 4ff1806c\n';

    expect(resultsOf(output)).toEqual([
      { name: 'lz', rounds: 400, ns: 411371015, checksum: '0001bcd8' },
      { name: 'copy', rounds: 12, ns: 5, checksum: '4ff1806c' },
    ]);
  });

  it('is compared by the time of a round, since runs may be of different lengths', () => {
    const output = 'bench lz 400 4000 0000000a\nbench lz 40 390 0000000a\nbench lz 400 4100 0000000a\n';

    expect(leastTimes(resultsOf(output)).get('lz')?.ns).toBe(390);
  });
});

it('programs are called in the guest by their path', () => {
  const script = programScript([
    { name: 'lz', bits: 64, percent: 100 },
    { name: 'nbody-x87', bits: 32, percent: 10 },
  ]);

  expect(script).toBe('#!/bin/sh\n/bench/lz 100\n/bench/32/nbody-x87 10\n');
});
