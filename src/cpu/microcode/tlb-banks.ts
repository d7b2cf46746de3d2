/**
 * The banks of TLB and jump cache (layout.ts, BANK_*): which one is in use, and what flushes drop.
 *
 * Supervisor accesses go through the supervisor's bank, whose entries from global pages outlive changes of CR3. What is done at CPL 3,
 * or by the supervisor on the user's behalf (RFLAGS.AC), goes through the bank of the current PCID; banks of other PCIDs wait
 * untouched until MOV to CR3 says that they may be used again (SDM volume 3, 4.10.1 and 4.10.4). Without CR4.PCIDE all is PCID 0.
 */
import {
  BANK_CODE_PAGES, BANK_CODE_PAGES_BYTES, BANK_FREE, BANK_GENERATION, BANK_JUMP_CACHE, BANK_LOG, BANK_LOG_COUNT, BANK_PCID, BANK_READY, BANK_SIZE,
  BANK_STAMP, BANK_TLB, CPU_BANK_STAMP, CPU_BANKS, CPU_CR3, CPU_CR4, CPU_JUMP_BASE, CPU_JUMP_GEN, CPU_LARGE_CODE, CPU_LOCAL_CODE,
  CPU_LOCAL_COUNT, CPU_LOCAL_LIST, CPU_MODE, CPU_TLB_GIANT, CPU_TLB_LARGE, CPU_TLB_SET, CPU_TLB_VICTIMS, CPU_USER_BANK, CPU_WATCH, JUMP_CACHE_ENTRIES,
  LOCAL_LIST_ENTRIES, MMU_DROP_PAGE, MMU_FLUSH, MODE_BITS, MODE_CPL_SHIFT, STAT_TLB_FLUSH, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_EXEC_TAG, TLB_PPN,
  TLB_PPN_GLOBAL, TLB_PPN_LARGE, TLB_READ_TAG, TLB_SET_SIZE, TLB_TAG_CODE, TLB_TAG_INVALID, TLB_VICTIM_SIZE, TLB_VICTIMS, TLB_WRITE_TAG, USER_BANKS,
  WATCH_MMU,
} from "../layout";
import { CR4_PCIDE } from "./bits";
import { mmuEvent } from "./host";
import { flushWalkCache } from "./paging";
import { count, longMode } from "./state";

const PAGE: u64 = ~(<u64>0xfff);
export const PPN_MASK: u32 = 0x0fffffff;

@inline export function supervisorBank(cpu: u32): u32 { return cpu + CPU_BANKS; }
@inline export function userBank(cpu: u32): u32 { return load<u32>(cpu, CPU_USER_BANK); }
/** TLB sets: for CPL < 3, for CPL 3, for CPL < 3 with SMAP suspended. */
@inline export function supervisorSet(cpu: u32): u32 { return supervisorBank(cpu) + BANK_TLB; }
@inline export function userSet(cpu: u32): u32 { return userBank(cpu) + BANK_TLB; }
@inline export function suspendedSet(cpu: u32): u32 { return userBank(cpu) + BANK_TLB + TLB_SET_SIZE; }
@inline function bankNumber(cpu: u32, n: u32): u32 { return cpu + CPU_BANKS + n * BANK_SIZE; }
@inline function entryNumber(bank: u32, n: u32): u32 { return bank + BANK_TLB + n * TLB_ENTRY_SIZE; }
@inline function logged(bank: u32, i: u32): u32 { return entryNumber(bank, load<u16>(bank + BANK_LOG + (i << 1))); }

@inline export function watched(cpu: u32): bool { return (load<u32>(cpu, CPU_WATCH) & WATCH_MMU) != 0; }

@inline export function drop(entry: u32): void {
  store<u64>(entry, TLB_TAG_INVALID, TLB_READ_TAG);
  store<u64>(entry, TLB_TAG_INVALID, TLB_WRITE_TAG);
  store<u64>(entry, TLB_TAG_INVALID, TLB_EXEC_TAG);
}

export function dropVictims(cpu: u32): void {
  for (let i: u32 = 0; i < <u32>TLB_VICTIMS; i++) drop(cpu + CPU_TLB_VICTIMS + i * TLB_VICTIM_SIZE);
}

