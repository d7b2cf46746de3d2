import { describe, expect, it } from 'vitest';
import type { Vcpu, VcpuPlace } from '../../accel/contract.ts';
import { asciiBytes } from '../../base/bytes.ts';
import { GuestSymbols, readSymbolFile } from './guest-symbols.ts';

const MAP = asciiBytes(
  'ffffffff81000000 T _text\nffffffff81e00080 T entry_SYSCALL_64\nffffffff81e00be0 T asm_exc_page_fault\nffffffff81f00000 T last\n',
);
const TEXT = -0x7f000000;
const MOVED = 0x25a00000;
const IDT = -0x10000;

/** A 64-bit guest whose IDT is at IDT. */
function guest(state: Partial<VcpuPlace>, pageFault = 0): Vcpu {
  const place = { longMode: true, syscallEntry: 0, sysenterEntry: 0, interruptTable: IDT, ...state };
  const vcpu = {
    place: () => place,
    peek(linear: number, into: Uint8Array): number {
      if (linear !== IDT + 14 * 16 || pageFault === 0) return 0;
      const view = new DataView(into.buffer, into.byteOffset);
      const low = pageFault >>> 0;
      view.setUint16(0, low & 0xffff, true);
      view.setUint16(6, low >>> 16, true);
      view.setInt32(8, Math.floor(pageFault / 2 ** 32), true);
      return into.length;
    },
  };
  // INVARIANT: no more of the vCPU is used.
  return vcpu as unknown as Vcpu;
}

const table = readSymbolFile({ name: 'System.map', bytes: MAP });

describe('the names of a kernel that moved itself', () => {
  it.each([
    ['SYSCALL', guest({ syscallEntry: TEXT + 0xe00080 + MOVED })],
    ['the page fault gate', guest({}, TEXT + 0xe00be0 + MOVED)],
  ])('are found by where %s leads', (_, vcpu) => {
    const symbols = new GuestSymbols(vcpu, [table]);
    expect(symbols.find(TEXT + MOVED)).toBeUndefined();
    symbols.locate(0x1000);
    expect(symbols.find(TEXT + MOVED + 5)).toEqual({ name: '_text', address: TEXT + MOVED });
    symbols.forget();
    expect(symbols.find(TEXT + MOVED)).toBeUndefined();
  });

  it('are not given to another kernel', () => {
    const symbols = new GuestSymbols(guest({ syscallEntry: TEXT + 0xe00090 + MOVED }), [table]);
    symbols.locate(0x1000);
    expect(symbols.find(TEXT + MOVED + 5)).toBeUndefined();
  });

  it('stand beside those of a program, which does not move', () => {
    const program = readSymbolFile({ name: 'map', bytes: asciiBytes('0000000000401000 T main\n') });
    const symbols = new GuestSymbols(guest({ syscallEntry: TEXT + 0xe00080 }), [program, table]);
    symbols.locate(0x1000);
    expect(symbols.find(0x401010)?.name).toBe('main');
    expect(symbols.find(TEXT)?.name).toBe('_text');
  });
});

it('a file without symbols is refused in one sentence', () => {
  const stub = asciiBytes('ffffffffffffffff B The real System.map is elsewhere\n');
  expect(() => readSymbolFile({ name: 'System.map', bytes: stub })).toThrow(
    '--symbols System.map: neither an ELF file nor a System.map',
  );
  expect(() => readSymbolFile({ name: 'a.out', bytes: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46) })).toThrow(
    '--symbols a.out: an ELF file without a symbol table',
  );
});
