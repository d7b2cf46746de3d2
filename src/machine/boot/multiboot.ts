/**
 * Multiboot 1 kernels (Multiboot Specification 0.6.96): ELF32 files, or any file whose header gives addresses. Machine
 * state, information structure with memory map, command line and modules (an initrd becomes the one module).
 */
import { alignUp } from "../../base/bits.ts";
import { asciiBytes, ByteBuilder, concatBytes, viewOf } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";
import {
  BOOT_CODE_SELECTOR, BOOT_DATA_SELECTOR, type BootImage, type BootOptions, COMMAND_LINE_ADDRESS, E820_RAM, FLAT_GDT, flatGdt, type MemoryWrite, START_INFO_ADDRESS,
} from "./boot-image.ts";
import { endOfSegments, isElf, readElf } from "./elf.ts";
import { checkKernelFits, mebibytes, placeCommandLine } from "./placement.ts";

const HEADER_MAGIC = 0x1badb002;
const HEADER_SEARCH_BYTES = 8192;
const HEADER_UNKNOWN_REQUIREMENTS = 0xfff8; // of the bits that a loader must understand: all but modules, memory, video
const HEADER_VIDEO = 0x00000004;
const HEADER_ADDRESSES = 0x00010000;
const LOADER_MAGIC = 0x2badb002; // EAX at the entry

const INFO_MEMORY = 0x001;
const INFO_COMMAND_LINE = 0x004;
const INFO_MODULES = 0x008;
const INFO_MEMORY_MAP = 0x040;
const INFO_LOADER_NAME = 0x200;
const INFO_SIZE = 120;
const MODULE_SIZE = 16;
const LOADER_NAME = "orrery";
/** The real-mode memory that a PC has below its EBDA, in KiB. */
const LOWER_MEMORY_KIB = 639;

interface Loaded {
  readonly writes: readonly MemoryWrite[];
  readonly entry: number;
  readonly end: number;
}

/** Offset of the multiboot header, -1 when there is none. */
export function findMultibootHeader(bytes: Uint8Array): number {
  const view = viewOf(bytes);
  const end = Math.min(bytes.length, HEADER_SEARCH_BYTES) - 12;
  for (let at = 0; at <= end; at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const sum = HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true);
    if (sum % 0x1_0000_0000 === 0) return at;
  }
  return -1;
}

export function bootMultiboot(options: BootOptions, headerAt: number): BootImage {
  const { kernel } = options;
  const flags = viewOf(kernel.bytes).getUint32(headerAt + 4, true);
  if (flags & HEADER_UNKNOWN_REQUIREMENTS || flags & HEADER_VIDEO) {
    throw new UserError(`-kernel ${kernel.name}: its multiboot header requires what is not provided (flags 0x${flags.toString(16)}).`);
  }
  const loaded = flags & HEADER_ADDRESSES ? loadByAddresses(options, headerAt) : loadElf(options);
  checkKernelFits(kernel, loaded.end, options.ramEnd);

  // By convention the first word is the kernel's own name.
  const commandLine = placeCommandLine(`${kernel.name} ${options.commandLine}`.trimEnd());
  const writes: MemoryWrite[] = [...loaded.writes, commandLine, flatGdt(false)];
  const module = options.initrd && placeModule(options, loaded.end);
  if (module) writes.push(module);
  writes.push(...information(options, module, commandLine));
  return {
    protocol: "multiboot",
    writes,
    state: {
      mode: "protected",
      rip: loaded.entry,
      registers: { rax: LOADER_MAGIC, rbx: START_INFO_ADDRESS },
      codeSelector: BOOT_CODE_SELECTOR,
      dataSelector: BOOT_DATA_SELECTOR,
      gdt: FLAT_GDT,
    },
  };
}

