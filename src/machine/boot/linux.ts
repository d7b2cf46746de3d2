/**
 * Starts a Linux kernel image (bzImage) as Documentation/arch/x86/boot.rst describes for loaders that skip the real-mode setup
 * code: by the 64-bit entry point where the kernel has one, else by the 32-bit one.
 *
 * Leaves out zImages (protected-mode code loaded low, gone since Linux 2.6.30) and kernels older than protocol 2.02.
 */
import { alignUp } from '../../base/bits.ts';
import { viewOf } from '../../base/bytes.ts';
import { UserError } from '../../base/errors.ts';
import {
  type BootImage,
  type BootRequest,
  type BootWrite,
  COMMAND_LINE_ADDRESS,
  INFO_ADDRESS,
  PAGE_TABLE_ADDRESS,
  biosDataArea,
  checkKernelRange,
  commandLineBytes,
  kernelError,
  memoryTooSmall,
  placeInitrd,
} from './boot-image.ts';
import * as H from './linux-header.ts';
import { HIGH_MEMORY_START, e820Entries, highMemoryEnd } from './memory-map.ts';
import { BOOT_CS, BOOT_DS, GDT, flatGdt, identityPageTables } from './processor-tables.ts';

/** The 64-bit entry point lies behind the 32-bit one. */
const ENTRY64_OFFSET = 0x200;
const OLDEST_VERSION = 0x202; // introduced cmd_line_ptr

export function isLinuxImage(kernel: Uint8Array): boolean {
  if (kernel.length < H.LOADFLAGS + 1) return false;
  const view = viewOf(kernel);
  return view.getUint16(H.BOOT_FLAG, true) === H.BOOT_FLAG_VALUE && view.getUint32(H.HEADER, true) === H.HEADER_MAGIC;
}

export function prepareLinux(request: BootRequest): BootImage {
  const { kernel } = request;
  if (kernel.length < H.HEADER_LAST) throw kernelError(request, 'the file is cut off within the setup header');
  const header = H.readLinuxHeader(kernel);
  checkHeader(request, header);

  const load = header.relocatable && header.preferredAddress !== 0 ? header.preferredAddress : HIGH_MEMORY_START;
  const code = kernel.subarray(header.codeOffset);
  checkKernelRange(request, load, code.length);
  // It runs at the preferred address or, when it may run anywhere, at the first aligned one where it was loaded.
  const runsAt = Math.max(alignUp(load, header.relocatable ? header.alignment : 1), header.preferredAddress);
  const kernelEnd = Math.max(load + code.length, runsAt + header.initBytes);
  if (kernelEnd > highMemoryEnd(request.map)) throw memoryTooSmall(request, kernelEnd);

  const commandLine = commandLineBytes(request, request.commandLine ?? '', header.commandLineBytes);
  const params = bootParams(request, header, load);
  const writes: BootWrite[] = [
    ...biosDataArea(),
    { guestPhysical: load, bytes: code },
    { guestPhysical: COMMAND_LINE_ADDRESS, bytes: commandLine },
    { guestPhysical: INFO_ADDRESS, bytes: params },
  ];
  if (request.initrd) {
    const start = placeInitrd(request, request.initrd.length, kernelEnd, header.initrdLimit);
    viewOf(params).setUint32(H.RAMDISK_IMAGE, start, true);
    viewOf(params).setUint32(H.RAMDISK_SIZE, request.initrd.length, true);
    writes.push({ guestPhysical: start, bytes: request.initrd });
  }

  const selectors = { codeSelector: BOOT_CS, dataSelector: BOOT_DS, gdt: GDT };
  if ((header.loadFlags64 & H.XLF_KERNEL_64) !== 0) {
    return {
      protocol: 'linux64',
      info: INFO_ADDRESS,
      writes: [...writes, flatGdt(64), identityPageTables()],
      state: {
        mode: 'long',
        rip: load + ENTRY64_OFFSET,
        registers: { rsi: INFO_ADDRESS },
        cr3: PAGE_TABLE_ADDRESS,
        ...selectors,
      },
    };
  }
  return {
    protocol: 'linux32',
    info: INFO_ADDRESS,
    writes: [...writes, flatGdt(32)],
    state: { mode: 'protected', rip: load, registers: { esi: INFO_ADDRESS, ebp: 0, edi: 0, ebx: 0 }, ...selectors },
  };
}

function checkHeader(request: BootRequest, header: H.LinuxHeader): void {
  const { version, loadFlags, codeOffset, codeBytes, alignment } = header;
  if (version < OLDEST_VERSION) {
    throw kernelError(request, `its boot protocol is ${version >> 8}.${version & 0xff}; at least 2.2 is needed`);
  }
  if ((loadFlags & H.LOADED_HIGH) === 0) throw kernelError(request, 'a zImage; only bzImages can be started');
  if (request.kernel.length < codeOffset + codeBytes || request.kernel.length <= codeOffset) {
    throw kernelError(request, `the file is cut off: ${request.kernel.length} bytes of ${codeOffset + codeBytes}`);
  }
  if (!Number.isInteger(Math.log2(alignment)))
    throw kernelError(request, 'its setup header names no power of two as alignment');
}

/** boot_params: the kernel's own setup header, completed, and what the setup code would have asked the BIOS for. */
function bootParams(request: BootRequest, header: H.LinuxHeader, load: number): Uint8Array {
  const params = new Uint8Array(H.BOOT_PARAMS_SIZE);
  params.set(request.kernel.subarray(H.SETUP_SECTS, header.headerEnd), H.SETUP_SECTS);
  const view = viewOf(params);
  view.setUint16(H.VID_MODE, H.VID_MODE_NORMAL, true);
  view.setUint8(H.TYPE_OF_LOADER, H.LOADER_UNDEFINED);
  view.setUint32(H.CODE32_START, load, true);
  view.setUint32(H.CMD_LINE_PTR, COMMAND_LINE_ADDRESS, true);
  view.setUint32(H.RAMDISK_IMAGE, 0, true);
  view.setUint32(H.RAMDISK_SIZE, 0, true);
  if (request.rsdp !== undefined) view.setBigUint64(H.ACPI_RSDP_ADDR, BigInt(request.rsdp), true);

  if (request.map.length > H.E820_MAX_ENTRIES)
    throw new UserError(`-m: the memory map has more than ${H.E820_MAX_ENTRIES} entries`);
  view.setUint8(H.E820_COUNT, request.map.length);
  params.set(e820Entries(request.map), H.E820_TABLE);
  const highKib = (highMemoryEnd(request.map) - HIGH_MEMORY_START) / 1024;
  view.setUint32(H.ALT_MEM_K, highKib, true);
  view.setUint16(H.SCREEN_INFO + H.SCREEN_EXT_MEM_K, Math.min(highKib, 0xfc00), true);
  if (request.vgaText === true) {
    params[H.SCREEN_INFO + H.SCREEN_MODE] = 3;
    params[H.SCREEN_INFO + H.SCREEN_COLUMNS] = 80;
    params[H.SCREEN_INFO + H.SCREEN_LINES] = 25;
    params[H.SCREEN_INFO + H.SCREEN_IS_VGA] = 1;
    view.setUint16(H.SCREEN_INFO + H.SCREEN_POINTS, 16, true);
  }
  return params;
}
