/**
 * Where a PC's memory is: the map that boot protocols hand to an operating system (e820 entries of ACPI 6.4, chapter 15; multiboot
 * and PVH use the same types). RAM lies below the PCI hole only: 1 MiB to 3 GiB of it.
 */
import { alignDown } from '../../base/bits.ts';
import { UserError } from '../../base/errors.ts';
import { ByteBuilder } from '../../base/bytes.ts';

/** Address range types of the e820 interface. */
export const E820_RAM = 1;
export const E820_RESERVED = 2;
/** RAM that holds ACPI tables, free once they are read. */
export const E820_ACPI = 3;

export interface MemoryRange {
  readonly start: number;
  readonly sizeBytes: number;
  readonly type: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;
export const MIN_MEMORY_BYTES: number = MIB;
/** Above it is the window for PCI devices. */
export const MAX_MEMORY_BYTES = 0xc000_0000;
/** The last KiB below 640 KiB is the extended BIOS data area's by convention. */
export const CONVENTIONAL_END = 0x9fc00;
/** Start of memory above video memory and ROMs. */
export const HIGH_MEMORY_START: number = MIB;
/** Where the RSDP goes: in the range that every operating system searches, in shadow RAM. */
export const RSDP_ADDRESS = 0xf0000;

export interface MemoryMapOptions {
  readonly memoryBytes: number;
  /** Bytes at the end of RAM for the ACPI tables; the map rounds the range to pages. */
  readonly acpiBytes?: number;
}

/** The first address of the ACPI tables, where `acpiBytes` of them take the end of RAM. */
export function acpiTablesAddress({ memoryBytes, acpiBytes = 0 }: MemoryMapOptions): number {
  return alignDown(memoryBytes - acpiBytes, 4096);
}

/** The map, sorted by address. Throws UserError where `-m` is out of bounds. */
export function memoryMap(options: MemoryMapOptions): MemoryRange[] {
  const { memoryBytes } = options;
  if (!(memoryBytes >= MIN_MEMORY_BYTES && memoryBytes <= MAX_MEMORY_BYTES)) {
    throw new UserError(`-m ${describeSize(memoryBytes)}: memory must be 1 MiB to ${describeSize(MAX_MEMORY_BYTES)}.`);
  }
  const acpiStart = Math.max(HIGH_MEMORY_START, acpiTablesAddress(options));
  const ranges: MemoryRange[] = [
    { start: 0, sizeBytes: CONVENTIONAL_END, type: E820_RAM },
    { start: CONVENTIONAL_END, sizeBytes: 0xa0000 - CONVENTIONAL_END, type: E820_RESERVED },
    { start: 0xe0000, sizeBytes: 0x20000, type: E820_RESERVED },
    { start: HIGH_MEMORY_START, sizeBytes: acpiStart - HIGH_MEMORY_START, type: E820_RAM },
    { start: acpiStart, sizeBytes: memoryBytes - acpiStart, type: E820_ACPI },
  ];
  return ranges.filter(({ sizeBytes }) => sizeBytes > 0);
}

/** The end of the usable memory that starts at 1 MiB. */
export function highMemoryEnd(map: readonly MemoryRange[]): number {
  const high = map.find(({ start, type }) => start === HIGH_MEMORY_START && type === E820_RAM);
  return high ? high.start + high.sizeBytes : HIGH_MEMORY_START;
}

/** The map as packed 20-byte e820 entries. */
export function e820Entries(map: readonly MemoryRange[]): Uint8Array {
  const entries = new ByteBuilder();
  for (const { start, sizeBytes, type } of map) entries.u64(start).u64(sizeBytes).u32(type);
  return entries.build();
}

/** "512 MiB", "3 KiB", "17 bytes": the largest unit that divides, for messages. */
export function describeSize(sizeBytes: number): string {
  if (sizeBytes >= MIB && sizeBytes % MIB === 0) return `${sizeBytes / MIB} MiB`;
  if (sizeBytes >= KIB && sizeBytes % KIB === 0) return `${sizeBytes / KIB} KiB`;
  return `${sizeBytes} bytes`;
}
