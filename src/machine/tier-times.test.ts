import { expect, test } from 'vitest';
import { TierTimes } from './tier-times.ts';

test('finds what an instruction of each tier costs from slices of different mixture', () => {
  const times = new TierTimes();
  // 10 ns interpreted, 1 ns translated.
  for (const [interpreted, translated] of [
    [100, 0],
    [90, 400],
    [10, 5000],
    [0, 3000],
  ] as const) {
    times.add(interpreted * 10 + translated, interpreted, translated);
  }
  const { interpNs, jitNs } = times.estimate();
  expect(interpNs).toBeCloseTo(2000, 3);
  expect(jitNs).toBeCloseTo(8400, 3);
});

test('gives all time to the tier that ran alone', () => {
  const times = new TierTimes();
  times.add(500, 20, 0);
  expect(times.estimate()).toEqual({ interpNs: 500, jitNs: 0 });
});

test('does not divide by nothing when all slices are alike', () => {
  const times = new TierTimes();
  for (let i = 0; i < 5; i++) times.add(100, 10, 30);
  expect(times.estimate()).toEqual({ interpNs: 125, jitNs: 375 });
});
