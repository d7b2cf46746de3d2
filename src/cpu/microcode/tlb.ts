/**
 * The software TLB: filling, flushing, and the marks that keep stores to code pages off the fast path (format: layout.ts).
 *
 * Three sets, by what a data access may touch (supervisor, user, supervisor with SMAP suspended). Every entry in use is in a
 * log, so that a flush costs what was filled. A fill grants writes only when the dirty bit is set. PCIDs are not told apart:
 * a change of CR3 drops all that is not global.
 */
import {
  ACCESS_EXEC, ACCESS_IMPLICIT, ACCESS_STACK, ACCESS_WRITE, CPU_ALIGN_CHECK, CPU_EXEC_PAGES, CPU_GENERATION, CPU_GENERATION_USER, CPU_JUMP_CACHE, CPU_JUMP_GEN, CPU_LOCAL_CODE, CPU_MODE, CPU_TLB,
  CPU_TLB_GIANT, CPU_TLB_LARGE, CPU_TLB_LOG, CPU_TLB_LOG_COUNT, CPU_TLB_SET, CPU_TLB_VICTIMS, CPU_TLB_VICTIM_NEXT, CPU_WATCH, CPU_EXC, CPU_EXC_ERROR, EXC_GP, EXC_PF, EXC_SS, JUMP_CACHE_ENTRIES, MMU_DROP_PAGE, MMU_FAULT,
  MMU_FILL, MMU_FLUSH, MODE_64, MODE_BITS, MODE_CPL_SHIFT, MODE_SIZE_MASK,
  SLOT_FLAGS, SLOT_LOG_DIRTY, SLOT_READONLY, STAT_TLB_FILL, STAT_TLB_FLUSH, TLB_ADDEND, TLB_ENTRIES, TLB_ENTRY_SIZE,
  TLB_EXEC_TAG, TLB_PPN, TLB_PPN_GLOBAL, TLB_PPN_LARGE, TLB_PPN_LOGGED, TLB_READ_TAG, TLB_SETS, TLB_SET_SIZE, TLB_SET_USER, TLB_TAG_CODE,
  TLB_TAG_INVALID, TLB_TAG_MMIO, TLB_VICTIMS, TLB_TAG_WATCH, TLB_VICTIM_SIZE, TLB_WRITE_TAG,
  WATCH_MMU,
} from "../layout";
import { watchedPage } from "./debug";
import { mmuEvent } from "./host";
import {
  flushWalkCache, RIGHT_EXEC, RIGHT_GIANT, RIGHT_GLOBAL, RIGHT_LARGE, RIGHT_READ, RIGHT_WRITE, walk, walkFrame, walkRights,
} from "./paging";
import { codePage, findSlot, markDirty, pageDirty, slotHost } from "./physical";
import { canonical, count, longMode, raise } from "./state";

const PAGE: u64 = ~(<u64>0xfff);
/** Low bits of a tag that do not make it invalid. */
const TAG_MARKS: u64 = TLB_TAG_MMIO | TLB_TAG_CODE | TLB_TAG_WATCH;
export const PPN_MASK: u32 = 0x0fffffff;

/** The set that an access goes through. */
@inline export function tlbSet(cpu: u32, access: u32): u32 {
  return access & ACCESS_IMPLICIT ? cpu + CPU_TLB : load<u32>(cpu, CPU_TLB_SET);
}

@inline export function userSet(cpu: u32): u32 { return cpu + CPU_TLB + TLB_SET_USER * TLB_SET_SIZE; }

