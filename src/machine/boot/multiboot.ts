/**
 * Starts a kernel by the Multiboot Specification, version 0.6.96: found by its header in the first 8 KiB, loaded by the addresses in
 * that header or as an ELF file, entered in 32-bit protected mode with eax = magic and ebx = multiboot information.
 *
 * The initrd is the one module. Leaves out video modes, symbol tables, drives and the APM table.
 */
import { alignUp } from '../../base/bits.ts';
import { ByteBuilder, viewOf } from '../../base/bytes.ts';
import {
  type BootImage,
  type BootOptions,
  type MemoryWrite,
  COMMAND_LINE_ADDRESS,
  INFO_ADDRESS,
  biosDataArea,
  checkKernelRange,
  commandLineBytes,
  kernelError,
  placeInitrd,
  zeroWrites,
} from './boot-image.ts';
import { isElf, loadSegments, physicalEntry, readElf, segmentsEnd } from './elf.ts';
import { CONVENTIONAL_END, HIGH_MEMORY_START } from './memory-map.ts';
import { BOOT_CS, BOOT_DS, GDT, flatGdt } from './processor-tables.ts';

const HEADER_MAGIC = 0x1bad_b002;
const LOADER_MAGIC = 0x2bad_b002;
const SEARCH_BYTES = 8192;

// Flags of the header. Bits 0 to 15 are requirements.
const WANTS_PAGE_ALIGNMENT = 1 << 0; // of modules, which they always have
const WANTS_MEMORY_INFO = 1 << 1; // which is always there
const WANTS_VIDEO = 1 << 2; // a wish: the kernel must look at what it got
const HAS_ADDRESSES = 1 << 16;
const KNOWN_REQUIREMENTS = WANTS_PAGE_ALIGNMENT | WANTS_MEMORY_INFO | WANTS_VIDEO;

// Flags of the information: which fields are valid
const INFO_MEMORY = 1 << 0;
const INFO_COMMAND_LINE = 1 << 2;
const INFO_MODULES = 1 << 3;
const INFO_MEMORY_MAP = 1 << 6;
const INFO_LOADER_NAME = 1 << 9;
const INFO_BYTES = 0x80; // 116 used up to the colour information
const MODULE_BYTES = 16;
const MAP_ENTRY_BYTES = 24;
const LOADER_NAME = 'orrery';
const MODULE_NAME_LIMIT = 1024;

export interface MultibootHeader {
  /** In the file. */
  readonly offset: number;
  readonly flags: number;
}

