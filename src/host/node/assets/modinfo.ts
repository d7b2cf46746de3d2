/**
 * Reads what a Linux kernel module says about itself: the NUL-separated `key=value` strings of its `.modinfo` section.
 * ELF: System V gABI chapter 4 (section headers), 32 and 64-bit little-endian files.
 */
export interface ModuleInfo {
  /** Names of modules that must be loaded before. */
  readonly depends: readonly string[];
  /** What softdep lines ask for before: it may be built in or absent. */
  readonly softDepends: readonly string[];
  /** Patterns of the devices and requests that this module serves. */
  readonly aliases: readonly string[];
}

const ELF_MAGIC = 0x464c457f;
const ELFCLASS64 = 2;

interface Section {
  readonly name: number;
  readonly offset: number;
  readonly size: number;
}

function readSections(view: DataView): { sections: Section[]; names: Section | undefined } {
  const wide = view.getUint8(4) === ELFCLASS64;
  const address = (at: number): number => (wide ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  const tableOffset = address(wide ? 0x28 : 0x20);
  const entryBytes = view.getUint16(wide ? 0x3a : 0x2e, true);
  const count = view.getUint16(wide ? 0x3c : 0x30, true);
  const namesIndex = view.getUint16(wide ? 0x3e : 0x32, true);
  const sections: Section[] = [];
  for (let index = 0; index < count; index++) {
    const at = tableOffset + index * entryBytes;
    sections.push({
      name: view.getUint32(at, true),
      offset: address(at + (wide ? 0x18 : 0x10)),
      size: address(at + (wide ? 0x20 : 0x14)),
    });
  }
  return { sections, names: sections[namesIndex] };
}

/** The `.modinfo` of a module file (not compressed). Throws RangeError or Error when it is no ELF file. */
export function readModuleInfo(file: Uint8Array): ModuleInfo {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0, true) !== ELF_MAGIC) throw new Error('not an ELF file');
  const { sections, names } = readSections(view);
  const text = new TextDecoder('latin1');
  const section = sections.find(({ name }) => {
    const start = (names?.offset ?? 0) + name;
    return text.decode(file.subarray(start, start + 9)) === '.modinfo\0';
  });
  const strings =
    section === undefined ? [] : text.decode(file.subarray(section.offset, section.offset + section.size)).split('\0');
  const values = (key: string): string[] =>
    strings.filter((string) => string.startsWith(`${key}=`)).map((string) => string.slice(key.length + 1));
  return {
    depends: values('depends').flatMap((list) => list.split(',').filter((name) => name !== '')),
    softDepends: values('softdep').flatMap((line) => {
      const [before = ''] = line.split(/\bpost:/);
      return before
        .replace('pre:', ' ')
        .split(/\s+/)
        .filter((name) => name !== '');
    }),
    aliases: values('alias'),
  };
}
