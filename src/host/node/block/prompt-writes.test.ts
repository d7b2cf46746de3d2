import { expect, it } from 'vitest';
import { PromptWrites } from './prompt-writes.ts';

const KIB = 1024;

it('takes up to four whole pages', () => {
  const writes = new PromptWrites(
    () => 0,
    () => 0,
  );
  const taken = [
    [0, 4 * KIB], [4 * KIB, 16 * KIB], [0, 20 * KIB], [0, 0], [512, 4 * KIB], [0, 512],
  ].map(([offset = 0, bytes = 0]) => writes.takes(offset, bytes)); // prettier-ignore
  expect(taken).toEqual([true, true, false, false, false, false]);
});

it('leaves writes to others for twenty times as long as a slow one took', () => {
  let nowMs = 1000;
  let tookMs = 4;
  const writes = new PromptWrites(
    (_offset, pieces) => {
      nowMs += tookMs;
      if (tookMs === 0) throw new Error('no space');
      return pieces.length;
    },
    () => nowMs,
  );
  expect(writes.write(0, [new Uint8Array(1)])).toBe(1);
  expect(writes.takes(0, 4 * KIB)).toBe(true);
  tookMs = 10;
  writes.write(0, []);
  expect(writes.takes(0, 4 * KIB)).toBe(false);
  nowMs += 199;
  expect(writes.takes(0, 4 * KIB)).toBe(false);
  nowMs += 1;
  expect(writes.takes(0, 4 * KIB)).toBe(true);
  tookMs = 0;
  expect(() => writes.write(0, [])).toThrow('no space');
  expect(writes.takes(0, 4 * KIB)).toBe(true);
});
