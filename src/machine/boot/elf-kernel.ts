/**
 * ELF kernels (vmlinux): through PVH (the x86/HVM direct boot ABI of the Xen documentation, pvh.rst) where the file has
 * the entry note, else at its 64-bit entry point with Linux's boot_params.
 */
import { ByteBuilder, viewOf } from '../../base/bytes.ts';
import { UserError } from '../../base/errors.ts';
import {
  BOOT_CODE_SELECTOR,
  BOOT_DATA_SELECTOR,
  BOOT_PARAMS_ADDRESS,
  type BootImage,
  type BootOptions,
  FLAT_GDT,
  flatGdt,
  identityPageTables,
  type MemoryWrite,
  PAGE_TABLES_ADDRESS,
  START_INFO_ADDRESS,
} from './boot-image.ts';
import { makeBootParams } from './boot-params.ts';
import { type ElfFile, EM_X86_64, endOfSegments, readElf } from './elf.ts';
import { checkKernelFits, placeCommandLine, placeInitrd } from './placement.ts';

const XEN_NOTE_NAME = 'Xen';
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const START_INFO_MAGIC = 0x336ec578;
const START_INFO_SIZE = 56;
const MODULE_SIZE = 32;

export function bootElf(options: BootOptions): BootImage {
  const elf = readElf(options.kernel);
  const kernelEnd = endOfSegments(elf);
  checkKernelFits(options.kernel, kernelEnd, options.ramEnd);
  const entry = pvhEntry(elf);
  const commandLine = placeCommandLine(options.commandLine);
  const initrd = options.initrd ? placeInitrd(options.initrd, kernelEnd, 0x7fffffff, options.ramEnd) : undefined;
  const writes: MemoryWrite[] = elf.segments.map(({ physical, bytes }) => ({ guestPhysical: physical, bytes }));
  writes.push(commandLine);
  if (initrd) writes.push(initrd);

  const segments = { codeSelector: BOOT_CODE_SELECTOR, dataSelector: BOOT_DATA_SELECTOR, gdt: FLAT_GDT };
  if (entry !== undefined) {
    writes.push(startInfo(options, commandLine, initrd), flatGdt(false));
    return {
      protocol: 'pvh',
      writes,
      state: { mode: 'protected', rip: entry, registers: { rbx: START_INFO_ADDRESS }, ...segments },
    };
  }
  if (!elf.is64 || elf.machine !== EM_X86_64) {
    throw new UserError(
      `-kernel ${options.kernel.name}: the 32-bit ELF file has neither a PVH entry note nor a multiboot header.`,
    );
  }
  writes.push(makeBootParams(options, commandLine, initrd), flatGdt(true), identityPageTables());
  return {
    protocol: 'elf64',
    writes,
    state: {
      mode: 'long',
      rip: physicalEntry(elf),
      cr3: PAGE_TABLES_ADDRESS,
      registers: { rsi: BOOT_PARAMS_ADDRESS },
      ...segments,
    },
  };
}

function pvhEntry(elf: ElfFile): number | undefined {
  const note = elf.notes.find(
    ({ name, type, content }) => name === XEN_NOTE_NAME && type === XEN_ELFNOTE_PHYS32_ENTRY && content.length >= 4,
  );
  return note && viewOf(note.content).getUint32(0, true);
}

/** vmlinux gives its entry as a physical address; others as a virtual one in a segment. */
function physicalEntry({ entry, segments }: ElfFile): number {
  const inside = (base: number, size: number): boolean => entry >= base && entry < base + size;
  if (segments.some(({ physical, memorySize }) => inside(physical, memorySize))) return entry;
  const segment = segments.find(({ virtual, memorySize }) => inside(virtual, memorySize));
  return segment ? entry - segment.virtual + segment.physical : entry;
}

function startInfo(options: BootOptions, commandLine: MemoryWrite, initrd: MemoryWrite | undefined): MemoryWrite {
  const modules = START_INFO_ADDRESS + START_INFO_SIZE;
  const memoryMap = modules + MODULE_SIZE;
  const builder = new ByteBuilder()
    .u32(START_INFO_MAGIC)
    .u32(1) // version: has a memory map
    .u32(0)
    .u32(initrd ? 1 : 0)
    .u64(initrd ? modules : 0)
    .u64(commandLine.guestPhysical)
    .u64(options.rsdp)
    .u64(memoryMap)
    .u32(options.memoryMap.length)
    .u32(0);
  builder
    .u64(initrd?.guestPhysical ?? 0)
    .u64(initrd?.bytes.length ?? 0)
    .u64(0)
    .u64(0);
  for (const { start, sizeBytes, type } of options.memoryMap) builder.u64(start).u64(sizeBytes).u32(type).u32(0);
  return { guestPhysical: START_INFO_ADDRESS, bytes: builder.build() };
}
