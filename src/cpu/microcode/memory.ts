/**
 * Guest memory by linear address when generated code's fast path missed: TLB misses, page crossings, devices, stores to
 * pages with decoded code, and the images (descriptors, frames, FXSAVE areas) that microcode itself reads and writes.
 *
 * Functions that can fault return nonzero with the exception pending and nothing changed. Addresses have 32 significant
 * bits outside IA-32e mode.
 */
import {
  ACCESS_IMPLICIT, ACCESS_STACK, ACCESS_WRITE, CPU_ALIGN_CHECK, CPU_EXC, CPU_RMW_BYTES, CPU_RMW_VA, CPU_SCRATCH, CPU_TLB_SET, EXC_AC, EXC_GP, EXC_SS, TLB_ADDEND,
  TLB_TAG_CODE, TLB_TAG_MMIO, TLB_TAG_WATCH, TLB_READ_TAG, TLB_WRITE_TAG,
} from "../layout";
import { watchData } from "./debug";
import { codeWritten } from "./host";
import { codePage, deviceReadBytes, deviceWriteBytes, findSlot, markDirty } from "./physical";
import { canonical, code64, leftForAlone, longMode, raise } from "./state";
import { entryGpa, translate } from "./tlb";
import { userSet } from "./tlb-banks";

/** Linear address of the next page, wrapped as the mode wants it. */
@inline function nextPage(cpu: u32, va: u64): u64 {
  const next = (va | 0xfff) + 1;
  return longMode(cpu) && (next >> 32 != 1 || code64(cpu)) ? next : next & 0xffffffff;
}

/** An access that runs into the non-canonical hole faults before any page is looked at. */
function intoHole(cpu: u32, va: u64, bytes: u32, access: u32): bool {
  if ((<u32>va & 0xfff) + bytes <= 0x1000 || canonical(nextPage(cpu, va))) return false;
  raise(cpu, access & ACCESS_STACK ? EXC_SS : EXC_GP, 0);
  return true;
}

@inline function hostOf(entry: u32, va: u64): u32 { return <u32>va + load<u32>(entry, TLB_ADDEND); }

/**
 * An access through an entry whose tag says that somebody looks: #AC when the program at CPL 3 has its alignment checked. Of operands
 * that have no natural alignment (x87 images, 80-bit values, vectors) nothing is demanded here.
 */
function misaligned(cpu: u32, tag: u64, va: u64, bytes: u32, access: u32): bool {
  if (!(tag & TLB_TAG_WATCH) || !load<u32>(cpu, CPU_ALIGN_CHECK)) return false;
  if ((access & ACCESS_IMPLICIT) || load<u32>(cpu, CPU_TLB_SET) != userSet(cpu)) return false;
  if ((bytes != 2 && bytes != 4 && bytes != 8) || !(<u32>va & (bytes - 1))) return false;
  raise(cpu, EXC_AC, 0);
  return true;
}

/**
 * What microcode moves is mostly a word or a vector, which is not worth a call of the engine's bulk copy. It is stored as it will be
 * loaded: processors do not forward it else.
 */
function copyBytes(to: u32, from: u32, bytes: u32): void {
  if (bytes == 8) store<u64>(to, load<u64>(from));
  else if (bytes == 4) store<u32>(to, load<u32>(from));
  else if (bytes == 16) v128.store(to, v128.load(from));
  else if (bytes == 32) {
    const high = v128.load(from, 16);
    v128.store(to, v128.load(from));
    v128.store(to, high, 16);
  } else if (bytes == 1) store<u8>(to, load<u8>(from));
  else if (bytes == 2) store<u16>(to, load<u16>(from));
  else memory.copy(to, from, bytes);
}

/** A program's access to a device through `entry`, which in deterministic time is to be made by an instruction on its own. */
@inline function deferred(cpu: u32, tag: u64, access: u32): bool {
  return (tag & TLB_TAG_MMIO) != 0 && !(access & ACCESS_IMPLICIT) && leftForAlone(cpu);
}

