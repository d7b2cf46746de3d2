import { describe, expect, it } from 'vitest';
import { asciiText, viewOf } from '../../base/bytes.ts';
import { buildSmbios } from './smbios.ts';

const OPTIONS = { cpuCount: 2, memoryBytes: 512 << 20, product: 'Test PC', version: '1.0' };
const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => total + byte, 0) & 0xff;

/** Types and strings of all structures, by walking them as an operating system does. */
function walk(bytes: Uint8Array): { type: number; size: number; strings: string[] }[] {
  const found: { type: number; size: number; strings: string[] }[] = [];
  for (let at = 0; at < bytes.length;) {
    const type = bytes[at] ?? 0;
    const size = bytes[at + 1] ?? 0;
    const strings: string[] = [];
    at += size;
    while (bytes[at] !== 0) {
      const text = asciiText(bytes.subarray(at));
      strings.push(text);
      at += text.length + 1;
    }
    at += strings.length === 0 ? 2 : 1;
    found.push({ type, size, strings });
  }
  return found;
}

describe('SMBIOS', () => {
  it('has an anchor with both checksums, the length and the number of structures', () => {
    const { entryPoint, structures } = buildSmbios(0xf6000, OPTIONS);
    const view = viewOf(entryPoint);
    expect([
      asciiText(entryPoint.subarray(0, 4)),
      entryPoint.length,
      sum(entryPoint),
      sum(entryPoint.subarray(16)),
    ]).toEqual(['_SM_', 31, 0, 0]);
    expect([view.getUint16(22, true), view.getUint32(24, true), view.getUint16(28, true)]).toEqual([
      structures.length,
      0xf6000,
      walk(structures).length,
    ]);
  });

  it('describes system, processors and memory in structures of the lengths that version 2.8 has', () => {
    const list = walk(buildSmbios(0xf6000, OPTIONS).structures);
    expect(list.map(({ type }) => type)).toEqual([0, 1, 3, 4, 4, 16, 17, 19, 32, 127]);
    expect(list.map(({ size }) => size)).toEqual([0x18, 0x1b, 0x15, 0x2a, 0x2a, 0x0f, 0x1b, 0x0f, 0x0b, 4]);
    expect(list[1]?.strings).toEqual(['Orrery', 'Test PC', '1.0']);
  });
});
