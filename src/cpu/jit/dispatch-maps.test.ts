import { describe, expect, it } from 'vitest';
import { DispatchMaps } from './dispatch-maps.ts';

describe('DispatchMaps', () => {
  it('numbers entries by their distance from the first', () => {
    const memory = new Uint8Array(64).fill(0xaa);
    const map = new DispatchMaps(memory, 16, 32).make([5, -2, 9]);
    expect(map).toEqual({ at: 16, from: -2, bytes: 12 });
    expect([...memory.subarray(16, 28)]).toEqual([2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3]);
    expect(memory[28]).toBe(0xaa);
  });

  it('takes back what is released, and says when there is no room', () => {
    const maps = new DispatchMaps(new Uint8Array(64), 0, 20);
    const first = maps.make([0, 9]);
    const second = maps.make([0, 9]);
    expect([first?.at, second?.at]).toEqual([0, 10]);
    expect(maps.make([0])).toBeUndefined();
    if (first !== undefined && second !== undefined) {
      maps.release(second);
      maps.release(first);
    }
    expect(maps.make([0, 19])?.at).toBe(0);
  });

  it('has no numbers for more than 255 entries', () => {
    const maps = new DispatchMaps(new Uint8Array(4096), 0, 4096);
    expect(maps.make(Array.from({ length: 256 }, (_, i) => i))).toBeUndefined();
    expect(maps.make(Array.from({ length: 255 }, (_, i) => i))).toBeDefined();
  });
});
