import { describe, expect, it } from 'vitest';
import { asciiBytes } from '../../base/bytes.ts';
import { readKallsyms } from './kallsyms.ts';

const COUNT = 2400;
const KERNEL = -0x5a000000;

interface Layout {
  readonly pointerBytes: 4 | 8;
  /** Offsets before the names (Linux up to 6.3) or behind the token index. */
  readonly offsetsFirst: boolean;
  /** Kernel symbols are counted down from -1. */
  readonly percpu: boolean;
}

/** Names of two tokens: `T`, and one that stands for itself or for "function_". */
function nameOf(symbol: number): string {
  return `Tfunction_${symbol.toString().padStart(4, '0')}`;
}

/** What a kernel's memory holds, with something before and behind. */
function image({ pointerBytes, offsetsFirst, percpu }: Layout): Uint8Array {
  const bytes: number[] = Array.from({ length: 4096 }, (_, i) => (i * 37) & 0xff);
  const u32 = (value: number): void => {
    bytes.push(value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255);
  };
  const align = (): void => {
    while (bytes.length % pointerBytes !== 0) bytes.push(0);
  };
  const base = (): void => {
    align();
    u32(pointerBytes === 8 ? KERNEL >>> 0 : 0xc1000000);
    if (pointerBytes === 8) u32(-1);
  };
  const offsets = (): void => {
    align();
    for (let i = 0; i < COUNT; i++) u32(percpu ? (i < 10 ? i * 8 : -1 - i * 64) : i * 64);
  };
  if (offsetsFirst) {
    offsets();
    base();
  }
  align();
  u32(COUNT);
  align();
  const markers: number[] = [];
  const namesAt = bytes.length;
  for (let i = 0; i < COUNT; i++) {
    if (i % 256 === 0) markers.push(bytes.length - namesAt);
    const digits = [...asciiBytes(nameOf(i).slice(-4))];
    bytes.push(2 + digits.length, 'T'.charCodeAt(0), 200, ...digits);
  }
  align();
  for (const marker of markers) u32(marker);
  align();
  const tokensAt = bytes.length;
  const index: number[] = [];
  for (let token = 0; token < 256; token++) {
    index.push(bytes.length - tokensAt);
    const text = token === 200 ? 'function_' : token >= 32 && token < 127 ? String.fromCharCode(token) : 'xy';
    bytes.push(...asciiBytes(text), 0);
  }
  align();
  for (const offset of index) bytes.push(offset & 255, offset >> 8);
  if (!offsetsFirst) {
    offsets();
    base();
  }
  return Uint8Array.from([...bytes, ...Array.from({ length: 4096 }, (_, i) => (i * 91) & 0xff)]);
}

describe("Linux's table of symbols in memory", () => {
  it.each<Layout>([
    { pointerBytes: 8, offsetsFirst: true, percpu: true },
    { pointerBytes: 8, offsetsFirst: false, percpu: true },
    { pointerBytes: 8, offsetsFirst: false, percpu: false },
    { pointerBytes: 4, offsetsFirst: true, percpu: false },
  ])('is found and read (%j)', (layout) => {
    const symbols = readKallsyms(image(layout), layout.pointerBytes) ?? [];
    expect(symbols).toHaveLength(COUNT);
    const base = layout.pointerBytes === 8 ? KERNEL : 0xc1000000;
    expect(symbols[2000]).toEqual({ address: base + 2000 * 64, name: 'function_2000', code: true, global: true });
    // Absolute addresses of variables that each processor has its own of.
    expect(symbols[3]?.address).toBe(layout.percpu ? 24 : base + 3 * 64);
  });

  it('is not found where there is none, or a damaged one', () => {
    expect(readKallsyms(new Uint8Array(100_000), 8)).toBeUndefined();
    const damaged = image({ pointerBytes: 8, offsetsFirst: true, percpu: true });
    damaged.fill(0xee, 20_000, 20_200);
    expect(readKallsyms(damaged, 8)).toBeUndefined();
  });
});
