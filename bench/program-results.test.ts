import { describe, expect, it } from 'vitest';
import { programScript, resultsOf, withoutWaiting } from './program-results.ts';

it('what the programs print is found among other lines of a console', () => {
  const output =
    'Linux\r\nbench lz 400 411 410 0001bcd8\r\nbench pixels skipped: no AVX2\r\nbench copy 12 5 4 4ff1806c\n';

  expect(resultsOf(output)).toEqual([
    { name: 'lz', rounds: 400, ns: 411, cpuNs: 410, checksum: '0001bcd8' },
    { name: 'copy', rounds: 12, ns: 5, cpuNs: 4, checksum: '4ff1806c' },
  ]);
});

describe('time in which the emulator waited for a processor', () => {
  const result = { name: 'lz', rounds: 1, ns: 1000, cpuNs: 1000, checksum: '0000000a' };

  it('is taken off each program by its share', () => {
    const moments = [
      { wallSeconds: 20, queuedSeconds: 6 },
      { wallSeconds: 30, queuedSeconds: 6 },
    ];

    const quiet = withoutWaiting([result, result], { wallSeconds: 10, queuedSeconds: 1 }, moments);

    expect(quiet.map(({ ns }) => ns)).toEqual([500, 1000]);
  });

  it('is left alone where the host does not tell it', () => {
    expect(withoutWaiting([result], { wallSeconds: 0, queuedSeconds: 0 }, [])).toEqual([result]);
  });
});

it('programs are called in the guest by their path', () => {
  const script = programScript([
    { name: 'lz', bits: 64, percent: 100 },
    { name: 'nbody-x87', bits: 32, percent: 10 },
  ]);

  expect(script).toBe('#!/bin/sh\n/bench/lz 100\n/bench/32/nbody-x87 10\n');
});
