import { describe, expect, it } from 'vitest';
import type { Vcpu, VcpuPlace } from '../../accel/contract.ts';
import { asciiBytes } from '../../base/bytes.ts';
import { processName } from './process-name.ts';

const TOP = 0x7ff000;

/** A stack as execve leaves it: path, environment and arguments as text, auxiliary vector, pointers. */
function nameOf(
  path: string,
  args: readonly string[],
  pointerBytes: 4 | 8,
  stackPointer = TOP - 0x800,
): string | undefined {
  const memory = new Uint8Array(0x1000);
  const view = new DataView(memory.buffer);
  let at = memory.length - pointerBytes;
  const text = (value: string): number => {
    at -= value.length + 1;
    memory.set(asciiBytes(value), at);
    return TOP - memory.length + at;
  };
  const pathAt = text(path);
  const home = text('HOME=/');
  const argumentsAt = args.map(text);
  const words = [args.length, ...argumentsAt, 0, home, 0, 33, 0x1234000, 6, 4096, 31, pathAt, 15, 0x5000, 0, 0];
  words.forEach((word, i) => view.setUint32(memory.length - 0x400 + i * pointerBytes, word, true));
  const vcpu = {
    peek(linear: number, into: Uint8Array): number {
      const from = linear - (TOP - memory.length);
      if (from < 0) return 0;
      const part = memory.subarray(from, from + into.length);
      into.set(part);
      return part.length;
    },
  };
  // INVARIANT: the name is found by the stack pointer and memory alone.
  return processName(vcpu as unknown as Vcpu, { stackPointer, pageTables: 0x1000 } as unknown as VcpuPlace);
}

describe('the name of the program that runs', () => {
  it.each([8, 4] as const)('is the path it was started by (pointers of %i bytes)', (pointerBytes) => {
    expect(nameOf('/usr/bin/sha256sum', ['sha256sum', '-b'], pointerBytes)).toBe('/usr/bin/sha256sum');
  });

  it.each([8, 4] as const)(
    'is its first argument when it started itself anew (pointers of %i bytes)',
    (pointerBytes) => {
      expect(nameOf('/proc/self/exe', ['wc', '-l', '/proc/cpuinfo'], pointerBytes)).toBe('wc');
      expect(nameOf('/proc/self/exe', [], pointerBytes)).toBe('/proc/self/exe');
    },
  );

  it('is not known where the stack is something else', () => {
    expect(nameOf('not a\tpath', [], 8)).toBeUndefined();
    expect(nameOf('/bin/sh', ['sh'], 8, 0x1000)).toBeUndefined();
  });
});