function dropLocalVictims(cpu: u32): void {
  for (let i: u32 = 0; i < <u32>TLB_VICTIMS; i++) {
    const victim = cpu + CPU_TLB_VICTIMS + i * TLB_VICTIM_SIZE;
    if (!(load<u32>(victim, TLB_PPN) & TLB_PPN_GLOBAL)) drop(victim);
  }
}

// ---- marks by address ----

/** 1 for the upper half of the address space, of 32 bits or of 64. */
@inline function upperHalf(va: u64): u32 { return <u32>(va >> 63) | <u32>(va >> 31 == 1); }
@inline function largeBit(va: u64): u32 { return (<u32>(va >> 22) & 255) | (upperHalf(va) << 8); }
@inline function giantBit(va: u64): u64 { return ((va >> 30) & 31) | (<u64>(va >> 63) << 5); }
@inline function codeBit(va: u64): u32 { return (<u32>(va >> 12) & 0x3fff) | (upperHalf(va) << 14); }

@inline function bit(map: u32, n: u32): bool { return ((<u32>load<u8>(map + (n >> 3)) >> (n & 7)) & 1) != 0; }
@inline function setBit(map: u32, n: u32): void {
  const at = map + (n >> 3);
  store<u8>(at, load<u8>(at) | <u8>((<u32>1) << (n & 7)));
}

/** A part of a page larger than 4 KiB was filled. */
export function noteLarge(cpu: u32, va: u64, giant: bool): void {
  if (giant) store<u64>(cpu, load<u64>(cpu, CPU_TLB_GIANT) | ((<u64>1) << giantBit(va)), CPU_TLB_GIANT);
  setBit(cpu + CPU_TLB_LARGE, largeBit(va));
}

/** The jump cache at hand holds code of the page at linear address `va`, found through TLB entry `entry`. */
export function noteCodePage(cpu: u32, va: u64, entry: u32): void {
  const user = atUserLevel(cpu), word = load<u32>(entry, TLB_PPN);
  setBit((user ? userBank(cpu) : supervisorBank(cpu)) + BANK_CODE_PAGES, codeBit(va));
  if (word & TLB_PPN_LARGE) setBit(cpu + CPU_LARGE_CODE, largeBit(va));
  if (!user && !(word & TLB_PPN_GLOBAL)) store<u32>(cpu, 1, CPU_LOCAL_CODE);
}

// ---- jump caches ----

@inline function atUserLevel(cpu: u32): bool { return ((load<u32>(cpu, CPU_MODE) >> MODE_CPL_SHIFT) & 3) == 3; }

/** Makes CPU_JUMP_BASE and CPU_JUMP_GEN what the mode and the bank of its privilege level say. */
export function updateJumpGeneration(cpu: u32): void {
  const bank = atUserLevel(cpu) ? userBank(cpu) : supervisorBank(cpu);
  store<u32>(cpu, bank + BANK_JUMP_CACHE, CPU_JUMP_BASE);
  store<u32>(cpu, (load<u32>(bank, BANK_GENERATION) << MODE_BITS) | load<u32>(cpu, CPU_MODE), CPU_JUMP_GEN);
}

/** Every entry of a bank's jump cache is stale from now on. When the numbers are used up, it is emptied and they start again. */
function bump(bank: u32): void {
  const generation = load<u32>(bank, BANK_GENERATION) + 1;
  if (generation >> (32 - MODE_BITS)) {
    memory.fill(bank + BANK_JUMP_CACHE, 0, JUMP_CACHE_ENTRIES * 16);
    store<u32>(bank, 1, BANK_GENERATION);
  } else store<u32>(bank, generation, BANK_GENERATION);
  memory.fill(bank + BANK_CODE_PAGES, 0, BANK_CODE_PAGES_BYTES);
}

function bumpSupervisor(cpu: u32): void {
  bump(supervisorBank(cpu));
  store<u32>(cpu, 0, CPU_LOCAL_CODE);
}

