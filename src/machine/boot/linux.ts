/**
 * Starts a Linux kernel as Documentation/arch/x86/boot.rst describes for loaders that skip the real-mode setup code: a bzImage by
 * its 64-bit entry point where it has one, else by the 32-bit one; an uncompressed 64-bit kernel (vmlinux) at its ELF entry point.
 *
 * Leaves out zImages (protected-mode code loaded low, gone since Linux 2.6.30) and kernels older than protocol 2.02.
 */
import { alignUp } from '../../base/bits.ts';
import { viewOf } from '../../base/bytes.ts';
import {
  type BootImage,
  type BootOptions,
  COMMAND_LINE_ADDRESS,
  INFO_ADDRESS,
  type MemoryWrite,
  PAGE_TABLE_ADDRESS,
  biosDataArea,
  checkKernelRange,
  commandLineBytes,
  kernelError,
  memoryTooSmall,
  placeInitrd,
} from './boot-image.ts';
import { bootParams } from './boot-params.ts';
import { type ElfImage, loadSegments, physicalEntry, segmentsEnd } from './elf.ts';
import * as H from './linux-header.ts';
import { HIGH_MEMORY_START } from './memory-map.ts';
import { BOOT_CS, BOOT_DS, GDT, flatGdt, identityPageTables } from './processor-tables.ts';

/** The 64-bit entry point lies behind the 32-bit one. */
const ENTRY64_OFFSET = 0x200;
const OLDEST_VERSION = 0x202; // introduced cmd_line_ptr
const SELECTORS = { codeSelector: BOOT_CS, dataSelector: BOOT_DS, gdt: GDT };

export function isLinuxImage(kernel: Uint8Array): boolean {
  if (kernel.length < H.HEADER + 4) return false;
  const view = viewOf(kernel);
  return view.getUint16(H.BOOT_FLAG, true) === H.BOOT_FLAG_VALUE && view.getUint32(H.HEADER, true) === H.HEADER_MAGIC;
}

export function prepareLinux(options: BootOptions): BootImage {
  const kernel = options.kernel.bytes;
  if (kernel.length < H.HEADER_LAST) throw kernelError(options, 'the file is cut off within the setup header');
  const header = H.readLinuxHeader(kernel);
  checkHeader(options, header);

  const address = header.relocatable && header.preferredAddress !== 0 ? header.preferredAddress : HIGH_MEMORY_START;
  const code = kernel.subarray(header.codeOffset);
  checkKernelRange(options, address, code.length);
  // It runs at the preferred address or, when it may run anywhere, at the first aligned one where it was loaded.
  const runsAt = Math.max(alignUp(address, header.relocatable ? header.alignment : 1), header.preferredAddress);
  const kernelEnd = Math.max(address + code.length, runsAt + header.initBytes);
  if (kernelEnd > options.ramEnd) throw memoryTooSmall(options, kernelEnd);

  const initrd = options.initrd && placeInitrd(options, options.initrd, kernelEnd, header.initrdLimit);
  const setupHeader = kernel.subarray(H.SETUP_SECTS, header.headerEnd);
  const writes: MemoryWrite[] = [
    ...biosDataArea(),
    { guestPhysical: address, bytes: code },
    {
      guestPhysical: COMMAND_LINE_ADDRESS,
      bytes: commandLineBytes(options, options.commandLine, header.commandLineBytes),
    },
    bootParams(options, { address, setupHeader, initrd }),
  ];
  if (initrd) writes.push(initrd);
  if ((header.loadFlags64 & H.XLF_KERNEL_64) !== 0) return enter64('linux64', address + ENTRY64_OFFSET, writes);
  return {
    protocol: 'linux32',
    info: INFO_ADDRESS,
    writes: [...writes, flatGdt(32)],
    state: { mode: 'protected', rip: address, registers: { esi: INFO_ADDRESS, ebp: 0, edi: 0, ebx: 0 }, ...SELECTORS },
  };
}

/** An uncompressed kernel without a PVH entry point: entered in 64-bit mode like a bzImage behind its decompressor. */
export function prepareLinuxElf(options: BootOptions, elf: ElfImage): BootImage {
  const entry = physicalEntry(options, elf);
  const end = segmentsEnd(elf);
  const initrd = options.initrd && placeInitrd(options, options.initrd, end, 2 ** 32);
  const writes: MemoryWrite[] = [
    ...biosDataArea(),
    ...loadSegments(options, elf),
    { guestPhysical: COMMAND_LINE_ADDRESS, bytes: commandLineBytes(options, options.commandLine) },
    bootParams(options, { address: entry, initrd }),
  ];
  if (initrd) writes.push(initrd);
  return enter64('elf64', entry, writes);
}

function enter64(protocol: 'linux64' | 'elf64', rip: number, writes: readonly MemoryWrite[]): BootImage {
  return {
    protocol,
    info: INFO_ADDRESS,
    writes: [...writes, flatGdt(64), identityPageTables()],
    state: { mode: 'long', rip, registers: { rsi: INFO_ADDRESS }, cr3: PAGE_TABLE_ADDRESS, ...SELECTORS },
  };
}

function checkHeader(options: BootOptions, header: H.LinuxHeader): void {
  const { version, loadFlags, codeOffset, codeBytes, alignment } = header;
  const fileBytes = options.kernel.bytes.length;
  if (version < OLDEST_VERSION) {
    throw kernelError(options, `its boot protocol is ${version >> 8}.${version & 0xff}, but at least 2.2 is needed`);
  }
  if ((loadFlags & H.LOADED_HIGH) === 0) throw kernelError(options, 'a zImage, but only bzImages can be started');
  // The last 16-byte unit need not be whole.
  if (fileBytes + 15 < codeOffset + codeBytes || fileBytes <= codeOffset) {
    throw kernelError(options, `the file is cut off: it has ${fileBytes} bytes of ${codeOffset + codeBytes}`);
  }
  if (!Number.isInteger(Math.log2(alignment))) {
    throw kernelError(options, `its setup header asks for alignment to ${alignment}, which is no power of two`);
  }
}
