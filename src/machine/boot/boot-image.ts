/** What a boot protocol gives back: plain data that the machine applies to memory and to the first vCPU. */

/** Bytes to put into guest memory before the first instruction. */
export interface MemoryWrite {
  readonly guestPhysical: number;
  readonly bytes: Uint8Array;
}

/** The vCPU's first state; what is not named is as after reset. Has the shape that accelerators take. */
export interface InitialState {
  readonly mode: "real" | "protected" | "long";
  readonly rip: number;
  /** General registers by lower-case name: "rsi", "eax". */
  readonly registers: Readonly<Record<string, number>>;
  /** Long mode: physical address of the top page table. */
  readonly cr3?: number;
  /** Selectors to load with flat descriptors of the mode. */
  readonly codeSelector: number;
  readonly dataSelector: number;
  readonly gdt: { readonly base: number; readonly limit: number };
}

export interface BootImage {
  /** Which protocol was found: for a log line. */
  readonly protocol: "linux64" | "linux32" | "pvh" | "elf64" | "multiboot";
  readonly writes: readonly MemoryWrite[];
  readonly state: InitialState;
}

/** A file with the name its user knows it by, for messages. */
export interface BootFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface BootOptions {
  readonly kernel: BootFile;
  readonly initrd?: BootFile;
  readonly commandLine: string;
  readonly memoryMap: readonly MemoryRange[];
  /** End of the RAM that may be used, below the ACPI tables. */
  readonly ramEnd: number;
  /** Where the ACPI root pointer is, 0 when there is none. */
  readonly rsdp: number;
}

/** Types of an E820 entry. */
export const E820_RAM = 1;
export const E820_RESERVED = 2;
export const E820_ACPI = 3;

export interface MemoryRange {
  readonly start: number;
  readonly sizeBytes: number;
  /** E820_* */
  readonly type: number;
}

// Where the boot protocols put what they hand over, all in the first 640 KiB.
export const GDT_ADDRESS = 0x500;
export const START_INFO_ADDRESS = 0x6000; // PVH start info, or multiboot information
export const BOOT_PARAMS_ADDRESS = 0x7000;
export const PAGE_TABLES_ADDRESS = 0x9000; // PML4, PDPT, four page directories
export const COMMAND_LINE_ADDRESS = 0x20000;
/** Room for a command line: up to the start of what a PC has above. */
export const COMMAND_LINE_LIMIT = 0x10000;

/** Selectors of the table below; Linux asks for just these two. */
export const BOOT_CODE_SELECTOR = 0x10;
export const BOOT_DATA_SELECTOR = 0x18;

/** A descriptor table with flat code at 0x10 (64-bit or 32-bit) and flat data at 0x18. */
export function flatGdt(longMode: boolean): MemoryWrite {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  view.setUint32(16, 0x0000ffff, true);
  view.setUint32(20, longMode ? 0x00af9b00 : 0x00cf9b00, true);
  view.setUint32(24, 0x0000ffff, true);
  view.setUint32(28, 0x00cf9300, true);
  return { guestPhysical: GDT_ADDRESS, bytes };
}

export const FLAT_GDT: { readonly base: number; readonly limit: number } = { base: GDT_ADDRESS, limit: 31 };

/** Page tables that map the first 4 GiB onto itself with 2 MiB pages. */
export function identityPageTables(): MemoryWrite {
  const bytes = new Uint8Array(6 * 4096);
  const view = new DataView(bytes.buffer);
  const presentWritable = 0x03;
  const large = 0x80;
  view.setUint32(0, (PAGE_TABLES_ADDRESS + 0x1000) | presentWritable, true);
  for (let gib = 0; gib < 4; gib++) {
    view.setUint32(0x1000 + gib * 8, (PAGE_TABLES_ADDRESS + 0x2000 + gib * 0x1000) | presentWritable, true);
    for (let i = 0; i < 512; i++) view.setUint32(0x2000 + gib * 0x1000 + i * 8, ((gib * 512 + i) * 0x200000) | large | presentWritable, true);
  }
  return { guestPhysical: PAGE_TABLES_ADDRESS, bytes };
}