function bumpUsers(cpu: u32): void {
  for (let n: u32 = 1; n <= <u32>USER_BANKS; n++) if (load<u32>(bankNumber(cpu, n), BANK_READY)) bump(bankNumber(cpu, n));
}

/** Every entry of all jump caches is stale from now on. */
export function bumpGeneration(cpu: u32): void {
  bumpSupervisor(cpu);
  bumpUsers(cpu);
  memory.fill(cpu + CPU_LARGE_CODE, 0, 64);
  updateJumpGeneration(cpu);
}

// ---- flushes ----

/** Zeroed memory is not an empty TLB: a tag of 0 is page 0. */
function makeReady(bank: u32): void {
  if (load<u32>(bank, BANK_READY)) return;
  for (let n: u32 = 0; n < <u32>(2 * TLB_ENTRIES); n++) drop(entryNumber(bank, n));
  store<u32>(bank, BANK_FREE, BANK_PCID);
  store<u32>(bank, 1, BANK_GENERATION);
  store<u32>(bank, 1, BANK_READY);
}

/** Drops what a bank's TLB sets hold, or all but the global pages. */
function flushBank(bank: u32, keepGlobal: bool): void {
  const entries = load<u32>(bank, BANK_LOG_COUNT);
  let kept: u32 = 0;
  for (let i: u32 = 0; i < entries; i++) {
    const entry = logged(bank, i);
    if (keepGlobal && (load<u32>(entry, TLB_PPN) & TLB_PPN_GLOBAL)) {
      store<u16>(bank + BANK_LOG + (kept << 1), load<u16>(bank + BANK_LOG + (i << 1)));
      kept++;
    } else {
      drop(entry);
      store<u32>(entry, 0, TLB_PPN);
    }
  }
  store<u32>(bank, kept, BANK_LOG_COUNT);
}

/** Drops what the supervisor's bank holds of pages that are not global. */
function flushLocal(cpu: u32): void {
  const bank = supervisorBank(cpu), local = load<u32>(cpu, CPU_LOCAL_COUNT);
  if (local > <u32>LOCAL_LIST_ENTRIES) flushBank(bank, true);
  else {
    for (let i: u32 = 0; i < local; i++) {
      const entry = entryNumber(bank, load<u16>(cpu + CPU_LOCAL_LIST + (i << 1)));
      if (!(load<u32>(entry, TLB_PPN) & TLB_PPN_GLOBAL)) drop(entry); // its place in the log stays
    }
  }
  store<u32>(cpu, 0, CPU_LOCAL_COUNT);
  // Global pages keep their translations, so supervisor code from them stays where it was.
  if (load<u32>(cpu, CPU_LOCAL_CODE)) bumpSupervisor(cpu);
}

/** An entry of the supervisor's bank was filled from a page that is not global. */
export function noteLocal(cpu: u32, entry: u32): void {
  const local = load<u32>(cpu, CPU_LOCAL_COUNT);
  if (local > <u32>LOCAL_LIST_ENTRIES) return;
  if (local < <u32>LOCAL_LIST_ENTRIES) store<u16>(cpu + CPU_LOCAL_LIST + (local << 1), <u16>((entry - supervisorSet(cpu)) / TLB_ENTRY_SIZE));
  store<u32>(cpu, local + 1, CPU_LOCAL_COUNT);
}

@inline function currentPcid(cpu: u32): u32 { return load<u32>(cpu, CPU_CR4) & CR4_PCIDE ? load<u32>(cpu, CPU_CR3) & 0xfff : 0; }

function reportFlush(cpu: u32, keepGlobal: u32): void {
  count(cpu, STAT_TLB_FLUSH);
  if (watched(cpu)) mmuEvent(cpu, MMU_FLUSH, 0, 0, keepGlobal);
}

