/**
 * The Linux/x86 boot protocol (Documentation/arch/x86/boot.rst) for bzImage: the 64-bit entry where the kernel has one,
 * else the 32-bit entry. The real-mode part is not run: boot_params are made here as it would have.
 */
import { viewOf } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";
import {
  BOOT_CODE_SELECTOR, BOOT_DATA_SELECTOR, BOOT_PARAMS_ADDRESS, type BootImage, type BootOptions, FLAT_GDT, flatGdt, identityPageTables,
  type MemoryWrite, PAGE_TABLES_ADDRESS,
} from "./boot-image.ts";
import { HIGH_LOAD_ADDRESS, MAGIC_HDRS, makeBootParams } from "./boot-params.ts";
import { checkKernelFits, placeCommandLine, placeInitrd } from "./placement.ts";

// Setup header, offsets in the file.
const SETUP_SECTS = 0x1f1;
const SYSSIZE = 0x1f4; // protected mode code in 16-byte units
const BOOT_FLAG = 0x1fe;
const HEADER_MAGIC = 0x202;
const VERSION = 0x206;
const LOADFLAGS = 0x211;
const INITRD_ADDR_MAX = 0x22c;
const XLOADFLAGS = 0x236;
const CMDLINE_SIZE = 0x238;
const PREF_ADDRESS = 0x258;
const INIT_SIZE = 0x260;

const LOADED_HIGH = 0x01;
const XLF_KERNEL_64 = 0x01;
const OLDEST_VERSION = 0x0206; // command line size known, protected mode entry by pointer: 2.6.20
const ENTRY_64_OFFSET = 0x200;

/** Whether a file has the boot sector mark and magic of a Linux kernel. */
export function isBzImage(bytes: Uint8Array): boolean {
  return bytes.length > 0x268 && viewOf(bytes).getUint16(BOOT_FLAG, true) === 0xaa55 && viewOf(bytes).getUint32(HEADER_MAGIC, true) === MAGIC_HDRS;
}

export function bootLinux(options: BootOptions): BootImage {
  const { kernel } = options;
  const header = viewOf(kernel.bytes);
  const version = header.getUint16(VERSION, true);
  if (version < OLDEST_VERSION || !(header.getUint8(LOADFLAGS) & LOADED_HIGH)) {
    throw new UserError(`-kernel ${kernel.name}: its boot protocol ${version >> 8}.${version & 0xff} is older than 2.6 or it is a zImage.`);
  }
  const setupSize = ((header.getUint8(SETUP_SECTS) || 4) + 1) * 512;
  const codeSize = header.getUint32(SYSSIZE, true) * 16;
  // The last 16-byte unit need not be whole.
  if (setupSize + codeSize > kernel.bytes.length + 15) {
    throw new UserError(`-kernel ${kernel.name}: the file is truncated, ${kernel.bytes.length} of ${setupSize + codeSize} bytes are there.`);
  }
  const code = kernel.bytes.subarray(setupSize);
  const has64 = version >= 0x020c && (header.getUint16(XLOADFLAGS, true) & XLF_KERNEL_64) !== 0;
  const kernelEnd = endOfKernel(header, version, code.length);
  checkKernelFits(kernel, kernelEnd, options.ramEnd);

  const commandLine = placeCommandLine(options.commandLine, header.getUint32(CMDLINE_SIZE, true) || 255);
  const initrdMax = header.getUint32(INITRD_ADDR_MAX, true) || 0x37ffffff;
  const initrd = options.initrd ? placeInitrd(options.initrd, kernelEnd, initrdMax, options.ramEnd) : undefined;
  const writes: MemoryWrite[] = [
    { guestPhysical: HIGH_LOAD_ADDRESS, bytes: code },
    commandLine,
    makeBootParams(options, commandLine, initrd, kernel.bytes.subarray(0, 0x290)),
    flatGdt(has64),
  ];
  if (initrd) writes.push(initrd);
  if (has64) writes.push(identityPageTables());
  const segments = { codeSelector: BOOT_CODE_SELECTOR, dataSelector: BOOT_DATA_SELECTOR, gdt: FLAT_GDT, registers: { rsi: BOOT_PARAMS_ADDRESS } };
  if (has64) {
    return { protocol: "linux64", writes, state: { mode: "long", rip: HIGH_LOAD_ADDRESS + ENTRY_64_OFFSET, cr3: PAGE_TABLES_ADDRESS, ...segments } };
  }
  return { protocol: "linux32", writes, state: { mode: "protected", rip: HIGH_LOAD_ADDRESS, ...segments } };
}

/** Where the kernel will be done unpacking itself. */
function endOfKernel(header: DataView, version: number, codeSize: number): number {
  if (version < 0x020a) return HIGH_LOAD_ADDRESS + codeSize * 4;
  const preferred = header.getUint32(PREF_ADDRESS, true) + header.getUint32(PREF_ADDRESS + 4, true) * 0x1_0000_0000;
  return Math.max(preferred, HIGH_LOAD_ADDRESS) + header.getUint32(INIT_SIZE, true);
}
