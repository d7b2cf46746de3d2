/**
 * Starts an ELF kernel by the PVH protocol (Xen docs/misc/pvh.pandoc; structures in xen/include/public/arch-x86/hvm/start_info.h):
 * 32-bit protected mode without paging at the address in the kernel's XEN_ELFNOTE_PHYS32_ENTRY note, ebx = hvm_start_info. An
 * uncompressed Linux kernel (vmlinux) has such a note when built with CONFIG_PVH.
 */
import { ByteBuilder, viewOf } from '../../base/bytes.ts';
import {
  type BootImage,
  type BootOptions,
  type MemoryWrite,
  COMMAND_LINE_ADDRESS,
  INFO_ADDRESS,
  biosDataArea,
  commandLineBytes,
  kernelError,
  placeInitrd,
} from './boot-image.ts';
import { type ElfImage, loadSegments, segmentsEnd } from './elf.ts';
import { BOOT_CS, BOOT_DS, GDT, flatGdt } from './processor-tables.ts';

const NOTE_OWNER = 'Xen';
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const START_INFO_MAGIC = 0x336e_c578;
const START_INFO_VERSION = 1; // has the memory map
const START_INFO_SIZE = 56;
const MODULE_SIZE = 32;

/** Physical address of the entry point, undefined where the kernel has none. */
export function findPvhEntry(elf: ElfImage): number | undefined {
  const note = elf.notes.find(({ owner, type }) => owner === NOTE_OWNER && type === XEN_ELFNOTE_PHYS32_ENTRY);
  return note && note.content.length >= 4 ? viewOf(note.content).getUint32(0, true) : undefined;
}

export function preparePvh(options: BootOptions, elf: ElfImage, entry: number): BootImage {
  const writes: MemoryWrite[] = [...biosDataArea(), flatGdt(32), ...loadSegments(options, elf)];
  if (!elf.segments.some(({ physical, memoryBytes }) => entry >= physical && entry < physical + memoryBytes)) {
    throw kernelError(options, `its PVH entry point 0x${entry.toString(16)} lies outside what is loaded`);
  }
  writes.push({ guestPhysical: COMMAND_LINE_ADDRESS, bytes: commandLineBytes(options, options.commandLine) });
  let initrdStart = 0;
  if (options.initrd) {
    const initrd = placeInitrd(options, options.initrd, segmentsEnd(elf), 2 ** 32);
    initrdStart = initrd.guestPhysical;
    writes.push(initrd);
  }
  writes.push({ guestPhysical: INFO_ADDRESS, bytes: startInfo(options, initrdStart) });
  return {
    protocol: 'pvh',
    info: INFO_ADDRESS,
    writes,
    state: {
      mode: 'protected',
      rip: entry,
      registers: { ebx: INFO_ADDRESS },
      codeSelector: BOOT_CS,
      dataSelector: BOOT_DS,
      gdt: GDT,
    },
  };
}

/** hvm_start_info, then the module list, then the memory map. */
function startInfo(options: BootOptions, initrdStart: number): Uint8Array {
  const modules = options.initrd ? 1 : 0;
  const moduleList = INFO_ADDRESS + START_INFO_SIZE;
  const info = new ByteBuilder()
    .u32(START_INFO_MAGIC)
    .u32(START_INFO_VERSION)
    .u32(0) // flags
    .u32(modules)
    .u64(modules === 0 ? 0 : moduleList)
    .u64(COMMAND_LINE_ADDRESS)
    .u64(options.rsdp)
    .u64(moduleList + modules * MODULE_SIZE)
    .u32(options.memoryMap.length)
    .u32(0);
  if (options.initrd) info.u64(initrdStart).u64(options.initrd.bytes.length).u64(0).u64(0);
  for (const { start, sizeBytes, type } of options.memoryMap) info.u64(start).u64(sizeBytes).u32(type).u32(0);
  return info.build();
}
