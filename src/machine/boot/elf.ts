/** Reading ELF executables (System V ABI, gABI chapter 4 and 5): header, loadable segments, notes. */
import { asciiText, viewOf } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";
import type { BootFile } from "./boot-image.ts";

const PT_LOAD = 1;
const PT_NOTE = 4;
const ELFDATA2LSB = 1;
const CLASS_32 = 1;
const CLASS_64 = 2;
const ET_EXEC = 2;
const ET_DYN = 3;

export const EM_386 = 3;
export const EM_X86_64 = 62;
/** Names of machines that a user may have by mistake. */
const MACHINES: Readonly<Record<number, string>> = { 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "ARM", 183: "AArch64", 243: "RISC-V", 258: "LoongArch" };

export interface ElfSegment {
  readonly physical: number;
  readonly virtual: number;
  readonly bytes: Uint8Array;
  readonly memorySize: number;
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  readonly content: Uint8Array;
}

export interface ElfFile {
  readonly is64: boolean;
  readonly machine: number;
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly ElfNote[];
}

export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 16 && viewOf(bytes).getUint32(0, false) === 0x7f454c46;
}

/** Reads an executable for x86; throws a UserError for anything else. */
export function readElf(kernel: BootFile): ElfFile {
  const { bytes, name } = kernel;
  const refuse = (why: string): UserError => new UserError(`-kernel ${name}: ${why}.`);
  const view = viewOf(bytes);
  const elfClass = bytes[4];
  if (bytes.length < 52 || (elfClass === CLASS_64 && bytes.length < 64)) throw refuse("the ELF file is truncated in its header");
  if ((elfClass !== CLASS_32 && elfClass !== CLASS_64) || bytes[5] !== ELFDATA2LSB) throw refuse("the ELF file is not for x86: it is not little-endian");
  const is64 = elfClass === CLASS_64;
  const machine = view.getUint16(18, true);
  if (machine !== EM_386 && machine !== EM_X86_64) throw refuse(`the ELF file is for ${MACHINES[machine] ?? `machine ${machine}`}, not for x86`);
  const type = view.getUint16(16, true);
  if (type !== ET_EXEC && type !== ET_DYN) throw refuse("the ELF file is not an executable");

  const word = (at: number): number => (is64 ? view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000 : view.getUint32(at, true));
  const headers = is64 ? word(32) : word(28);
  const headerSize = view.getUint16(is64 ? 54 : 42, true);
  const headerCount = view.getUint16(is64 ? 56 : 44, true);
  if (headerCount === 0 || headerSize < (is64 ? 56 : 32)) throw refuse("the ELF file has no program headers");
  if (headers + headerCount * headerSize > bytes.length) throw refuse("the ELF file is truncated in its program headers");

  const segments: ElfSegment[] = [];
  const notes: ElfNote[] = [];
  for (let i = 0; i < headerCount; i++) {
    const at = headers + i * headerSize;
    const segmentType = view.getUint32(at, true);
    if (segmentType !== PT_LOAD && segmentType !== PT_NOTE) continue;
    const offset = word(at + (is64 ? 8 : 4));
    const fileSize = word(at + (is64 ? 32 : 16));
    if (offset + fileSize > bytes.length) throw refuse(`the ELF file is truncated, ${bytes.length} of at least ${offset + fileSize} bytes are there`);
    const content = bytes.subarray(offset, offset + fileSize);
    if (segmentType === PT_NOTE) notes.push(...readNotes(content));
    else {
      const memorySize = word(at + (is64 ? 40 : 20));
      segments.push({ virtual: word(at + (is64 ? 16 : 8)), physical: word(at + (is64 ? 24 : 12)), bytes: content, memorySize: Math.max(memorySize, fileSize) });
    }
  }
  if (segments.length === 0) throw refuse("the ELF file has nothing to load");
  return { is64, machine, entry: word(24), segments: segments.filter((segment) => segment.memorySize > 0), notes };
}

/** The end of the highest segment in physical memory. */
export function endOfSegments(elf: ElfFile): number {
  return elf.segments.reduce((end, segment) => Math.max(end, segment.physical + segment.memorySize), 0);
}

function readNotes(content: Uint8Array): ElfNote[] {
  const view = viewOf(content);
  const notes: ElfNote[] = [];
  for (let at = 0; at + 12 <= content.length; ) {
    const nameSize = view.getUint32(at, true);
    const size = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const start = at + 12 + ((nameSize + 3) & ~3);
    if (start + size > content.length) break;
    notes.push({ name: asciiText(content.subarray(at + 12, at + 12 + nameSize)), type, content: content.subarray(start, start + size) });
    at = start + ((size + 3) & ~3);
  }
  return notes;
}