/** Copies out of one page whose entry allows reading. */
function readPart(cpu: u32, entry: u32, va: u64, host: u32, bytes: u32): void {
  if (load<u64>(entry, TLB_READ_TAG) & TLB_TAG_WATCH) watchData(cpu, va, bytes, false);
  if (load<u64>(entry, TLB_READ_TAG) & TLB_TAG_MMIO) deviceReadBytes(cpu, entryGpa(entry, va), host, bytes);
  else copyBytes(host, hostOf(entry, va), bytes);
}

/** What must happen before a store into a page marked TLB_TAG_CODE. Nonzero: the store must not happen now. */
export function beforeStore(cpu: u32, entry: u32, va: u64, bytes: u32): i32 {
  const tag = load<u64>(entry, TLB_WRITE_TAG);
  if (!(tag & TLB_TAG_CODE) || (tag & TLB_TAG_MMIO)) return 0;
  const gpa = entryGpa(entry, va), ppn = gpa >> 12;
  if (codePage(ppn) && codeWritten(cpu, <u32>gpa, <u32>(gpa >> 32), bytes)) {
    store<i32>(cpu, -1, CPU_EXC);
    return 1;
  }
  const slot = findSlot(ppn);
  if (slot) markDirty(slot, ppn);
  if (!codePage(ppn)) store<u64>(entry, load<u64>(entry, TLB_WRITE_TAG) & ~(<u64>TLB_TAG_CODE), TLB_WRITE_TAG);
  return 0;
}

function writePart(cpu: u32, entry: u32, va: u64, host: u32, bytes: u32): void {
  if (load<u64>(entry, TLB_WRITE_TAG) & TLB_TAG_WATCH) watchData(cpu, va, bytes, true);
  if (load<u64>(entry, TLB_WRITE_TAG) & TLB_TAG_MMIO) deviceWriteBytes(cpu, entryGpa(entry, va), host, bytes);
  else copyBytes(hostOf(entry, va), host, bytes);
}

/** Reads at most 4096 bytes at a linear address to a host address: all or nothing. */
export function readVirtual(cpu: u32, va: u64, host: u32, bytes: u32, access: u32): i32 {
  if (intoHole(cpu, va, bytes, access)) return 1;
  const entry = translate(cpu, va, access);
  if (!entry || misaligned(cpu, load<u64>(entry, TLB_READ_TAG), va, bytes, access)) return 1;
  if (deferred(cpu, load<u64>(entry, TLB_READ_TAG), access)) return 1;
  const first: u32 = 0x1000 - (<u32>va & 0xfff);
  if (bytes <= first) {
    readPart(cpu, entry, va, host, bytes);
    return 0;
  }
  const vb = nextPage(cpu, va);
  const second = translate(cpu, vb, access);
  if (!second || deferred(cpu, load<u64>(second, TLB_READ_TAG), access)) return 1;
  readPart(cpu, entry, va, host, first);
  readPart(cpu, second, vb, host + first, bytes - first);
  return 0;
}

/** Writes at most 4096 bytes, likewise. */
export function writeVirtual(cpu: u32, va: u64, host: u32, bytes: u32, access: u32): i32 {
  access |= ACCESS_WRITE;
  if (intoHole(cpu, va, bytes, access)) return 1;
  const entry = translate(cpu, va, access);
  if (!entry || misaligned(cpu, load<u64>(entry, TLB_WRITE_TAG), va, bytes, access)) return 1;
  if (deferred(cpu, load<u64>(entry, TLB_WRITE_TAG), access)) return 1;
  const first: u32 = 0x1000 - (<u32>va & 0xfff);
  if (bytes <= first) {
    if (beforeStore(cpu, entry, va, bytes)) return 1;
    writePart(cpu, entry, va, host, bytes);
    return 0;
  }
  const vb = nextPage(cpu, va);
  const second = translate(cpu, vb, access);
  if (!second || deferred(cpu, load<u64>(second, TLB_WRITE_TAG), access)) return 1;
  if (beforeStore(cpu, entry, va, first) || beforeStore(cpu, second, vb, bytes - first)) return 1;
  writePart(cpu, entry, va, host, first);
  writePart(cpu, second, vb, host + first, bytes - first);
  return 0;
}

