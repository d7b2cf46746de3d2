import { describe, expect, it } from 'vitest';
import { didYouMean, editDistance, nearestName } from './nearest.ts';

describe('nearest names', () => {
  it.each([
    ['', '', 0],
    ['', 'abc', 3],
    ['kitten', 'sitting', 3],
    ['serail', 'serial', 1],
    ['append', 'apend', 1],
  ])('counts the mistakes between %j and %j', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
    expect(editDistance(b, a)).toBe(distance);
  });

  it('finds the name that was meant', () => {
    const known = ['virtio-net-pci', 'virtio-blk-pci', 'isa-debug-exit', 'pc-testdev'];
    expect(nearestName('virtio-net-pcie', known)).toBe('virtio-net-pci');
    expect(nearestName('isa-debugexit', known)).toBe('isa-debug-exit');
    expect(nearestName('virtio-net', known)).toBe('virtio-net-pci');
    expect(nearestName('floppy', known)).toBeUndefined();
  });

  it('ends a message', () => {
    expect(didYouMean('kernal', ['kernel', 'initrd'])).toBe("; did you mean 'kernel'?");
    expect(didYouMean('zzz', ['kernel', 'initrd'])).toBe('');
  });
});
