/**
 * The software TLB: lookups and filling (format: layout.ts; banks and flushes: tlb-banks.ts).
 *
 * A set is chosen by what a data access may touch (supervisor, user, supervisor with SMAP suspended). A fill grants writes only when
 * the dirty bit is set. Entries that another page pushed out lately are kept aside (victims).
 */
import {
  ACCESS_EXEC, ACCESS_IMPLICIT, ACCESS_STACK, ACCESS_WRITE, BANK_LOG, BANK_LOG_COUNT, BANK_TLB, CPU_ALIGN_CHECK, CPU_EXC, CPU_EXC_ERROR, CPU_TLB_SET,
  CPU_TLB_VICTIMS, CPU_TLB_VICTIM_NEXT, EXC_GP, EXC_PF, EXC_SS, MMU_FAULT, MMU_FILL, SLOT_FLAGS, SLOT_LOG_DIRTY, SLOT_READONLY, STAT_TLB_FILL, TLB_ADDEND,
  TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_EXEC_TAG, TLB_PPN, TLB_PPN_GLOBAL, TLB_PPN_LARGE, TLB_PPN_LOGGED, TLB_READ_TAG, TLB_TAG_CODE, TLB_TAG_INVALID,
  TLB_TAG_MMIO, TLB_TAG_WATCH, TLB_VICTIM_SIZE, TLB_VICTIMS, TLB_WRITE_TAG,
} from "../layout";
import { watchedPage } from "./debug";
import { mmuEvent } from "./host";
import { RIGHT_EXEC, RIGHT_GIANT, RIGHT_GLOBAL, RIGHT_LARGE, RIGHT_READ, RIGHT_WRITE, walk, walkFrame, walkRights } from "./paging";
import { codePage, findSlot, markDirty, pageDirty, slotHost } from "./physical";
import { canonical, count, longMode, raise } from "./state";
import { noteLarge, noteLocal, PPN_MASK, supervisorBank, supervisorSet, userBank, userSet, watched } from "./tlb-banks";

const PAGE: u64 = ~(<u64>0xfff);
/** Low bits of a tag that do not make it invalid. */
const TAG_MARKS: u64 = TLB_TAG_MMIO | TLB_TAG_CODE | TLB_TAG_WATCH;

/** The set that an access goes through. */
@inline export function tlbSet(cpu: u32, access: u32): u32 {
  return access & ACCESS_IMPLICIT ? supervisorSet(cpu) : load<u32>(cpu, CPU_TLB_SET);
}

@inline export function tlbEntry(cpu: u32, va: u64, access: u32): u32 {
  return tlbSet(cpu, access) + ((<u32>(va >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE);
}

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
    noteLarge(cpu, va, (rights & RIGHT_GIANT) != 0);
  }
  const supervisor = tlbSet(cpu, access) == supervisorSet(cpu);
  const bank = supervisor ? supervisorBank(cpu) : userBank(cpu);
  if (!(load<u32>(entry, TLB_PPN) & TLB_PPN_LOGGED)) {
    const logged = load<u32>(bank, BANK_LOG_COUNT);
    store<u16>(bank + BANK_LOG + (logged << 1), <u16>((entry - bank - BANK_TLB) / TLB_ENTRY_SIZE));
    store<u32>(bank, logged + 1, BANK_LOG_COUNT);
  }
  if (supervisor && !(rights & RIGHT_GLOBAL)) noteLocal(cpu, entry);
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

@inline export function entryGpa(entry: u32, va: u64): u64 {
  return (<u64>(load<u32>(entry, TLB_PPN) & PPN_MASK) << 12) | (va & 0xfff);
}