/** Loads `bytes & 255` bytes (1..32) into CPU_SCRATCH, zero-extended to 8. `bytes` may carry ACCESS_STACK << 8. */
export function slowLoad(cpu: u32, va: u64, bytes: u32): i32 {
  const n = bytes & 0xff;
  if (readVirtual(cpu, va, cpu + CPU_SCRATCH, n, bytes >> 8)) return 1;
  if (n < 8) store<u64>(cpu, load<u64>(cpu, CPU_SCRATCH) & (((<u64>1) << (n << 3)) - 1), CPU_SCRATCH);
  return 0;
}

/**
 * Stores `bytes & 255` bytes from CPU_SCRATCH. Nonzero with CPU_EXC = -1: the store changes decoded code that is running;
 * nothing happened, and the instruction is to be executed again on its own.
 */
export function slowStore(cpu: u32, va: u64, bytes: u32): i32 {
  return writeVirtual(cpu, va, cpu + CPU_SCRATCH, bytes & 0xff, bytes >> 8);
}

/**
 * Host address at which to read and write `bytes` in place, after which the caller stores there; CPU_SCRATCH when that is a
 * bounce buffer holding the value (device or page crossing), to be followed by `rmwCommit`; 0 = fault or retry.
 */
export function slowRmw(cpu: u32, va: u64, bytes: u32): u32 {
  const access = (bytes >> 8) | ACCESS_WRITE, n = bytes & 0xff;
  if (intoHole(cpu, va, n, access)) return 0;
  const entry = translate(cpu, va, access);
  if (!entry || misaligned(cpu, load<u64>(entry, TLB_WRITE_TAG), va, n, access)) return 0;
  const first: u32 = 0x1000 - (<u32>va & 0xfff);
  if (n <= first) {
    if (beforeStore(cpu, entry, va, n)) return 0;
    const tag = load<u64>(entry, TLB_WRITE_TAG);
    if (tag & TLB_TAG_WATCH) watchData(cpu, va, n, true);
    if (!(tag & TLB_TAG_MMIO)) return hostOf(entry, va);
  } else {
    const vb = nextPage(cpu, va);
    const second = translate(cpu, vb, access);
    if (!second) return 0;
    if (beforeStore(cpu, entry, va, first) || beforeStore(cpu, second, vb, n - first)) return 0;
  }
  if (slowLoad(cpu, va, bytes)) return 0;
  store<u64>(cpu, va, CPU_RMW_VA);
  store<u32>(cpu, bytes, CPU_RMW_BYTES);
  return cpu + CPU_SCRATCH;
}

/** Stores the bounce buffer back. Cannot fault: `slowRmw` has checked and the entries are still there. */
export function rmwCommit(cpu: u32): i32 {
  return slowStore(cpu, load<u64>(cpu, CPU_RMW_VA), load<u32>(cpu, CPU_RMW_BYTES));
}

/** Would an access of 1..4096 bytes be permitted? Nonzero = its exception is pending. Sets accessed and dirty bits. */
export function probe(cpu: u32, va: u64, bytes: u32, write: i32): i32 {
  return probeAccess(cpu, va, bytes, write ? ACCESS_WRITE : 0);
}

export function probeAccess(cpu: u32, va: u64, bytes: u32, access: u32): i32 {
  if (intoHole(cpu, va, bytes, access) || !translate(cpu, va, access)) return 1;
  if ((<u32>va & 0xfff) + bytes > 0x1000 && !translate(cpu, nextPage(cpu, va), access)) return 1;
  return 0;
}

/** Reads an image of at most 4096 bytes as the running program. */
export function readGuest(cpu: u32, va: u64, host: u32, bytes: u32): i32 {
  return readVirtual(cpu, va, host, bytes, 0);
}

export function writeGuest(cpu: u32, va: u64, host: u32, bytes: u32): i32 {
  return writeVirtual(cpu, va, host, bytes, ACCESS_WRITE);
}

/** The same as the processor itself, whatever the CPL (descriptor tables, TSS, inner stacks). */
export function readSystem(cpu: u32, va: u64, host: u32, bytes: u32): i32 {
  return readVirtual(cpu, va, host, bytes, ACCESS_IMPLICIT);
}

export function writeSystem(cpu: u32, va: u64, host: u32, bytes: u32): i32 {
  return writeVirtual(cpu, va, host, bytes, ACCESS_IMPLICIT | ACCESS_WRITE);
}
