/**
 * Where a PC's memory is: the map that boot protocols hand to an operating system (e820 entries of ACPI 6.4, chapter 15; multiboot
 * and PVH use the same types). RAM lies below the PCI hole only.
 */
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
/** The last KiB below 640 KiB is the extended BIOS data area's by convention. */
export const CONVENTIONAL_END = 0x9fc00;
/** Start of memory above video memory and ROMs. */
export const HIGH_MEMORY_START: number = MIB;
const VIDEO_MEMORY = 0xa0000;
const BIOS_START = 0xf0000;
const BIOS_FLASH = 0xfffc_0000;

/**
 * The map, sorted by address.
 * @param acpiStart where the ACPI tables begin, which take the end of RAM
 */
export function memoryMap(memoryBytes: number, acpiStart: number): MemoryRange[] {
  return [
    { start: 0, sizeBytes: CONVENTIONAL_END, type: E820_RAM },
    { start: CONVENTIONAL_END, sizeBytes: VIDEO_MEMORY - CONVENTIONAL_END, type: E820_RESERVED },
    { start: BIOS_START, sizeBytes: HIGH_MEMORY_START - BIOS_START, type: E820_RESERVED },
    { start: HIGH_MEMORY_START, sizeBytes: acpiStart - HIGH_MEMORY_START, type: E820_RAM },
    { start: acpiStart, sizeBytes: memoryBytes - acpiStart, type: E820_ACPI },
    { start: BIOS_FLASH, sizeBytes: 2 ** 32 - BIOS_FLASH, type: E820_RESERVED },
  ].filter(({ sizeBytes }) => sizeBytes > 0);
}

/** How much memory a map describes, up to the end of RAM with what firmware took of it. */
export function mappedMemoryBytes(map: readonly MemoryRange[]): number {
  return Math.max(
    0,
    ...map.filter(({ type }) => type !== E820_RESERVED).map(({ start, sizeBytes }) => start + sizeBytes),
  );
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
