import { describe, expect, test } from 'vitest';
import { MicrocodeBench, RAM } from '../../../tests/support/microcode-bench.ts';
import * as L from '../layout.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSI = 6;
const RDI = 7;

function longBench(rcx: number, rsi: number, rdi: number): MicrocodeBench {
  const bench = new MicrocodeBench();
  bench.longMode();
  bench.setGpr(RCX, rcx);
  bench.setGpr(RSI, rsi);
  bench.setGpr(RDI, rdi);
  return bench;
}

function state(bench: MicrocodeBench): number[] {
  return [RCX, RSI, RDI].map((n) => Number(bench.gpr(n)));
}

describe('repeated string instructions', () => {
  test('MOVS over page ends in runs', () => {
    const bench = longBench(0x1800, 0x20003, 0x28801);
    for (let i = 0; i < 0x1800; i++) bench.bytes[RAM + 0x20003 + i] = i * 7;
    expect(bench.call('repMovs', 1, 64, L.DS)).toBe(0);
    expect(state(bench)).toEqual([0, 0x21803, 0x2a001]);
    const at = RAM + 0x28801;
    expect(bench.bytes.slice(at, at + 0x1800).every((b, i) => b === ((i * 7) & 255))).toBe(true);
  });

  test('MOVS onto itself repeats the pattern; downwards it does not', () => {
    const bench = longBench(20, 0x20000, 0x20002);
    bench.setPhys32(0x20000, 0x2211);
    bench.call('repMovs', 1, 64, L.DS);
    expect(bench.phys64(0x20010)).toBe(0x0000221122112211n);
    bench.call('setFlags', 0x402);
    bench.setGpr(RCX, 2);
    bench.setGpr(RSI, 0x20008);
    bench.setGpr(RDI, 0x20108);
    bench.call('repMovs', 8, 64, L.DS);
    expect(state(bench)).toEqual([0, 0x1fff8, 0x200f8]);
    expect(bench.phys64(0x20100)).toBe(bench.phys64(0x20000));
  });

  /** Linear 0x30000 to 0x37fff lies in physical memory in the order of `frames`. */
  function scattered(bench: MicrocodeBench, frames: readonly number[]): (va: number) => number {
    frames.forEach((frame, i) => bench.setPhys64(0x13000 + (0x30 + i) * 8, frame * 0x1000 + 7));
    bench.call('flushTlb', 0);
    return (va) => RAM + (frames[(va >> 12) - 0x30] ?? 0) * 0x1000 + (va & 0xfff);
  }

  const FRAMES = [0x40, 0x41, 0x42, 0x50, 0x51, 0x3f, 0x3e, 0x60];

  test.each([
    [1, 0x30123, 0x34345, 0x2f00],
    [8, 0x30004, 0x34001, 0x2f00],
    [8, 0x30000, 0x30003, 0x1800],
    [8, 0x30000, 0x30008, 0x1800],
    [4, 0x30010, 0x30031, 0x2f00],
    [2, 0x30010, 0x31011, 0x3f00],
    [1, 0x34345, 0x34300, 0x2000],
    [8, 0x32ff9, 0x30000, 0x3000],
  ])('MOVS of %d bytes from %x to %x over pages that lie here and there', (width, from, to, bytes) => {
    const count = Math.floor(bytes / width);
    const bench = longBench(count, from, to);
    const host = scattered(bench, FRAMES);
    const model = new Uint8Array(0x8000);
    for (let i = 0; i < 0x8000; i++) model[i] = bench.bytes[host(0x30000 + i)] = (i * 31) ^ (i >> 7);
    for (let i = 0; i < count * width; i += width)
      model.copyWithin(to - 0x30000 + i, from - 0x30000 + i, from - 0x30000 + i + width);
    // The second time everything is in the TLB. Onto itself, the first has no second.
    for (let turn = 0; turn < (Math.abs(to - from) < bytes ? 1 : 2); turn++) {
      bench.setGpr(RCX, count);
      bench.setGpr(RSI, from);
      bench.setGpr(RDI, to);
      expect(bench.call('repMovs', width, 64, L.DS)).toBe(0);
      expect(state(bench)).toEqual([0, from + count * width, to + count * width]);
      const found = model.map((_, i) => bench.bytes[host(0x30000 + i)] ?? 0);
      expect(found.findIndex((byte, i) => byte !== model[i])).toBe(-1);
    }
  });

  test.each([1, 2, 4, 8])('STOS of %d bytes over pages that lie here and there', (width) => {
    const count = Math.floor(0x5000 / width);
    const bench = longBench(count, 0, 0x30123);
    const host = scattered(bench, FRAMES);
    bench.setGpr(RAX, 0x8877665544332211n);
    for (let turn = 0; turn < 2; turn++) {
      bench.setGpr(RCX, count);
      bench.setGpr(RDI, 0x30123);
      expect(bench.call('repStos', width, 64)).toBe(0);
      for (let i = -1; i <= 0x5000; i++) {
        const wanted = i < 0 || i === 0x5000 ? 0 : ((i % width) + 1) * 0x11;
        if (bench.bytes[host(0x30123 + i)] !== wanted) expect.fail(`byte ${i}`);
      }
    }
  });

  test('a fault in the middle leaves registers where it happened', () => {
    const bench = longBench(0x400, 0x20000, 0x28000);
    bench.setPhys64(0x13000 + 0x29 * 8, 0);
    expect(bench.call('repMovs', 8, 64, L.DS)).toBe(1);
    expect(bench.exception()).toBe('#14(2) 29000');
    expect(state(bench)).toEqual([0x200, 0x21000, 0x29000]);
  });

  test('long runs stop to let interrupts in, and count as work', () => {
    const bench = longBench(0x100000, 0, 0x80000);
    bench.setGpr(RAX, 0);
    bench.set32(L.CPU_BUDGET, 100000);
    expect(bench.call('repStos', 1, 64)).toBe(1);
    expect(bench.exception()).toBe('-');
    expect(bench.gpr(RCX)).toBeLessThan(0x100000n);
    expect(bench.gpr(RCX)).toBeGreaterThan(0n);
    expect(bench.get32(L.CPU_BUDGET)).toBeLessThan(100000);
  });

  test('16-bit addresses wrap and leave the upper halves alone', () => {
    const bench = new MicrocodeBench();
    bench.setSegment(L.ES, 0x2000, 0x20000, 0xffff, 0x93);
    bench.setGpr(RAX, 0x41);
    bench.setGpr(RCX, 0x70004);
    bench.setGpr(RDI, 0x5fffe);
    expect(bench.call('repStos', 1, 16)).toBe(0);
    expect([bench.gpr(RCX), bench.gpr(RDI)]).toEqual([0x70000n, 0x50002n]);
    expect([bench.phys16(0x2fffe), bench.phys16(0x20000)]).toEqual([0x4141, 0x4141]);
  });

  test('SCAS and CMPS stop at the element that decides', () => {
    const bench = longBench(100, 0x20000, 0x21ffc);
    bench.setPhys32(0x22001, 0x55);
    bench.setGpr(RAX, 0x55);
    expect(bench.call('repScas', 1, 64, 0)).toBe(0);
    expect([bench.gpr(RCX), bench.gpr(RDI)]).toEqual([94n, 0x22002n]);
    expect(bench.call('getFlags') & 0x40).toBe(0x40);
    bench.setGpr(RCX, 8);
    bench.setGpr(RDI, 0x21000);
    bench.setPhys32(0x20010, 9);
    expect(bench.call('repCmps', 4, 64, L.DS, 1)).toBe(0);
    expect(state(bench)).toEqual([3, 0x20014, 0x21014]);
    expect(bench.call('getFlags') & 0x41).toBe(0);
  });

  test('devices see single elements', () => {
    const bench = longBench(2, 0x5000, 0x20000);
    bench.setPhys64(0x13000 + 5 * 8, 0xfee00007n);
    bench.mmioValue = 0x77n;
    expect(bench.call('repMovs', 4, 64, L.DS)).toBe(0);
    expect(bench.mmio).toEqual(['r4@fee00000', 'r4@fee00004']);
    expect(bench.phys64(0x20000)).toBe(0x7700000077n);
  });

  test('INS checks the destination before it reads the port', () => {
    const bench = longBench(2, 0, 0x5ffe);
    bench.setGpr(RDX, 0x1f0);
    bench.setPhys64(0x13000 + 6 * 8, 0);
    bench.portValue = 0x1111;
    expect(bench.call('ins', 2, 64, 1)).toBe(1);
    expect(bench.exception()).toBe('#14(2) 6000');
    expect(bench.ports).toEqual(['r2@1f0']);
    expect([bench.phys16(0x5ffe), bench.gpr(RCX)]).toEqual([0x1111, 1n]);
  });

  test('OUTS obeys the I/O permission bitmap', () => {
    const bench = longBench(1, 0x5000, 0);
    bench.setSegment(L.TR, 0x40, 0x3000, 0x88, 0x8b);
    bench.setPhys16(0x3000 + 102, 0x68);
    bench.setPhys32(0x3000 + 0x68 + 8, 0xfffffffe);
    bench.userMode(true);
    bench.setGpr(RDX, 0x40);
    bench.setPhys32(0x5000, 0xab);
    expect(bench.call('outs', 1, 64, L.DS, 0)).toBe(0);
    expect(bench.ports).toEqual(['w1@40=ab']);
    expect(bench.call('outs', 2, 64, L.DS, 0)).toBe(1);
    expect(bench.exception()).toBe('#13(0)');
    bench.setGpr(RDX, 0x400);
    bench.call('outs', 1, 64, L.DS, 0);
    expect(bench.exception()).toBe('#13(0)');
  });
});
