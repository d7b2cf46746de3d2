/**
 * Reads executables in the Executable and Linking Format (System V ABI, chapter 4), 32 and 64 bits, little-endian, for x86: what is
 * to be loaded where by physical address, where it starts, and its notes. Leaves out sections, symbols and relocation.
 *
 * The file comes from outside: each offset and size is checked against its length before it is used.
 */
import { asciiText, viewOf } from '../../base/bytes.ts';
import { type BootOptions, type MemoryWrite, checkKernelRange, kernelError, zeroWrites } from './boot-image.ts';

export interface ElfNote {
  readonly owner: string;
  readonly type: number;
  readonly content: Uint8Array;
}

export interface ElfSegment {
  readonly physical: number;
  readonly virtual: number;
  readonly content: Uint8Array;
  readonly memoryBytes: number;
}

export interface ElfImage {
  readonly is64: boolean;
  readonly entry: number;
  /** PT_LOAD segments that take memory. */
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly ElfNote[];
}

const CLASS_32 = 1;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;
const MACHINES: Readonly<Record<number, string>> = {
  2: 'SPARC',
  4: 'm68k',
  8: 'MIPS',
  20: 'PowerPC',
  21: '64-bit PowerPC',
  22: 'S/390',
  40: '32-bit Arm',
  43: '64-bit SPARC',
  50: 'Itanium',
  183: 'arm64',
  243: 'RISC-V',
  258: 'LoongArch',
};

export function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly virtual: number;
  readonly physical: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

/** Reads `options.kernel`; throws UserError for what is damaged, no program or for another processor. */
export function readElf(options: BootOptions): ElfImage {
  const file = options.kernel.bytes;
  const cutOff = (): Error => kernelError(options, `a damaged ELF file: it is cut off at ${file.length} bytes`);
  if (file.length < 52) throw cutOff();
  const view = viewOf(file);
  const elfClass = view.getUint8(4);
  if ((elfClass !== CLASS_32 && elfClass !== CLASS_64) || view.getUint8(5) !== LITTLE_ENDIAN) {
    throw kernelError(options, 'an ELF file, but not a little-endian one as x86-64 needs');
  }
  const machine = view.getUint16(18, true);
  if (machine !== EM_386 && machine !== EM_X86_64) {
    throw kernelError(
      options,
      `an ELF file for ${MACHINES[machine] ?? `machine type ${machine}`}, but this machine is x86-64`,
    );
  }
  const type = view.getUint16(16, true);
  if (type !== ET_EXEC && type !== ET_DYN) throw kernelError(options, 'an ELF file, but no executable');

  const is64 = elfClass === CLASS_64;
  if (is64 && file.length < 64) throw cutOff();
  const tableOffset = is64 ? readU64(view, 32) : view.getUint32(28, true);
  const entryBytes = view.getUint16(is64 ? 54 : 42, true);
  const count = view.getUint16(is64 ? 56 : 44, true);
  if (count > 0 && entryBytes < (is64 ? 56 : 32))
    throw kernelError(options, 'a damaged ELF file: its program headers are too short');
  if (tableOffset + count * entryBytes > file.length) throw cutOff();

  const headers = Array.from({ length: count }, (_, i) => programHeader(view, tableOffset + i * entryBytes, is64));
  const contentOf = ({ offset, fileBytes }: ProgramHeader): Uint8Array => {
    if (offset + fileBytes > file.length) throw cutOff();
    return file.subarray(offset, offset + fileBytes);
  };
  const segments = headers
    .filter((header) => header.type === PT_LOAD && header.memoryBytes > 0)
    .map((header) => {
      const { virtual, physical, fileBytes, memoryBytes } = header;
      if (fileBytes > memoryBytes)
        throw kernelError(options, 'a damaged ELF file: a segment is larger in the file than in memory');
      return { virtual, physical, memoryBytes, content: contentOf(header) };
    });
  if (segments.length === 0) throw kernelError(options, 'an ELF file with nothing to load');
  return {
    is64,
    entry: is64 ? readU64(view, 24) : view.getUint32(24, true),
    segments,
    notes: headers.filter((header) => header.type === PT_NOTE).flatMap((header) => readNotes(contentOf(header))),
  };
}

/** The writes that load all segments at their physical addresses. */
export function loadSegments(options: BootOptions, elf: ElfImage): MemoryWrite[] {
  return elf.segments.flatMap(({ physical, content, memoryBytes }) => {
    checkKernelRange(options, physical, memoryBytes);
    return [
      { guestPhysical: physical, bytes: content },
      ...zeroWrites(physical + content.length, memoryBytes - content.length),
    ];
  });
}

/** The first address behind all segments. */
export function segmentsEnd(elf: ElfImage): number {
  return Math.max(...elf.segments.map(({ physical, memoryBytes }) => physical + memoryBytes));
}

/**
 * The physical address of the entry point. The header gives a virtual one, where segments are linked apart from their load
 * address; vmlinux gives a physical one right away.
 */
export function physicalEntry(options: BootOptions, { entry, segments }: ElfImage): number {
  if (segments.some(({ physical, memoryBytes }) => entry >= physical && entry < physical + memoryBytes)) return entry;
  const home = segments.find(({ virtual, memoryBytes }) => entry >= virtual && entry < virtual + memoryBytes);
  if (home === undefined) {
    throw kernelError(options, `its entry point 0x${entry.toString(16)} lies outside what is loaded`);
  }
  return entry - home.virtual + home.physical;
}

/** Above 2^53 the value is rounded, which no check lets pass. */
function readU64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

function programHeader(view: DataView, at: number, is64: boolean): ProgramHeader {
  const u32 = (offset: number): number => view.getUint32(at + offset, true);
  const u64 = (offset: number): number => readU64(view, at + offset);
  const type = u32(0);
  if (is64)
    return { type, offset: u64(8), virtual: u64(16), physical: u64(24), fileBytes: u64(32), memoryBytes: u64(40) };
  return { type, offset: u32(4), virtual: u32(8), physical: u32(12), fileBytes: u32(16), memoryBytes: u32(20) };
}

/** Notes: name size, content size, type, then name and content, each filled up to 4 bytes. Stops at a damaged one. */
function readNotes(bytes: Uint8Array): ElfNote[] {
  const view = viewOf(bytes);
  const notes: ElfNote[] = [];
  let at = 0;
  while (at + 12 <= bytes.length) {
    const ownerBytes = view.getUint32(at, true);
    const contentBytes = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const contentAt = at + 12 + Math.ceil(ownerBytes / 4) * 4;
    if (contentAt + contentBytes > bytes.length) break;
    const owner = asciiText(bytes.subarray(at + 12, at + 12 + ownerBytes));
    notes.push({ owner, type, content: bytes.subarray(contentAt, contentAt + contentBytes) });
    at = contentAt + Math.ceil(contentBytes / 4) * 4;
  }
  return notes;
}
