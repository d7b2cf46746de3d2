/**
 * The tables that the boot protocols want a processor to start with: a GDT with flat segments at the selectors of Linux's boot
 * protocol (Documentation/arch/x86/boot.rst), and page tables that map the first 4 GiB to themselves.
 */
import { ByteBuilder } from '../../base/bytes.ts';
import { type MemoryWrite, GDT_ADDRESS, PAGE_TABLE_ADDRESS } from './boot-image.ts';

export const BOOT_CS = 0x10;
export const BOOT_DS = 0x18;

// The upper halves of flat descriptors: base 0, limit 0xfffff pages, present, ring 0, accessed.
const CODE32_HIGH = 0x00cf_9b00;
const CODE64_HIGH = 0x00af_9b00;
const DATA_HIGH = 0x00cf_9300;
const FLAT_LOW = 0x0000_ffff;
const GDT_ENTRIES = 4;
export const GDT: { readonly base: number; readonly limit: number } = {
  base: GDT_ADDRESS,
  limit: GDT_ENTRIES * 8 - 1,
};

const PAGE = 4096;
const PRESENT_WRITABLE = 0x03;
const LARGE_PAGE = 0x80; // PS: a page directory entry maps 2 MiB
const LARGE_PAGE_BYTES = 0x20_0000;
const DIRECTORIES = 4;

/** Null, unused, code at BOOT_CS, data at BOOT_DS. */
export function flatGdt(codeBits: 32 | 64): MemoryWrite {
  const code = codeBits === 64 ? CODE64_HIGH : CODE32_HIGH;
  const bytes = new ByteBuilder().zeros(16).u32(FLAT_LOW).u32(code).u32(FLAT_LOW).u32(DATA_HIGH).build();
  return { guestPhysical: GDT_ADDRESS, bytes };
}

/** PML4, page directory pointers and page directories for 4 GiB; the PML4 is at PAGE_TABLE_ADDRESS. */
export function identityPageTables(): MemoryWrite {
  const pointers = PAGE_TABLE_ADDRESS + PAGE;
  const directories = pointers + PAGE;
  const tables = new ByteBuilder().u64(pointers | PRESENT_WRITABLE).alignTo(PAGE);
  for (let i = 0; i < DIRECTORIES; i++) tables.u64((directories + i * PAGE) | PRESENT_WRITABLE);
  tables.alignTo(PAGE);
  for (let i = 0; i < DIRECTORIES * 512; i++) tables.u64(i * LARGE_PAGE_BYTES + (LARGE_PAGE | PRESENT_WRITABLE));
  return { guestPhysical: PAGE_TABLE_ADDRESS, bytes: tables.build() };
}