@inline export function tlbEntry(cpu: u32, va: u64, access: u32): u32 {
  return tlbSet(cpu, access) + ((<u32>(va >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE);
}

@inline function watched(cpu: u32): bool { return (load<u32>(cpu, CPU_WATCH) & WATCH_MMU) != 0; }

/** Translates `va` for an access and puts it into the TLB. Nonzero = an exception is pending. */
export function tlbFill(cpu: u32, va: u64, access: u32): i32 {
  if (longMode(cpu)) {
    if (!canonical(va)) return raise(cpu, access & ACCESS_STACK ? EXC_SS : EXC_GP, 0);
  } else va &= 0xffffffff;
  if (walk(cpu, va, access)) {
    if (watched(cpu) && load<i32>(cpu, CPU_EXC) == EXC_PF) mmuEvent(cpu, MMU_FAULT, va, 0, load<u32>(cpu, CPU_EXC_ERROR));
    return 1;
  }
  count(cpu, STAT_TLB_FILL);
  const rights = walkRights, frame = walkFrame, ppn = frame >> 12, page = va & PAGE;
  const slot = findSlot(ppn);
  const entry = tlbEntry(cpu, va, access);
  evict(cpu, entry, page);
  let readTag = page, writeTag = page, execTag = page;
  if (watchedPage(cpu, page) || (load<u32>(cpu, CPU_ALIGN_CHECK) && tlbSet(cpu, access) == userSet(cpu))) {
    readTag |= TLB_TAG_WATCH;
    writeTag |= TLB_TAG_WATCH;
  }
  if (!slot) {
    readTag |= TLB_TAG_MMIO;
    writeTag |= TLB_TAG_MMIO;
    execTag |= TLB_TAG_MMIO;
    store<u32>(entry, 0, TLB_ADDEND);
  } else {
    const flags = load<u32>(slot, SLOT_FLAGS);
    if (flags & SLOT_READONLY) writeTag |= TLB_TAG_MMIO;
    if (codePage(ppn)) writeTag |= TLB_TAG_CODE;
    if (flags & SLOT_LOG_DIRTY) {
      if (access & ACCESS_WRITE) markDirty(slot, ppn);
      else if (!pageDirty(slot, ppn)) writeTag |= TLB_TAG_CODE;
    }
    store<u32>(entry, slotHost(slot, frame) - <u32>page, TLB_ADDEND);
  }
  store<u64>(entry, rights & RIGHT_READ ? readTag : TLB_TAG_INVALID, TLB_READ_TAG);
  store<u64>(entry, rights & RIGHT_WRITE ? writeTag : TLB_TAG_INVALID, TLB_WRITE_TAG);
  store<u64>(entry, rights & RIGHT_EXEC ? execTag : TLB_TAG_INVALID, TLB_EXEC_TAG);

  let word = <u32>ppn;
  if (rights & RIGHT_GLOBAL) word |= TLB_PPN_GLOBAL;
  if (rights & (RIGHT_LARGE | RIGHT_GIANT)) {
    word |= TLB_PPN_LARGE;
    if (rights & RIGHT_GIANT) store<u64>(cpu, load<u64>(cpu, CPU_TLB_GIANT) | ((<u64>1) << ((va >> 30) & 63)), CPU_TLB_GIANT);
    const at = cpu + CPU_TLB_LARGE + ((<u32>(va >> 22) & 511) >> 3);
    store<u8>(at, load<u8>(at) | <u8>((<u32>1) << (<u32>(va >> 22) & 7)));
  }
  if (!(load<u32>(entry, TLB_PPN) & TLB_PPN_LOGGED)) {
    const logged = load<u32>(cpu, CPU_TLB_LOG_COUNT);
    store<u16>(cpu + CPU_TLB_LOG + (logged << 1), <u16>((entry - cpu - CPU_TLB) / TLB_ENTRY_SIZE));
    store<u32>(cpu, logged + 1, CPU_TLB_LOG_COUNT);
  }
  store<u32>(entry, word | TLB_PPN_LOGGED, TLB_PPN);
  if (watched(cpu)) mmuEvent(cpu, MMU_FILL, page, frame, rights);
  return 0;
}

/**
 * Entry that allows an access to the page of `va`, filled when needed; the tag may carry TLB_TAG_MMIO or TLB_TAG_CODE.
 * 0 = an exception is pending. Address bits above 32 must be clear outside IA-32e mode.
 */
export function translate(cpu: u32, va: u64, access: u32): u32 {
  const entry = tlbEntry(cpu, va, access);
  const at: u32 = access & ACCESS_EXEC ? TLB_EXEC_TAG : access & ACCESS_WRITE ? TLB_WRITE_TAG : TLB_READ_TAG;
  if ((load<u64>(entry + at) & ~TAG_MARKS) == (va & PAGE) || recall(cpu, entry, va & PAGE, at)) return entry;
  return tlbFill(cpu, va, access) ? 0 : entry;
}

/** Exchanges `entry` with the victim that translates `page`, if one does and has the tag at `at`. */
function recall(cpu: u32, entry: u32, page: u64, at: u32): bool {
  for (let i: u32 = 0; i < <u32>TLB_VICTIMS; i++) {
    const victim = cpu + CPU_TLB_VICTIMS + i * TLB_VICTIM_SIZE;
    if ((load<u64>(victim + at) & ~TAG_MARKS) != page || load<u32>(victim, TLB_ENTRY_SIZE) != entry) continue;
    const logged = load<u32>(entry, TLB_PPN) & TLB_PPN_LOGGED;
    const low = v128.load(entry), high = v128.load(entry, 16);
    v128.store(entry, v128.load(victim));
    v128.store(entry, v128.load(victim, 16), 16);
    v128.store(victim, low);
    v128.store(victim, high, 16);
    store<u32>(entry, (load<u32>(entry, TLB_PPN) & ~TLB_PPN_LOGGED) | logged, TLB_PPN);
    return true;
  }
  return false;
}

/** Keeps what is about to be overwritten by the translation of another page. */
function evict(cpu: u32, entry: u32, page: u64): void {
  let tag = load<u64>(entry, TLB_READ_TAG);
  if (tag & TLB_TAG_INVALID) tag = load<u64>(entry, TLB_EXEC_TAG);
  if ((tag & TLB_TAG_INVALID) || (tag & PAGE) == page) return;
  const next = load<u32>(cpu, CPU_TLB_VICTIM_NEXT);
  const victim = cpu + CPU_TLB_VICTIMS + next * TLB_VICTIM_SIZE;
  v128.store(victim, v128.load(entry));
  v128.store(victim, v128.load(entry, 16), 16);
  store<u32>(victim, entry, TLB_ENTRY_SIZE);
  store<u32>(cpu, (next + 1) & (TLB_VICTIMS - 1), CPU_TLB_VICTIM_NEXT);
}

function dropVictims(cpu: u32): void {
  for (let i: u32 = 0; i < <u32>TLB_VICTIMS; i++) drop(cpu + CPU_TLB_VICTIMS + i * TLB_VICTIM_SIZE);
}

@inline export function entryGpa(entry: u32, va: u64): u64 {
  return (<u64>(load<u32>(entry, TLB_PPN) & PPN_MASK) << 12) | (va & 0xfff);
}

@inline function drop(entry: u32): void {
  store<u64>(entry, TLB_TAG_INVALID, TLB_READ_TAG);
  store<u64>(entry, TLB_TAG_INVALID, TLB_WRITE_TAG);
  store<u64>(entry, TLB_TAG_INVALID, TLB_EXEC_TAG);
}

/** Makes CPU_JUMP_GEN what the mode and the generation of its privilege level say. */
export function updateJumpGeneration(cpu: u32): void {
  const mode = load<u32>(cpu, CPU_MODE);
  const user = ((mode >> MODE_CPL_SHIFT) & 3) == 3;
  const generation = user ? load<u32>(cpu, CPU_GENERATION_USER) : load<u32>(cpu, CPU_GENERATION);
  store<u32>(cpu, (generation << MODE_BITS) | mode, CPU_JUMP_GEN);
}

/** Next value of a generation counter. When they are used up, the cache is emptied and all start again. */
function nextGeneration(cpu: u32, at: u32): void {
  const generation = load<u32>(cpu + at) + 1;
  if (generation >> (32 - MODE_BITS)) {
    memory.fill(cpu + CPU_JUMP_CACHE, 0, JUMP_CACHE_ENTRIES * 16);
    store<u32>(cpu, 1, CPU_GENERATION);
    store<u32>(cpu, 1, CPU_GENERATION_USER);
  } else store<u32>(cpu + at, generation);
}

/** Every entry of the jump cache is stale from now on. */
export function bumpGeneration(cpu: u32): void {
  nextGeneration(cpu, CPU_GENERATION);
  nextGeneration(cpu, CPU_GENERATION_USER);
  store<u32>(cpu, 0, CPU_LOCAL_CODE);
  memory.fill(cpu + CPU_EXEC_PAGES, 0, 512);
  updateJumpGeneration(cpu);
}

/** The jump cache holds code of the page that `rip` is in, found through TLB entry `entry`. */
export function noteCodePage(cpu: u32, rip: u64, entry: u32): void {
  const at = cpu + CPU_EXEC_PAGES + (<u32>(rip >> 15) & 511);
  store<u8>(at, load<u8>(at) | <u8>((<u32>1) << (<u32>(rip >> 12) & 7)));
  if (!(load<u32>(entry, TLB_PPN) & TLB_PPN_GLOBAL)) {
    const user = ((load<u32>(cpu, CPU_MODE) >> MODE_CPL_SHIFT) & 3) == 3;
    if (!user) store<u32>(cpu, 1, CPU_LOCAL_CODE);
  }
}

/** Drops all translations, or all but those of global pages. */
export function flushTlb(cpu: u32, keepGlobal: i32): void {
  count(cpu, STAT_TLB_FLUSH);
  if (watched(cpu)) mmuEvent(cpu, MMU_FLUSH, 0, 0, keepGlobal);
  dropVictims(cpu);
  flushWalkCache(cpu);
  const logged = load<u32>(cpu, CPU_TLB_LOG_COUNT);
  let kept: u32 = 0;
  for (let i: u32 = 0; i < logged; i++) {
    const index = <u32>load<u16>(cpu + CPU_TLB_LOG + (i << 1));
    const entry = cpu + CPU_TLB + index * TLB_ENTRY_SIZE;
    if (keepGlobal && (load<u32>(entry, TLB_PPN) & TLB_PPN_GLOBAL)) {
      store<u16>(cpu + CPU_TLB_LOG + (kept << 1), <u16>index);
      kept++;
    } else {
      drop(entry);
      store<u32>(entry, 0, TLB_PPN);
    }
  }
  store<u32>(cpu, kept, CPU_TLB_LOG_COUNT);
  if (!keepGlobal) {
    store<u64>(cpu, 0, CPU_TLB_GIANT);
    memory.fill(cpu + CPU_TLB_LARGE, 0, 64);
  }
  // Global pages keep their translations, so supervisor code from them stays where it was.
  if (keepGlobal && !load<u32>(cpu, CPU_LOCAL_CODE)) {
    nextGeneration(cpu, CPU_GENERATION_USER);
    updateJumpGeneration(cpu);
  } else bumpGeneration(cpu);
}

/** Makes a TLB that was never used empty. Zeroed memory is not an empty TLB: a tag of 0 is page 0. */
export function resetTlb(cpu: u32): void {
  for (let i: u32 = 0; i < <u32>(TLB_SETS * TLB_ENTRIES); i++) {
    drop(cpu + CPU_TLB + i * TLB_ENTRY_SIZE);
    store<u32>(cpu + CPU_TLB + i * TLB_ENTRY_SIZE, 0, TLB_PPN);
  }
  store<u32>(cpu, 0, CPU_TLB_LOG_COUNT);
  flushTlb(cpu, 0);
}

/** Drops, in all sets, what lies in the same `1 << shift` bytes as `va` and came from a large page. */
function dropLarge(cpu: u32, va: u64, shift: u64): void {
  const logged = load<u32>(cpu, CPU_TLB_LOG_COUNT);
  for (let i: u32 = 0; i < logged; i++) {
    const entry = cpu + CPU_TLB + <u32>load<u16>(cpu + CPU_TLB_LOG + (i << 1)) * TLB_ENTRY_SIZE;
    if (!(load<u32>(entry, TLB_PPN) & TLB_PPN_LARGE)) continue;
    // Of the tags of one entry, those that are valid name the same page.
    let tag = load<u64>(entry, TLB_READ_TAG);
    if (tag & TLB_TAG_INVALID) tag = load<u64>(entry, TLB_EXEC_TAG);
    if (tag & TLB_TAG_INVALID) tag = load<u64>(entry, TLB_WRITE_TAG);
    if (tag >> shift == va >> shift) drop(entry);
  }
}

/** INVLPG: drops the translation of one linear address, global or not, whatever the page's size. */
export function invlpg(cpu: u32, va: u64): void {
  if (!longMode(cpu)) va &= 0xffffffff;
  const page = va & PAGE;
  if (watched(cpu)) mmuEvent(cpu, MMU_DROP_PAGE, va, 0, 0);
  dropVictims(cpu);
  flushWalkCache(cpu);
  for (let set: u32 = 0; set < <u32>TLB_SETS; set++) {
    const entry = cpu + CPU_TLB + set * TLB_SET_SIZE + ((<u32>(va >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE);
    if ((load<u64>(entry, TLB_READ_TAG) & PAGE) == page || (load<u64>(entry, TLB_WRITE_TAG) & PAGE) == page ||
        (load<u64>(entry, TLB_EXEC_TAG) & PAGE) == page) drop(entry);
  }
  let large = true;
  if ((load<u64>(cpu, CPU_TLB_GIANT) >> ((va >> 30) & 63)) & 1) dropLarge(cpu, va, 30);
  else if ((load<u8>(cpu + CPU_TLB_LARGE + ((<u32>(va >> 22) & 511) >> 3)) >> (<u32>(va >> 22) & 7)) & 1) dropLarge(cpu, va, 22);
  else large = false;
  // Outside 64-bit mode rip is not the linear address.
  const flat = (load<u32>(cpu, CPU_MODE) & MODE_SIZE_MASK) == MODE_64;
  const executed = (<u32>load<u8>(cpu + CPU_EXEC_PAGES + (<u32>(va >> 15) & 511)) >> (<u32>(va >> 12) & 7)) & 1;
  if (large || !flat || executed) bumpGeneration(cpu);
}

/** A page just got its first decoded code: stores to it take the slow path from now on. */
export function tlbCodePage(cpu: u32, ppn: u32): void {
  dropVictims(cpu);
  const logged = load<u32>(cpu, CPU_TLB_LOG_COUNT);
  for (let i: u32 = 0; i < logged; i++) {
    const entry = cpu + CPU_TLB + <u32>load<u16>(cpu + CPU_TLB_LOG + (i << 1)) * TLB_ENTRY_SIZE;
    if ((load<u32>(entry, TLB_PPN) & PPN_MASK) != ppn) continue;
    const tag = load<u64>(entry, TLB_WRITE_TAG);
    if (!(tag & TLB_TAG_INVALID)) store<u64>(entry, tag | TLB_TAG_CODE, TLB_WRITE_TAG);
  }
}
