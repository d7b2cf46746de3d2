/**
 * The page walker: none, 32-bit with PSE and PSE-36, PAE, and 4-level paging (Intel SDM volume 3, chapter 4).
 *
 * A walk answers for all three kinds of access at once, so that one TLB fill serves reads, writes and fetches alike.
 * Left out: 5-level paging, memory types, shadow stacks. The physical address width is PHYSICAL_BITS.
 */
import {
  ACCESS_EXEC, ACCESS_IMPLICIT, ACCESS_WRITE, CPU_CR0, CPU_CR3, CPU_CR4, CPU_EFER, CPU_PDPTE, CPU_PKRU, CPU_RFLAGS, CPU_WALK, CPU_WALK_CACHE, CPU_WALK_GENERATION, SLOT_FLAGS,
  SLOT_READONLY, WALK_CACHE_ENTRIES, WALK_CACHE_ENTRY_SIZE,
} from "../layout";
import {
  CR0_PG, CR0_WP, CR4_PAE, CR4_PGE, CR4_PKE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_NXE, RFLAGS_AC,
} from "./bits";
import { a20, findSlot, markDirty, slotHost } from "./physical";
import { cpl, raisePageFault } from "./state";

export const PHYSICAL_BITS: u32 = 40;
const ADDRESS: u64 = 0x000000fffffff000;
const RESERVED_ADDRESS: u64 = 0x000fff0000000000; // bits 40..51
const RESERVED_PAE: u64 = 0x7ff0000000000000; // bits 52..62, reserved outside IA-32e mode
const NX: u64 = 0x8000000000000000;
const PTE_P: u64 = 0x1;
const PTE_A: u64 = 0x20;
const PTE_D: u64 = 0x40;
const PTE_PS: u64 = 0x80;
const PTE_G: u64 = 0x100;

const PF_P: u32 = 0x1;
const PF_W: u32 = 0x2;
const PF_U: u32 = 0x4;
const PF_RSVD: u32 = 0x8;
const PF_I: u32 = 0x10;
const PF_PK: u32 = 0x20;

export const RIGHT_READ: u32 = 1;
export const RIGHT_WRITE: u32 = 2; // the dirty bit is set as well
export const RIGHT_EXEC: u32 = 4;
export const RIGHT_GLOBAL: u32 = 8;
export const RIGHT_LARGE: u32 = 16; // a 2 MiB or 4 MiB page
export const RIGHT_GIANT: u32 = 32; // a 1 GiB page

/** Results of the last `walk`: physical address of the 4 KiB frame, and RIGHT_*. */
export let walkFrame: u64 = 0;
export let walkRights: u32 = 0;

// The entries of the current walk, so that accessed and dirty bits are set once everything is permitted.
let steps: u32 = 0;
// A step in CPU_WALK: u64 value, u32 host address (0 = not writable), u32 slot, u64 physical page.
const STEP_SIZE: u32 = 24;

/** Reads a paging entry; what is no memory reads as all ones. */
function readEntry(cpu: u32, gpa: u64, wide: bool): u64 {
  gpa = a20(gpa);
  const slot = findSlot(gpa >> 12);
  const host = slot ? slotHost(slot, gpa) : 0;
  const value: u64 = !host ? (wide ? ~(<u64>0) : 0xffffffff) : wide ? atomic.load<u64>(host) : atomic.load<u32>(host);
  const step = cpu + CPU_WALK + steps * STEP_SIZE;
  store<u64>(step, value);
  store<u32>(step, slot && !(load<u32>(slot, SLOT_FLAGS) & SLOT_READONLY) ? host : 0, 8);
  store<u32>(step, slot, 12);
  store<u64>(step, gpa >> 12, 16);
  steps++;
  return value;
}

