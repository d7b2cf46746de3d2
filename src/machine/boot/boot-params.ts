/** Linux's boot_params, the "zero page" (Documentation/arch/x86/zero-page.rst): what the kernel is told about the machine. */
import { viewOf } from '../../base/bytes.ts';
import { BOOT_PARAMS_ADDRESS, type BootOptions, type MemoryWrite } from './boot-image.ts';

const ACPI_RSDP_ADDR = 0x070;
const ALT_MEM_K = 0x1e0;
const E820_ENTRIES = 0x1e8;
const SETUP_HEADER = 0x1f1;
const BOOT_FLAG = 0x1fe;
const JUMP_LENGTH = 0x201; // the header ends this far after 0x202
const HEADER_MAGIC = 0x202;
const TYPE_OF_LOADER = 0x210;
const LOADFLAGS = 0x211;
const CODE32_START = 0x214;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const HEAP_END_PTR = 0x224;
const CMD_LINE_PTR = 0x228;
const KERNEL_ALIGNMENT = 0x230;
const HEADER_LIMIT = 0x290;
const E820_TABLE = 0x2d0;
const E820_MAX = 128;

const LOADED_HIGH = 0x01;
const CAN_USE_HEAP = 0x80;
const LOADER_UNDEFINED = 0xff;
export const MAGIC_HDRS = 0x53726448; // "HdrS"
/** Where the protected mode part of a bzImage is put. */
export const HIGH_LOAD_ADDRESS = 0x100000;

/** @param setup the beginning of a bzImage, whose setup header is passed on; without it (vmlinux) a minimal one is made */
export function makeBootParams(
  options: BootOptions,
  commandLine: MemoryWrite,
  initrd: MemoryWrite | undefined,
  setup?: Uint8Array,
): MemoryWrite {
  const params = new Uint8Array(4096);
  const view = viewOf(params);
  if (setup) {
    const headerEnd = Math.min(HEADER_MAGIC + (setup[JUMP_LENGTH] ?? 0), HEADER_LIMIT);
    params.set(setup.subarray(SETUP_HEADER, headerEnd), SETUP_HEADER);
  } else {
    view.setUint16(BOOT_FLAG, 0xaa55, true);
    view.setUint32(HEADER_MAGIC, MAGIC_HDRS, true);
    view.setUint8(LOADFLAGS, LOADED_HIGH);
    view.setUint32(KERNEL_ALIGNMENT, 0x1000000, true);
  }
  view.setUint8(TYPE_OF_LOADER, LOADER_UNDEFINED);
  view.setUint8(LOADFLAGS, view.getUint8(LOADFLAGS) | CAN_USE_HEAP);
  view.setUint16(HEAP_END_PTR, 0xfe00, true);
  view.setUint32(CODE32_START, HIGH_LOAD_ADDRESS, true);
  view.setUint32(CMD_LINE_PTR, commandLine.guestPhysical, true);
  if (initrd) {
    view.setUint32(RAMDISK_IMAGE, initrd.guestPhysical, true);
    view.setUint32(RAMDISK_SIZE, initrd.bytes.length, true);
  }
  view.setUint32(ACPI_RSDP_ADDR, options.rsdp, true);
  view.setUint32(ALT_MEM_K, Math.max(0, options.ramEnd - HIGH_LOAD_ADDRESS) / 1024, true);
  writeE820(view, options);
  return { guestPhysical: BOOT_PARAMS_ADDRESS, bytes: params };
}

function writeE820(view: DataView, { memoryMap }: BootOptions): void {
  const entries = memoryMap.slice(0, E820_MAX);
  view.setUint8(E820_ENTRIES, entries.length);
  entries.forEach(({ start, sizeBytes, type }, i) => {
    const at = E820_TABLE + i * 20;
    view.setUint32(at, start % 0x1_0000_0000, true);
    view.setUint32(at + 4, Math.floor(start / 0x1_0000_0000), true);
    view.setUint32(at + 8, sizeBytes % 0x1_0000_0000, true);
    view.setUint32(at + 12, Math.floor(sizeBytes / 0x1_0000_0000), true);
    view.setUint32(at + 16, type, true);
  });
}
