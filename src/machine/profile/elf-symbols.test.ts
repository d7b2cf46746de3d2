import { expect, test } from 'vitest';
import { asciiBytes } from '../../base/bytes.ts';
import { readElfSymbols } from './elf-symbols.ts';

/** An ELF file with three sections: nothing, the symbols, their names. */
function elf(is64: boolean): Uint8Array {
  const bytes = new Uint8Array(1024);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1]);
  const word = (at: number, value: number): void => {
    if (is64) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
    else view.setUint32(at, value, true);
  };
  const headerBytes = is64 ? 64 : 40;
  word(is64 ? 40 : 32, 512);
  view.setUint16(is64 ? 58 : 46, headerBytes, true);
  view.setUint16(is64 ? 60 : 48, 3, true);
  const names = '\0start\0table\0undefined\0';
  bytes.set(asciiBytes(names), 128);
  const symbolBytes = is64 ? 24 : 16;
  const base = is64 ? -0x7f000000 : 0xc1000000;
  const symbols = [
    { name: 1, info: 0x12, section: 1, value: base },
    { name: 7, info: 0x01, section: 1, value: base + 0x100 },
    { name: 13, info: 0x12, section: 0, value: 0 },
  ];
  symbols.forEach(({ name, info, section, value }, i) => {
    const at = 256 + i * symbolBytes;
    view.setUint32(at, name, true);
    bytes[at + (is64 ? 4 : 12)] = info;
    view.setUint16(at + (is64 ? 6 : 14), section, true);
    word(at + (is64 ? 8 : 4), value);
  });
  const header = (i: number, type: number, offset: number, size: number, link: number): void => {
    const at = 512 + i * headerBytes;
    view.setUint32(at + 4, type, true);
    word(at + (is64 ? 24 : 16), offset);
    word(at + (is64 ? 32 : 20), size);
    view.setUint32(at + (is64 ? 40 : 24), link, true);
  };
  header(1, 2, 256, symbols.length * symbolBytes, 2);
  header(2, 3, 128, names.length, 0);
  return bytes;
}

test.each([true, false])('functions and objects of an ELF file, 64 bits: %s', (is64) => {
  const base = is64 ? -0x7f000000 : 0xc1000000;
  expect(readElfSymbols(elf(is64))).toEqual([
    { address: base, name: 'start', code: true, global: true },
    { address: base + 0x100, name: 'table', code: false, global: false },
  ]);
});

test('a file that is cut off or something else has none', () => {
  const whole = elf(true);
  for (let length = 0; length < whole.length; length += 7)
    expect(() => readElfSymbols(whole.subarray(0, length))).not.toThrow();
  expect(readElfSymbols(whole.subarray(0, 300))).toEqual([]);
  expect(readElfSymbols(new Uint8Array(100))).toEqual([]);
});