/** Sets A everywhere and D in the leaf when asked. False when another processor changed an entry meanwhile. */
function setAccessed(cpu: u32, dirty: bool, wide: bool): bool {
  for (let i: u32 = 0; i < steps; i++) {
    const step = cpu + CPU_WALK + i * STEP_SIZE;
    const old = load<u64>(step), host = load<u32>(step, 8);
    const want = old | PTE_A | (dirty && i == steps - 1 ? PTE_D : 0);
    if (want == old || !host) continue;
    if (wide) {
      if (atomic.cmpxchg<u64>(host, old, want) != old) return false;
    } else if (atomic.cmpxchg<u32>(host, <u32>old, <u32>want) != <u32>old) return false;
    markDirty(load<u32>(step, 12), load<u64>(step, 16));
  }
  return true;
}

// What the walk cache knew: a page table, and the rights that the levels above it grant (bits 1, 2, and NX).
let cacheTable: u64 = 0;
let cacheRights: u64 = 0;

@inline function cacheSlot(cpu: u32, va: u64): u32 {
  return cpu + CPU_WALK_CACHE + (<u32>(va >> 21) & (WALK_CACHE_ENTRIES - 1)) * WALK_CACHE_ENTRY_SIZE;
}

function cachedTable(cpu: u32, va: u64): bool {
  const slot = cacheSlot(cpu, va);
  if (load<u64>(slot) != va >> 21 || load<u32>(slot, 24) != load<u32>(cpu, CPU_WALK_GENERATION)) return false;
  cacheTable = load<u64>(slot, 8);
  cacheRights = load<u64>(slot, 16);
  return true;
}

/** Remembers a page table once the walk has come to it: its upper levels are marked accessed by the time it is used again. */
function cacheWalk(cpu: u32, va: u64, table: u64, rights: u64): void {
  const slot = cacheSlot(cpu, va);
  store<u64>(slot, va >> 21);
  store<u64>(slot, table, 8);
  store<u64>(slot, rights, 16);
  store<u32>(slot, load<u32>(cpu, CPU_WALK_GENERATION), 24);
}

/** Forgets all of the walk cache. */
export function flushWalkCache(cpu: u32): void {
  store<u32>(cpu, load<u32>(cpu, CPU_WALK_GENERATION) + 1, CPU_WALK_GENERATION);
}

