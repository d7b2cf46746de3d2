/**
 * The symbol tables of an ELF file (System V ABI, chapter 4: .symtab and .dynsym), 32 and 64 bits, little-endian. The file comes
 * from outside: what does not lie in it is left out.
 */
import { viewOf } from '../../base/bytes.ts';
import type { CodeSymbol } from './symbol-table.ts';

const SHT_SYMTAB = 2;
const SHT_DYNSYM = 11;
const SHF_EXECINSTR = 4;
const STT_NOTYPE = 0;
const STT_OBJECT = 1;
const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;
const STB_LOCAL = 0;
const CLASS_64 = 2;

interface Section {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly link: number;
}

/** Functions and, as bounds, objects that the file names; none for a file that is no ELF file or was stripped. */
export function readElfSymbols(file: Uint8Array): CodeSymbol[] {
  if (file.length < 64 || viewOf(file).getUint32(0) !== 0x7f454c46) return [];
  const view = viewOf(file);
  const is64 = view.getUint8(4) === CLASS_64;
  const word = (at: number): number => (is64 ? signed64(view, at) : view.getUint32(at, true));
  const sectionTable = word(is64 ? 40 : 32);
  const entryBytes = view.getUint16(is64 ? 58 : 46, true);
  const count = view.getUint16(is64 ? 60 : 48, true);
  if (sectionTable <= 0 || sectionTable + entryBytes * count > file.length || entryBytes < (is64 ? 64 : 40)) return [];
  const sections = Array.from({ length: count }, (_, i): Section => {
    const at = sectionTable + i * entryBytes;
    return {
      type: view.getUint32(at + 4, true),
      flags: word(at + 8),
      offset: word(at + (is64 ? 24 : 16)),
      sizeBytes: word(at + (is64 ? 32 : 20)),
      link: view.getUint32(at + (is64 ? 40 : 24), true),
    };
  });
  const inside = ({ offset, sizeBytes }: Section): boolean =>
    offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= file.length;

  const symbols: CodeSymbol[] = [];
  for (const table of sections) {
    const strings = sections[table.link];
    if ((table.type !== SHT_SYMTAB && table.type !== SHT_DYNSYM) || strings === undefined) continue;
    if (!inside(table) || !inside(strings)) continue;
    const names = file.subarray(strings.offset, strings.offset + strings.sizeBytes);
    const symbolBytes = is64 ? 24 : 16;
    for (let at = table.offset; at + symbolBytes <= table.offset + table.sizeBytes; at += symbolBytes) {
      const info = view.getUint8(at + (is64 ? 4 : 12));
      const section = view.getUint16(at + (is64 ? 6 : 14), true);
      const type = info & 15;
      const name = textAt(names, view.getUint32(at, true));
      if (name === '' || section === 0) continue;
      const executable = ((sections[section]?.flags ?? 0) & SHF_EXECINSTR) !== 0;
      const code = type === STT_FUNC || type === STT_GNU_IFUNC || (type === STT_NOTYPE && executable);
      if (!code && type !== STT_OBJECT && type !== STT_NOTYPE) continue;
      symbols.push({ address: word(at + (is64 ? 8 : 4)), name, code, global: info >> 4 !== STB_LOCAL });
    }
  }
  return symbols;
}

function signed64(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

function textAt(bytes: Uint8Array, from: number): string {
  let end = from;
  while (end < bytes.length && bytes[end] !== 0) end++;
  return String.fromCharCode(...bytes.subarray(from, Math.min(end, from + 1024)));
}
