/**
 * The setup header of a Linux kernel image and the structure it is handed over in, boot_params or "zero page"
 * (Documentation/arch/x86/boot.rst and zero-page.rst). Offsets are the same in the file and in boot_params.
 */

// Setup header
export const SETUP_SECTS = 0x1f1;
export const SYSSIZE = 0x1f4; // of the protected-mode code, in 16-byte units
export const VID_MODE = 0x1fa;
export const BOOT_FLAG = 0x1fe;
export const JUMP = 0x200; // a short jump to where the header ends
export const HEADER = 0x202;
export const VERSION = 0x206;
export const TYPE_OF_LOADER = 0x210;
export const LOADFLAGS = 0x211;
export const CODE32_START = 0x214;
export const RAMDISK_IMAGE = 0x218;
export const RAMDISK_SIZE = 0x21c;
export const CMD_LINE_PTR = 0x228;
export const INITRD_ADDR_MAX = 0x22c;
export const KERNEL_ALIGNMENT = 0x230;
export const RELOCATABLE_KERNEL = 0x234;
export const XLOADFLAGS = 0x236;
export const CMDLINE_SIZE = 0x238;
export const PREF_ADDRESS = 0x258;
export const INIT_SIZE = 0x260;
/** The header's fields end here in the newest version of the protocol. */
export const HEADER_LAST = 0x280;

export const BOOT_FLAG_VALUE = 0xaa55;
export const HEADER_MAGIC = 0x5372_6448; // "HdrS"
export const VERSION_2_15 = 0x20f;
export const LOADED_HIGH = 0x01;
export const XLF_KERNEL_64 = 0x01; // has the 64-bit entry point at 0x200
export const XLF_CAN_BE_LOADED_ABOVE_4G = 0x02;
export const LOADER_UNDEFINED = 0xff; // a loader without a number of its own
export const VID_MODE_NORMAL = 0xffff;
export const EXT_MEM_K_MAX = 0xfc00; // what BIOS function 15h/88h can say: 63 MiB

// Fields of boot_params outside the setup header
export const SCREEN_INFO = 0x000;
export const ACPI_RSDP_ADDR = 0x070;
export const ALT_MEM_K = 0x1e0; // KiB above 1 MiB
export const E820_COUNT = 0x1e8;
export const E820_TABLE = 0x2d0;
export const E820_MAX_ENTRIES = 128;
export const BOOT_PARAMS_SIZE = 0x1000;

// screen_info
export const SCREEN_EXT_MEM_K = 0x02;
export const SCREEN_MODE = 0x06;
export const SCREEN_COLUMNS = 0x07;
export const SCREEN_LINES = 0x0e;
export const SCREEN_IS_VGA = 0x0f;
export const SCREEN_POINTS = 0x10;

export interface LinuxHeader {
  /** 0x020f is 2.15. */
  readonly version: number;
  readonly loadFlags: number;
  readonly loadFlags64: number;
  /** Where the protected-mode code starts in the file. */
  readonly codeOffset: number;
  /** Its length as the header gives it. */
  readonly codeBytes: number;
  readonly code32Start: number;
  readonly relocatable: boolean;
  readonly alignment: number;
  /** Where it wants to run, 0 for no wish. */
  readonly preferredAddress: number;
  /** Memory from there that the kernel uses before it reads the memory map. */
  readonly initBytes: number;
  /** Exclusive. */
  readonly initrdLimit: number;
  /** Without the NUL. */
  readonly commandLineBytes: number;
  /** End of the header in the file and in boot_params. */
  readonly headerEnd: number;
}

/** Reads the header of an image that `isLinuxImage` found to be one. Fields newer than its version get what was implied then. */
export function readLinuxHeader(kernel: Uint8Array): LinuxHeader {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const version = view.getUint16(VERSION, true);
  const since = (introduced: number, value: () => number, before: number): number =>
    version >= introduced ? value() : before;
  const flags64 = since(0x20c, () => view.getUint16(XLOADFLAGS, true), 0);
  const setupSectors = kernel[SETUP_SECTS] || 4;
  const codeOffset = (setupSectors + 1) * 512;
  const initrdMax = since(0x203, () => view.getUint32(INITRD_ADDR_MAX, true), 0x37ff_ffff);
  const codeBytes = view.getUint32(SYSSIZE, true) * 16;
  return {
    version,
    loadFlags: view.getUint8(LOADFLAGS),
    loadFlags64: flags64,
    codeOffset,
    codeBytes,
    code32Start: view.getUint32(CODE32_START, true),
    relocatable: since(0x205, () => view.getUint8(RELOCATABLE_KERNEL), 0) !== 0,
    alignment: since(0x205, () => view.getUint32(KERNEL_ALIGNMENT, true), 0) || 0x10_0000,
    preferredAddress: since(
      0x20a,
      () => view.getUint32(PREF_ADDRESS, true) + view.getUint32(PREF_ADDRESS + 4, true) * 2 ** 32,
      0,
    ),
    initBytes: since(0x20a, () => view.getUint32(INIT_SIZE, true), codeBytes),
    initrdLimit: (flags64 & XLF_CAN_BE_LOADED_ABOVE_4G) !== 0 ? 2 ** 32 : initrdMax + 1,
    commandLineBytes: since(0x206, () => view.getUint32(CMDLINE_SIZE, true), 255),
    headerEnd: Math.min(HEADER + view.getUint8(JUMP + 1), HEADER_LAST),
  };
}
