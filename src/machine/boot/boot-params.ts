/**
 * Linux's boot_params, the "zero page" (Documentation/arch/x86/zero-page.rst): what the kernel is told about the machine, as its
 * own setup code would have found it out from the BIOS.
 */
import { viewOf } from '../../base/bytes.ts';
import { UserError } from '../../base/errors.ts';
import { type BootOptions, COMMAND_LINE_ADDRESS, INFO_ADDRESS, type MemoryWrite } from './boot-image.ts';
import * as H from './linux-header.ts';
import { HIGH_MEMORY_START, e820Entries } from './memory-map.ts';

/** The kernel as it was loaded. */
export interface LoadedKernel {
  readonly address: number;
  /** The kernel's own setup header, from SETUP_SECTS on; a vmlinux has none. */
  readonly setupHeader?: Uint8Array;
  readonly initrd?: MemoryWrite | undefined;
}

export function bootParams(options: BootOptions, { address, setupHeader, initrd }: LoadedKernel): MemoryWrite {
  const params = new Uint8Array(H.BOOT_PARAMS_SIZE);
  const view = viewOf(params);
  if (setupHeader) {
    params.set(setupHeader, H.SETUP_SECTS);
  } else {
    view.setUint16(H.BOOT_FLAG, H.BOOT_FLAG_VALUE, true);
    view.setUint32(H.HEADER, H.HEADER_MAGIC, true);
    view.setUint16(H.VERSION, H.VERSION_2_15, true);
    view.setUint8(H.LOADFLAGS, H.LOADED_HIGH);
    view.setUint32(H.KERNEL_ALIGNMENT, 0x100_0000, true);
  }
  view.setUint16(H.VID_MODE, H.VID_MODE_NORMAL, true);
  view.setUint8(H.TYPE_OF_LOADER, H.LOADER_UNDEFINED);
  view.setUint32(H.CODE32_START, address, true);
  view.setUint32(H.CMD_LINE_PTR, COMMAND_LINE_ADDRESS, true);
  view.setUint32(H.RAMDISK_IMAGE, initrd?.guestPhysical ?? 0, true);
  view.setUint32(H.RAMDISK_SIZE, initrd?.bytes.length ?? 0, true);
  view.setUint32(H.ACPI_RSDP_ADDR, options.rsdp, true);
  describeMemory(options, params);
  if (options.vgaText === true) describeScreen(params);
  return { guestPhysical: INFO_ADDRESS, bytes: params };
}

function describeMemory({ memoryMap, ramEnd }: BootOptions, params: Uint8Array): void {
  const view = viewOf(params);
  if (memoryMap.length > H.E820_MAX_ENTRIES) {
    throw new UserError(`-m: the memory map has more than ${H.E820_MAX_ENTRIES} entries.`);
  }
  view.setUint8(H.E820_COUNT, memoryMap.length);
  params.set(e820Entries(memoryMap), H.E820_TABLE);
  const highKib = (ramEnd - HIGH_MEMORY_START) / 1024;
  view.setUint32(H.ALT_MEM_K, highKib, true);
  view.setUint16(H.SCREEN_INFO + H.SCREEN_EXT_MEM_K, Math.min(highKib, H.EXT_MEM_K_MAX), true);
}

/** The VGA text mode that a BIOS leaves. */
function describeScreen(params: Uint8Array): void {
  params[H.SCREEN_INFO + H.SCREEN_MODE] = 3;
  params[H.SCREEN_INFO + H.SCREEN_COLUMNS] = 80;
  params[H.SCREEN_INFO + H.SCREEN_LINES] = 25;
  params[H.SCREEN_INFO + H.SCREEN_IS_VGA] = 1;
  viewOf(params).setUint16(H.SCREEN_INFO + H.SCREEN_POINTS, 16, true);
}
