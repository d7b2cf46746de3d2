import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.ts';
import { LinearReader } from './linear-reader.ts';

const CPU = L.FIRST_VCPU;
const RAM = 0x200000;
const PRESENT = 0x3;
const LARGE = 0x80;

/** A vCPU's state and 1 MiB of guest RAM in which each page begins with its number. */
function guest(): {
  i32: Int32Array;
  ram: (physical: number, value: number, high?: number) => void;
  reader: LinearReader;
} {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
  const i32 = new Int32Array(memory.buffer);
  const slot = L.MACHINE_SLOTS >> 2;
  i32[L.MACHINE_SLOT_COUNT >> 2] = 1;
  i32[slot + L.SLOT_PAGES / 4] = 256;
  i32[slot + L.SLOT_HOST / 4] = RAM;
  const ram = (physical: number, value: number, high = 0): void => {
    i32[(RAM + physical) >> 2] = value;
    i32[((RAM + physical) >> 2) + 1] = high;
  };
  for (let page = 64; page < 256; page++) ram(page * 4096, page);
  return { i32, ram, reader: new LinearReader(memory, CPU) };
}

function state(i32: Int32Array, offset: number, value: number): void {
  i32[(CPU + offset) >> 2] = value;
}

function pageAt(reader: LinearReader, linear: number): number | undefined {
  const bytes = new Uint8Array(4);
  return reader.read(linear, bytes) === 4 ? new DataView(bytes.buffer).getUint32(0, true) : undefined;
}

describe('reading by linear address', () => {
  it('is reading by physical address without paging', () => {
    const { reader } = guest();
    expect(pageAt(reader, 70 * 4096)).toBe(70);
    expect(pageAt(reader, 256 * 4096)).toBeUndefined();
  });

  it('follows four levels, large pages and addresses of a kernel', () => {
    const { i32, ram, reader } = guest();
    state(i32, L.CPU_CR0, 0x80000001 | 0);
    state(i32, L.CPU_CR4, 0x20);
    state(i32, L.CPU_EFER, 0x500);
    state(i32, L.CPU_CR3, 0x1000 | 0x18);
    ram(0x1000, 0x2000 | PRESENT);
    ram(0x2000, 0x3000 | PRESENT);
    ram(0x3000 + 8, 0x4000 | PRESENT);
    ram(0x4000 + 8, 0x50000 | PRESENT, 0x80000000 | 0);
    // -2 GiB: the last entry but one of the last table but one.
    ram(0x1000 + 511 * 8, 0x5000 | PRESENT);
    ram(0x5000 + 510 * 8, 0x6000 | PRESENT);
    ram(0x6000, LARGE | PRESENT);
    expect(pageAt(reader, 0x201000)).toBe(0x50);
    expect(pageAt(reader, 0x200000)).toBeUndefined();
    expect(pageAt(reader, -(2 ** 31) + 100 * 4096)).toBe(100);
    const bytes = new Uint8Array(8192);
    expect(reader.read(0x201800, bytes)).toBe(0x800);
  });

  it('follows the two levels of 32-bit paging, and PAE', () => {
    const { i32, ram, reader } = guest();
    state(i32, L.CPU_CR0, 0x80000001 | 0);
    state(i32, L.CPU_CR3, 0x1000);
    ram(0x1000 + 0x300 * 4, 0x2000 | PRESENT);
    ram(0x2000 + 4, 0x60000 | PRESENT);
    expect(pageAt(reader, 0xc0001000)).toBe(0x60);
    state(i32, L.CPU_CR4, 0x20);
    state(i32, L.CPU_CR3, 0x3020);
    ram(0x3020 + 3 * 8, 0x4000 | 1);
    ram(0x4000, 0x5000 | PRESENT);
    ram(0x5000 + 8, 0x70000 | PRESENT);
    expect(pageAt(reader, 0xc0001000)).toBe(0x70);
    expect(pageAt(reader, 0x1000)).toBeUndefined();
  });
});