function loadElf({ kernel }: BootOptions): Loaded {
  if (!isElf(kernel.bytes)) throw new UserError(`-kernel ${kernel.name}: its multiboot header gives no addresses and the file is not ELF.`);
  const elf = readElf(kernel);
  if (elf.is64) throw new UserError(`-kernel ${kernel.name}: a multiboot kernel must be a 32-bit ELF file; this one is 64-bit.`);
  return { writes: elf.segments.map(({ physical, bytes }) => ({ guestPhysical: physical, bytes })), entry: elf.entry, end: endOfSegments(elf) };
}

function loadByAddresses({ kernel }: BootOptions, headerAt: number): Loaded {
  const view = viewOf(kernel.bytes);
  if (headerAt + 32 > kernel.bytes.length) throw new UserError(`-kernel ${kernel.name}: the file is truncated in its multiboot header.`);
  const [headerAddress, loadAddress, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((offset) => view.getUint32(headerAt + offset, true)) as [number, number, number, number, number];
  const start = headerAt - (headerAddress - loadAddress);
  const sizeBytes = loadEnd === 0 ? kernel.bytes.length - start : loadEnd - loadAddress;
  if (start < 0 || sizeBytes < 0) throw new UserError(`-kernel ${kernel.name}: the addresses in its multiboot header contradict each other.`);
  if (start + sizeBytes > kernel.bytes.length) throw new UserError(`-kernel ${kernel.name}: the file is truncated, ${kernel.bytes.length} of ${start + sizeBytes} bytes are there.`);
  const bytes = kernel.bytes.subarray(start, start + sizeBytes);
  return { writes: [{ guestPhysical: loadAddress, bytes }], entry, end: Math.max(loadAddress + sizeBytes, bssEnd) };
}

/** Modules follow the kernel, page-aligned. */
function placeModule({ initrd, ramEnd }: BootOptions, kernelEnd: number): MemoryWrite | undefined {
  if (!initrd) return undefined;
  const address = alignUp(kernelEnd, 4096);
  if (address + initrd.bytes.length > ramEnd) {
    throw new UserError(`-initrd ${initrd.name}: ${mebibytes(initrd.bytes.length)} do not fit after the kernel's end at ${mebibytes(kernelEnd)}; give the machine more memory with -m.`);
  }
  return { guestPhysical: address, bytes: initrd.bytes };
}

function information(options: BootOptions, module: MemoryWrite | undefined, commandLine: MemoryWrite): MemoryWrite[] {
  const modules = START_INFO_ADDRESS + INFO_SIZE;
  const memoryMap = modules + MODULE_SIZE;
  const map = options.memoryMap.reduce((list, { start, sizeBytes, type }) => list.u32(20).u64(start).u64(sizeBytes).u32(type), new ByteBuilder()).build();
  const loaderName = memoryMap + map.length;
  // The module's text goes behind the command line.
  const moduleText = COMMAND_LINE_ADDRESS + alignUp(commandLine.bytes.length, 16);
  const upper = options.memoryMap.find(({ start, type }) => start === 0x100000 && type === E820_RAM);
  const flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MEMORY_MAP | INFO_LOADER_NAME;
  const builder = new ByteBuilder()
    .u32(flags)
    .u32(LOWER_MEMORY_KIB)
    .u32((upper?.sizeBytes ?? 0) / 1024)
    .u32(0) // boot device: none
    .u32(commandLine.guestPhysical)
    .u32(module ? 1 : 0)
    .u32(modules)
    .zeros(16) // no symbols
    .u32(map.length)
    .u32(memoryMap)
    .zeros(12) // drives, configuration table
    .u32(loaderName);
  builder.zeros(INFO_SIZE - builder.length);
  builder.u32(module?.guestPhysical ?? 0).u32(module ? module.guestPhysical + module.bytes.length : 0).u32(moduleText).u32(0);
  builder.raw(map).text(LOADER_NAME).u8(0);
  const writes: MemoryWrite[] = [{ guestPhysical: START_INFO_ADDRESS, bytes: builder.build() }];
  if (options.initrd) writes.push({ guestPhysical: moduleText, bytes: concatBytes([asciiBytes(options.initrd.name), Uint8Array.of(0)]) });
  return writes;
}