/** Drops all translations of all PCIDs, or all but those of global pages. */
export function flushTlb(cpu: u32, keepGlobal: i32): void {
  reportFlush(cpu, keepGlobal);
  dropVictims(cpu);
  flushWalkCache(cpu);
  const current = userBank(cpu);
  for (let n: u32 = 1; n <= <u32>USER_BANKS; n++) {
    const bank = bankNumber(cpu, n);
    if (!load<u32>(bank, BANK_READY)) continue;
    flushBank(bank, keepGlobal != 0 && bank == current);
    store<u32>(bank, bank == current ? currentPcid(cpu) : BANK_FREE, BANK_PCID);
  }
  bumpUsers(cpu);
  if (keepGlobal) flushLocal(cpu);
  else {
    flushBank(supervisorBank(cpu), false);
    store<u32>(cpu, 0, CPU_LOCAL_COUNT);
    store<u64>(cpu, 0, CPU_TLB_GIANT);
    memory.fill(cpu + CPU_TLB_LARGE, 0, 64);
    memory.fill(cpu + CPU_LARGE_CODE, 0, 64);
    bumpSupervisor(cpu);
  }
  updateJumpGeneration(cpu);
}

/** Makes the TLB empty, and what it has for CR3 and CR4 as they stand. */
export function resetTlb(cpu: u32): void {
  makeReady(supervisorBank(cpu));
  const first = bankNumber(cpu, 1);
  makeReady(first);
  if (!userBank(cpu)) store<u32>(cpu, first, CPU_USER_BANK);
  flushTlb(cpu, 0);
}

/** The bank that holds a PCID, 0 when none does. */
function findBank(cpu: u32, pcid: u32): u32 {
  for (let n: u32 = 1; n <= <u32>USER_BANKS; n++) {
    const bank = bankNumber(cpu, n);
    if (load<u32>(bank, BANK_READY) && load<u32>(bank, BANK_PCID) == pcid) return bank;
  }
  return 0;
}

/** A bank for a PCID that has none: a free one, else the one not used for longest. */
function takeBank(cpu: u32, pcid: u32): u32 {
  const now = load<u32>(cpu, CPU_BANK_STAMP);
  let bank: u32 = 0, age: u32 = 0;
  for (let n: u32 = 1; n <= <u32>USER_BANKS; n++) {
    const at = bankNumber(cpu, n);
    const free = !load<u32>(at, BANK_READY) || load<u32>(at, BANK_PCID) == BANK_FREE;
    const unused: u32 = free ? ~(<u32>0) : now - load<u32>(at, BANK_STAMP);
    if (bank && unused <= age) continue;
    bank = at;
    age = unused;
  }
  makeReady(bank);
  dropVictims(cpu);
  flushBank(bank, false);
  bump(bank);
  store<u32>(bank, pcid, BANK_PCID);
  return bank;
}

/** CR3 was written: goes over to the bank of its PCID. `keep`: what that bank holds may be used again. */
export function switchContext(cpu: u32, keep: bool): void {
  const pcid = currentPcid(cpu), old = userBank(cpu);
  let bank = findBank(cpu, pcid);
  if (!bank) bank = takeBank(cpu, pcid);
  else if (!keep) {
    flushBank(bank, true);
    bump(bank);
  }
  const stamp = load<u32>(cpu, CPU_BANK_STAMP) + 1;
  store<u32>(cpu, stamp, CPU_BANK_STAMP);
  store<u32>(bank, stamp, BANK_STAMP);
  store<u32>(cpu, bank, CPU_USER_BANK);
  const set = load<u32>(cpu, CPU_TLB_SET);
  if (set != supervisorSet(cpu)) store<u32>(cpu, set - old + bank, CPU_TLB_SET);
  dropLocalVictims(cpu);
  flushWalkCache(cpu);
  flushLocal(cpu);
  updateJumpGeneration(cpu);
  if (!keep) reportFlush(cpu, 1);
}

/** INVPCID of one PCID: drops its translations but those of global pages. */
export function flushPcid(cpu: u32, pcid: u32): void {
  if (pcid == currentPcid(cpu)) {
    switchContext(cpu, false);
    return;
  }
  const bank = findBank(cpu, pcid);
  if (!bank) return;
  reportFlush(cpu, 1);
  dropVictims(cpu);
  flushBank(bank, true);
  bump(bank);
}