/** Translates `va` for an access (ACCESS_*). 0 = walkFrame and walkRights hold; else a page fault is pending. */
export function walk(cpu: u32, va: u64, access: u32): i32 {
  const cr0 = load<u32>(cpu, CPU_CR0);
  if (!(cr0 & CR0_PG)) {
    walkFrame = a20(va & 0xfffff000);
    walkRights = RIGHT_READ | RIGHT_WRITE | RIGHT_EXEC;
    return 0;
  }
  const cr4 = load<u32>(cpu, CPU_CR4), efer = load<u32>(cpu, CPU_EFER);
  const wide = (cr4 & CR4_PAE) != 0, long = (efer & EFER_LMA) != 0;
  const user = !(access & ACCESS_IMPLICIT) && cpl(cpu) == 3;
  let error: u32 = 0;
  if (access & ACCESS_WRITE) error |= PF_W;
  if (user) error |= PF_U;
  if ((access & ACCESS_EXEC) && (((efer & EFER_NXE) && wide) || (cr4 & CR4_SMEP))) error |= PF_I;

  for (;;) {
    steps = 0;
    // The rights of all levels together: bit 1 writable, bit 2 user; bit 63 of `no` no execution.
    let rights: u64 = 6, no: u64 = 0, entry: u64 = 0;
    let frame: u64 = 0, kind: u32 = 0;
    if (wide) {
      const reserved = RESERVED_ADDRESS | (efer & EFER_NXE ? 0 : NX) | (long ? 0 : RESERVED_PAE);
      let table: u64, level: u32;
      if (long) {
        table = load<u64>(cpu, CPU_CR3) & ADDRESS;
        level = 4;
        if (cachedTable(cpu, va)) {
          table = cacheTable;
          rights = cacheRights & 6;
          no = cacheRights & NX;
          level = 1;
        }
      } else {
        const pdpte = load<u64>(cpu + CPU_PDPTE + ((<u32>va >> 30) << 3));
        if (!(pdpte & PTE_P)) return raisePageFault(cpu, va, error);
        table = pdpte & ADDRESS;
        level = 2;
      }
      let shift = 12 + 9 * (level - 1);
      for (;;) {
        entry = readEntry(cpu, table + (((va >> shift) & 511) << 3), true);
        if (!(entry & PTE_P)) return raisePageFault(cpu, va, error);
        let bad = entry & reserved;
        const leaf = level == 1 || (entry & PTE_PS) != 0;
        if (leaf && level > 1) bad |= level == 4 ? PTE_PS : entry & (((<u64>1) << shift) - 1) & ~(<u64>0x1fff);
        if (bad) return raisePageFault(cpu, va, error | PF_P | PF_RSVD);
        if (long && level == 1) cacheWalk(cpu, va, table, (rights & 6) | no);
        rights &= entry;
        no |= entry & NX;
        if (leaf) break;
        table = entry & ADDRESS;
        level--;
        shift -= 9;
      }
      const inside = ((<u64>1) << shift) - 1;
      frame = (entry & ADDRESS & ~inside) | (va & inside & ~(<u64>0xfff));
      kind = level == 1 ? 0 : level == 2 ? RIGHT_LARGE : RIGHT_GIANT;
    } else {
      entry = readEntry(cpu, (load<u64>(cpu, CPU_CR3) & 0xfffff000) + (((va >> 22) & 1023) << 2), false);
      if (!(entry & PTE_P)) return raisePageFault(cpu, va, error);
      rights &= entry;
      if ((entry & PTE_PS) && (cr4 & CR4_PSE)) {
        if (entry & 0x200000) return raisePageFault(cpu, va, error | PF_P | PF_RSVD);
        frame = (entry & 0xffc00000) | ((entry & 0x1fe000) << 19) | (va & 0x3ff000);
        kind = RIGHT_LARGE;
      } else {
        entry = readEntry(cpu, (entry & 0xfffff000) + (((va >> 12) & 1023) << 2), false);
        if (!(entry & PTE_P)) return raisePageFault(cpu, va, error);
        rights &= entry;
        frame = entry & 0xfffff000;
      }
    }

    const userPage = (rights & 4) != 0, writable = (rights & 2) != 0;
    let read: bool, write: bool, exec = no == 0;
    if (user) {
      read = userPage;
      write = userPage && writable;
      exec = exec && userPage;
    } else {
      const suspended = !(access & ACCESS_IMPLICIT) && (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_AC) != 0;
      read = !(userPage && (cr4 & CR4_SMAP) && !suspended);
      write = read && (writable || !(cr0 & CR0_WP));
      exec = exec && !(userPage && (cr4 & CR4_SMEP));
    }
    if (long && (cr4 & CR4_PKE) && userPage) {
      const key = load<u32>(cpu, CPU_PKRU) >> (<u32>((entry >> 59) & 15) << 1);
      const noWrite = (key & 2) && (user || (cr0 & CR0_WP));
      if (!(access & ACCESS_EXEC) && ((key & 1) || (noWrite && (access & ACCESS_WRITE)))) error |= PF_PK;
      if (key & 1) { read = false; write = false; }
      if (noWrite) write = false;
    }
    const allowed = access & ACCESS_EXEC ? exec : access & ACCESS_WRITE ? write : read;
    if (!allowed) return raisePageFault(cpu, va, error | PF_P);
    if (!setAccessed(cpu, (access & ACCESS_WRITE) != 0, wide)) continue;

    let result = kind;
    if (read) result |= RIGHT_READ;
    if (write && ((access & ACCESS_WRITE) || (entry & PTE_D))) result |= RIGHT_WRITE;
    if (exec) result |= RIGHT_EXEC;
    if ((entry & PTE_G) && (cr4 & CR4_PGE)) result |= RIGHT_GLOBAL;
    walkFrame = a20(frame);
    walkRights = result;
    return 0;
  }
}