/** Looks for the header: on a 4-byte boundary, its three first words adding up to 0. */
export function findMultibootHeader(kernel: Uint8Array): MultibootHeader | undefined {
  const view = viewOf(kernel);
  const end = Math.min(kernel.length, SEARCH_BYTES) - 12;
  for (let offset = 0; offset <= end; offset += 4) {
    if (view.getUint32(offset, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(offset + 4, true);
    const sum = HEADER_MAGIC + flags + view.getUint32(offset + 8, true);
    if (sum % 2 ** 32 === 0) return { offset, flags };
  }
  return undefined;
}

interface Loaded {
  readonly writes: readonly MemoryWrite[];
  readonly entry: number;
  readonly end: number;
}

export function prepareMultiboot(options: BootOptions, header: MultibootHeader): BootImage {
  const unknown = header.flags & 0xffff & ~KNOWN_REQUIREMENTS;
  if (unknown !== 0)
    throw kernelError(options, `its multiboot header asks for unknown features (flags 0x${unknown.toString(16)})`);
  const loaded = (header.flags & HAS_ADDRESSES) !== 0 ? loadByAddresses(options, header) : loadElf(options);

  const writes: MemoryWrite[] = [...biosDataArea(), flatGdt(32), ...loaded.writes];
  // The first word of the command line is the kernel's name.
  const commandLine = `${options.kernel.name} ${options.commandLine}`;
  writes.push({ guestPhysical: COMMAND_LINE_ADDRESS, bytes: commandLineBytes(options, commandLine) });
  let module: MemoryWrite | undefined;
  if (options.initrd) {
    const start = alignUp(Math.max(loaded.end, HIGH_MEMORY_START), 4096);
    placeInitrd(options, options.initrd, start, 2 ** 32); // only whether it fits
    module = { guestPhysical: start, bytes: options.initrd.bytes };
    writes.push(module);
  }
  writes.push({ guestPhysical: INFO_ADDRESS, bytes: information(options, module) });
  return {
    protocol: 'multiboot',
    info: INFO_ADDRESS,
    writes,
    state: {
      mode: 'protected',
      rip: loaded.entry,
      registers: { eax: LOADER_MAGIC, ebx: INFO_ADDRESS },
      codeSelector: BOOT_CS,
      dataSelector: BOOT_DS,
      gdt: GDT,
    },
  };
}

/** The header's own addresses say what part of the file goes where; they win over an ELF header. */
function loadByAddresses(options: BootOptions, { offset }: MultibootHeader): Loaded {
  const kernel = options.kernel.bytes;
  if (offset + 32 > kernel.length) throw kernelError(options, 'the file is cut off within the multiboot header');
  const view = viewOf(kernel);
  const [headerAddress = 0, loadAddress = 0, loadEnd = 0, bssEnd = 0, entry = 0] = [12, 16, 20, 24, 28].map((field) =>
    view.getUint32(offset + field, true),
  );
  const fileOffset = offset - (headerAddress - loadAddress);
  if (headerAddress < loadAddress || fileOffset < 0) {
    throw kernelError(options, 'its multiboot header contradicts itself about where it is loaded');
  }
  const loadBytes = loadEnd === 0 ? kernel.length - fileOffset : loadEnd - loadAddress;
  if (loadBytes <= 0 || (bssEnd !== 0 && bssEnd < loadAddress + loadBytes)) {
    throw kernelError(options, 'its multiboot header contradicts itself about how much is loaded');
  }
  if (fileOffset + loadBytes > kernel.length) {
    throw kernelError(options, `the file is cut off: ${kernel.length} bytes of ${fileOffset + loadBytes}`);
  }
  const end = Math.max(loadAddress + loadBytes, bssEnd);
  checkKernelRange(options, loadAddress, end - loadAddress);
  if (entry < loadAddress || entry >= end) {
    throw kernelError(options, `its entry point 0x${entry.toString(16)} lies outside what is loaded`);
  }
  const content = { guestPhysical: loadAddress, bytes: kernel.subarray(fileOffset, fileOffset + loadBytes) };
  return { writes: [content, ...zeroWrites(loadAddress + loadBytes, end - loadAddress - loadBytes)], entry, end };
}

function loadElf(options: BootOptions): Loaded {
  if (!isElf(options.kernel.bytes))
    throw kernelError(options, 'its multiboot header has no load addresses and it is no ELF file');
  const elf = readElf(options);
  const entry = physicalEntry(options, elf);
  if (entry >= 2 ** 32) throw kernelError(options, 'its entry point lies above 4 GiB');
  return { writes: loadSegments(options, elf), entry, end: segmentsEnd(elf) };
}

/** The information structure, then the module, the memory map and the strings it points to. */
function information(options: BootOptions, module: MemoryWrite | undefined): Uint8Array {
  const modules = INFO_ADDRESS + INFO_BYTES;
  const memoryMap = modules + MODULE_BYTES;
  const memoryMapBytes = options.memoryMap.length * MAP_ENTRY_BYTES;
  const loaderName = memoryMap + memoryMapBytes;
  const moduleName = loaderName + LOADER_NAME.length + 1;
  const flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MEMORY_MAP | INFO_LOADER_NAME;

  const info = new ByteBuilder()
    .u32(flags)
    .u32(CONVENTIONAL_END >> 10)
    .u32((options.ramEnd - HIGH_MEMORY_START) / 1024)
    .u32(0) // boot device
    .u32(COMMAND_LINE_ADDRESS)
    .u32(module ? 1 : 0)
    .u32(modules)
    .zeros(16) // symbols
    .u32(memoryMapBytes)
    .u32(memoryMap)
    .zeros(12) // drives, configuration table
    .u32(loaderName);
  info.zeros(INFO_BYTES - info.length);
  const moduleStart = module?.guestPhysical ?? 0;
  const moduleEnd = moduleStart + (module?.bytes.length ?? 0);
  info.u32(moduleStart).u32(moduleEnd).u32(moduleName).u32(0);
  for (const { start, sizeBytes, type } of options.memoryMap) {
    const entryBytes = MAP_ENTRY_BYTES - 4; // without this field
    info.u32(entryBytes).u64(start).u64(sizeBytes).u32(type);
  }
  const name = options.initrd?.name.slice(0, MODULE_NAME_LIMIT) ?? '';
  return info.text(`${LOADER_NAME}\0`).text(`${name}\0`).build();
}