/** Drops the entry for a page in one set. */
function dropPage(set: u32, page: u64): void {
  const entry = set + ((<u32>(page >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE);
  if ((load<u64>(entry, TLB_READ_TAG) & PAGE) == page || (load<u64>(entry, TLB_WRITE_TAG) & PAGE) == page ||
      (load<u64>(entry, TLB_EXEC_TAG) & PAGE) == page) drop(entry);
}

/** Drops what lies in the same `1 << shift` bytes as `va` and came from a large page. */
function dropLarge(bank: u32, va: u64, shift: u64): void {
  const entries = load<u32>(bank, BANK_LOG_COUNT);
  for (let i: u32 = 0; i < entries; i++) {
    const entry = logged(bank, i);
    if (!(load<u32>(entry, TLB_PPN) & TLB_PPN_LARGE)) continue;
    // Of the tags of one entry, those that are valid name the same page.
    let tag = load<u64>(entry, TLB_READ_TAG);
    if (tag & TLB_TAG_INVALID) tag = load<u64>(entry, TLB_EXEC_TAG);
    if (tag & TLB_TAG_INVALID) tag = load<u64>(entry, TLB_WRITE_TAG);
    if (tag >> shift == va >> shift) drop(entry);
  }
}

/** Drops the translation of one linear address from a bank, whatever the page's size, and the code that was found through it. */
function dropAddress(cpu: u32, bank: u32, va: u64): void {
  dropPage(bank + BANK_TLB, va & PAGE);
  dropPage(bank + BANK_TLB + TLB_SET_SIZE, va & PAGE);
  if ((load<u64>(cpu, CPU_TLB_GIANT) >> giantBit(va)) & 1) dropLarge(bank, va, 30);
  else if (bit(cpu + CPU_TLB_LARGE, largeBit(va))) dropLarge(bank, va, 22);
  if (bit(bank + BANK_CODE_PAGES, codeBit(va))) bump(bank);
}

/** INVLPG: drops the translation of one linear address, global or not, whatever the page's size. */
export function invlpg(cpu: u32, va: u64): void {
  if (!longMode(cpu)) va &= 0xffffffff;
  if (watched(cpu)) mmuEvent(cpu, MMU_DROP_PAGE, va, 0, 0);
  dropVictims(cpu);
  flushWalkCache(cpu);
  // Global pages may be in any bank.
  for (let n: u32 = 0; n <= <u32>USER_BANKS; n++) if (load<u32>(bankNumber(cpu, n), BANK_READY)) dropAddress(cpu, bankNumber(cpu, n), va);
  const giant = ((load<u64>(cpu, CPU_TLB_GIANT) >> giantBit(va)) & 1) != 0;
  if (giant || bit(cpu + CPU_LARGE_CODE, largeBit(va))) bumpGeneration(cpu);
  updateJumpGeneration(cpu);
}

/** INVPCID of one linear address in one PCID. */
export function invlpgPcid(cpu: u32, va: u64, pcid: u32): void {
  if (pcid == currentPcid(cpu)) {
    invlpg(cpu, va);
    return;
  }
  const bank = findBank(cpu, pcid);
  if (!bank) return;
  if (watched(cpu)) mmuEvent(cpu, MMU_DROP_PAGE, va, 0, 0);
  dropVictims(cpu);
  dropAddress(cpu, bank, va);
  const giant = ((load<u64>(cpu, CPU_TLB_GIANT) >> giantBit(va)) & 1) != 0;
  if (giant || bit(cpu + CPU_LARGE_CODE, largeBit(va))) bump(bank);
}

/** A page just got its first decoded code: stores to it take the slow path from now on. */
export function tlbCodePage(cpu: u32, ppn: u32): void {
  dropVictims(cpu);
  for (let n: u32 = 0; n <= <u32>USER_BANKS; n++) {
    const bank = bankNumber(cpu, n), entries = load<u32>(bank, BANK_LOG_COUNT);
    for (let i: u32 = 0; i < entries; i++) {
      const entry = logged(bank, i);
      if ((load<u32>(entry, TLB_PPN) & PPN_MASK) != ppn) continue;
      const tag = load<u64>(entry, TLB_WRITE_TAG);
      if (!(tag & TLB_TAG_INVALID)) store<u64>(entry, tag | TLB_TAG_CODE, TLB_WRITE_TAG);
    }
  }
}
