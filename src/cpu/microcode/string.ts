/**
 * Repeated string instructions: MOVS STOS LODS CMPS SCAS, and INS OUTS with or without repetition.
 *
 * Registers advance with the work, so a fault in the middle leaves the exact state to resume from. Runs inside one page go at
 * host speed. `addressBits` is 16, 32 or 64; `seg` the source segment after override. Results: 0 done, 1 leave at this
 * instruction, which is not finished: an exception is pending, or (CPU_EXC = -1) interrupts are to be looked at first.
 */
import {
  ACCESS_WRITE, CPU_BUDGET, CPU_EXACT, CPU_EXC, CPU_FLAG_AUX, CPU_FLAG_CF, CPU_FLAG_OV, CPU_FLAG_RES, CPU_MODE, CPU_RFLAGS, CPU_SCRATCH, CPU_STRING_WORK, ES, EXACT_TIME, FS,
  MODE_64, MODE_FLAT, MODE_SIZE_MASK, MODE_TF, TLB_ADDEND, TLB_READ_TAG, TLB_TAG_MMIO, TLB_TAG_WATCH, TLB_WRITE_TAG,
} from "../layout";
import { RFLAGS_DF } from "./bits";
import { iterationDone, singleStepping } from "./debug";
import { ioCheck, portIn, portOut } from "./io";
import { beforeStore, probe, readGuest, writeGuest } from "./memory";
import { segmentAccess } from "./segments";
import { gpr, RAX, RCX, RDI, RDX, RSI, segBase, setGpr, setGprBits } from "./state";
import { tlbEntry, translate } from "./tlb";

/** Elements a call may handle one by one, pages it may touch, and instructions' worth of work, before interrupts are looked at. */
const MAX_ELEMENTS: u32 = 2048;
const MAX_PAGES: u32 = 64;
const MAX_WORK: u32 = 8192;
/** In deterministic time a repetition pauses where the counter is a multiple of this, and each pause counts as an instruction. */
const EXACT_ELEMENTS: u32 = 16384;
/** Bytes that are moved in one go. */
const MAX_RUN: u32 = 0x20000;
/** Pages that need the general way: devices, data breakpoints. */
const SLOW: u64 = TLB_TAG_MMIO | TLB_TAG_WATCH;

@inline function maskOf(addressBits: u32): u64 {
  return addressBits == 64 ? ~(<u64>0) : addressBits == 32 ? 0xffffffff : 0xffff;
}

/** Counter and index registers: narrow addresses leave the rest of the register alone as their writes do. */
@inline function setIndex(cpu: u32, register: u32, value: u64, addressBits: u32): void {
  setGprBits(cpu, register, value, addressBits);
}

/** Linear address into CPU_SCRATCH. */
function linear(cpu: u32, seg: u32, offset: u64, bytes: u32, write: i32): i32 {
  const mode = load<u32>(cpu, CPU_MODE);
  if (mode & MODE_FLAT) {
    if (seg < <u32>FS) {
      store<u64>(cpu, offset, CPU_SCRATCH);
      return 0;
    }
    if ((mode & MODE_SIZE_MASK) == MODE_64) {
      store<u64>(cpu, segBase(cpu, seg) + offset, CPU_SCRATCH);
      return 0;
    }
  }
  return segmentAccess(cpu, seg, offset, bytes, write);
}

/** Elements until the end of the page at `va`, at least 1; also not past the wrap of the offset. */
function inPage(va: u64, offset: u64, mask: u64, shift: u32): u32 {
  let n = (0x1000 - (<u32>va & 0xfff)) >> shift;
  const wrap = (mask - offset) >> shift;
  if (<u64>n > wrap) n = <u32>wrap;
  return n ? n : 1;
}

@inline function exact(cpu: u32): bool { return (load<u32>(cpu, CPU_EXACT) & EXACT_TIME) != 0; }

/** Elements that may be done before the next look at interrupts, of `left`. */
@inline function pace(cpu: u32, left: u64): u64 {
  return exact(cpu) ? ((left - 1) & (EXACT_ELEMENTS - 1)) + 1 : left;
}

/** Whether to look at interrupts now; `over`: so much was done that in ordinary time it is due. */
@inline function pauses(cpu: u32, mask: u64, work: u32, over: bool): bool {
  if (!exact(cpu)) return over;
  return work != 0 && !(gpr(cpu, RCX) & mask & (EXACT_ELEMENTS - 1));
}

/** Interrupts first: the work counts against the budget, and the instruction goes on where it is. */
function again(cpu: u32, done: u32): i32 {
  const work: u32 = exact(cpu) ? 1 : done;
  store<i32>(cpu, load<i32>(cpu, CPU_BUDGET) - work, CPU_BUDGET);
  store<u32>(cpu, load<u32>(cpu, CPU_STRING_WORK) + work, CPU_STRING_WORK);
  store<i32>(cpu, -1, CPU_EXC);
  return 1;
}

@inline function debugged(cpu: u32): bool { return (load<u32>(cpu, CPU_MODE) & MODE_TF) != 0; }

/** Single-stepped, elements are done one by one. */
@inline function oneByOne(cpu: u32): bool { return debugged(cpu) && singleStepping(cpu); }

/** Nonzero: a debug trap is pending behind an element that was not the last. */
@inline function trapped(cpu: u32, mask: u64): bool {
  return debugged(cpu) && (gpr(cpu, RCX) & mask) != 0 && iterationDone(cpu) != 0;
}

@inline function shiftOf(width: u32): u32 { return ctz(width); }

function loadElement(host: u32, width: u32): u64 {
  if (width == 8) return load<u64>(host);
  if (width == 4) return load<u32>(host);
  return width == 2 ? <u64>load<u16>(host) : <u64>load<u8>(host);
}

function storeElement(host: u32, width: u32, value: u64): void {
  if (width == 8) store<u64>(host, value);
  else if (width == 4) store<u32>(host, <u32>value);
  else if (width == 2) store<u16>(host, <u16>value);
  else store<u8>(host, <u8>value);
}

/** Copies upwards as if element by element, which repeats what lies between source and destination where they overlap. */
function copyRun(to: u32, from: u32, bytes: u32, width: u32): void {
  const distance = to - from;
  if (distance >= bytes) memory.copy(to, from, bytes);
  else if (distance < width) {
    for (let i: u32 = 0; i < bytes; i += width) storeElement(to + i, width, loadElement(from + i, width));
  } else {
    // From `from` on everything recurs after `distance`, as far as the copy has come.
    for (let done: u32 = 0; done < bytes;) {
      const n = min(bytes - done, distance + done);
      memory.copy(to + done, from, n);
      done += n;
    }
  }
}

/**
 * Bytes from `va` on, at most `limit`, that lie in one piece of host memory and that the TLB lets the program reach without further
 * ado: `tag` says for what. 0 = go the general way. Pages lie side by side when the TLB adds the same to their addresses.
 */
function directRun(cpu: u32, va: u64, limit: u32, tag: u32): u32 {
  const entry = tlbEntry(cpu, va, 0), addend = load<u32>(entry, TLB_ADDEND);
  if (load<u64>(entry + tag) != (va & ~(<u64>0xfff))) return 0;
  let bytes: u32 = 0x1000 - (<u32>va & 0xfff);
  while (bytes < limit) {
    const next = tlbEntry(cpu, va + bytes, 0);
    if (load<u64>(next + tag) != va + bytes || load<u32>(next, TLB_ADDEND) != addend) break;
    bytes += 0x1000;
  }
  return min(bytes, limit);
}

@inline function hostAt(cpu: u32, va: u64): u32 { return <u32>va + load<u32>(tlbEntry(cpu, va, 0), TLB_ADDEND); }

/** Bytes that a run may have at `offset` with `left` elements to do: no wrap of the offset, and interrupts now and then. */
@inline function runLimit(offset: u64, mask: u64, left: u64, shift: u32): u32 {
  return <u32>min<u64>(min<u64>(left, <u64>MAX_RUN >> shift) << shift, mask - offset);
}

/** Offsets are linear addresses in segment `seg`, and elements go upwards. */
@inline function plain(cpu: u32, seg: u32, single: bool): bool {
  return !single && seg < <u32>FS && (load<u32>(cpu, CPU_MODE) & MODE_FLAT) != 0;
}

export function repMovs(cpu: u32, width: u32, addressBits: u32, seg: u32): i32 {
  const mask = maskOf(addressBits), shift = shiftOf(width);
  const down = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_DF) != 0;
  const single = down || oneByOne(cpu), direct = plain(cpu, seg, single || debugged(cpu));
  let pages: u32 = 0, work: u32 = 0;
  while (gpr(cpu, RCX) & mask) {
    const left = pace(cpu, gpr(cpu, RCX) & mask);
    if (pauses(cpu, mask, work, pages >= MAX_PAGES || work >= MAX_WORK)) return again(cpu, work);
    const from = gpr(cpu, RSI) & mask, to = gpr(cpu, RDI) & mask;
    if (direct) {
      const most = min(runLimit(from, mask, left, shift), runLimit(to, mask, left, shift));
      const bytes = min(directRun(cpu, from, most, TLB_READ_TAG), directRun(cpu, to, most, TLB_WRITE_TAG)) & ~(width - 1);
      if (bytes) {
        copyRun(hostAt(cpu, to), hostAt(cpu, from), bytes, width);
        advance(cpu, addressBits, width, bytes >> shift, false, true, true);
        pages += 1 + (bytes >> 12);
        work += 1 + (bytes >> (shift + 5));
        continue;
      }
    }
    if (linear(cpu, seg, from, width, 0)) return 1;
    const source = load<u64>(cpu, CPU_SCRATCH);
    if (linear(cpu, ES, to, width, 1)) return 1;
    const target = load<u64>(cpu, CPU_SCRATCH);
    let n: u32 = 1;
    if (!single) {
      n = min(inPage(source, from, mask, shift), inPage(target, to, mask, shift));
      if (<u64>n > left) n = <u32>left;
      if (n > 1 && (linear(cpu, seg, from, n << shift, 0) || linear(cpu, ES, to, n << shift, 1))) n = 1;
    }
    const bytes = n << shift;
    if (((<u32>source & 0xfff) + bytes <= 0x1000) && ((<u32>target & 0xfff) + bytes <= 0x1000)) {
      const se = translate(cpu, source, 0);
      if (!se) return 1;
      const device = (load<u64>(se, TLB_READ_TAG) & SLOW) != 0;
      // Taken before the destination's translation, which may use the same TLB entry.
      const host = <u32>source + load<u32>(se, TLB_ADDEND);
      const de = translate(cpu, target, ACCESS_WRITE);
      if (!de) return 1;
      if (!device && !(load<u64>(de, TLB_WRITE_TAG) & SLOW)) {
        if (beforeStore(cpu, de, target, bytes)) return 1;
        copyRun(<u32>target + load<u32>(de, TLB_ADDEND), host, bytes, width);
        advance(cpu, addressBits, width, n, down, true, true);
        if (trapped(cpu, mask)) return 1;
        pages++;
        work += 1 + (n >> 5);
        continue;
      }
    }
    if (readGuest(cpu, source, cpu + CPU_SCRATCH, width)) return 1;
    if (writeGuest(cpu, target, cpu + CPU_SCRATCH, width)) return 1;
    advance(cpu, addressBits, width, 1, down, true, true);
    if (trapped(cpu, mask)) return 1;
    work++;
  }
  return 0;
}

/** Moves RSI, RDI and RCX on by `n` elements. */
function advance(cpu: u32, addressBits: u32, width: u32, n: u32, down: bool, source: bool, target: bool): void {
  const step: u64 = down ? -(<u64>(n * width)) : n * width;
  if (source) setIndex(cpu, RSI, gpr(cpu, RSI) + step, addressBits);
  if (target) setIndex(cpu, RDI, gpr(cpu, RDI) + step, addressBits);
  setIndex(cpu, RCX, gpr(cpu, RCX) - n, addressBits);
}

function fillRun(host: u32, bytes: u32, width: u32, value: u64, uniform: bool): void {
  if (uniform) memory.fill(host, <u8>value, bytes);
  else {
    // One element, then twice as much each time.
    storeElement(host, width, value);
    copyRun(host + width, host, bytes - width, width);
  }
}

export function repStos(cpu: u32, width: u32, addressBits: u32): i32 {
  const mask = maskOf(addressBits), shift = shiftOf(width);
  const down = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_DF) != 0;
  const value = gpr(cpu, RAX);
  const low = <u8>value;
  const uniform = width == 1 || (width == 2 && <u16>value == <u16>low * 0x101) || (width == 4 && <u32>value == <u32>low * 0x1010101) ||
    (width == 8 && value == <u64>low * 0x101010101010101);
  const single = down || oneByOne(cpu), direct = plain(cpu, ES, single || debugged(cpu));
  let pages: u32 = 0, work: u32 = 0;
  while (gpr(cpu, RCX) & mask) {
    const left = pace(cpu, gpr(cpu, RCX) & mask);
    if (pauses(cpu, mask, work, pages >= MAX_PAGES || work >= MAX_WORK)) return again(cpu, work);
    const to = gpr(cpu, RDI) & mask;
    if (direct) {
      const bytes = directRun(cpu, to, runLimit(to, mask, left, shift), TLB_WRITE_TAG) & ~(width - 1);
      if (bytes) {
        fillRun(hostAt(cpu, to), bytes, width, value, uniform);
        advance(cpu, addressBits, width, bytes >> shift, false, false, true);
        pages += 1 + (bytes >> 12);
        work += 1 + (bytes >> (shift + 5));
        continue;
      }
    }
    if (linear(cpu, ES, to, width, 1)) return 1;
    const target = load<u64>(cpu, CPU_SCRATCH);
    let n: u32 = 1;
    if (!single) {
      n = inPage(target, to, mask, shift);
      if (<u64>n > left) n = <u32>left;
      if (n > 1 && linear(cpu, ES, to, n << shift, 1)) n = 1;
    }
    const bytes = n << shift;
    if ((<u32>target & 0xfff) + bytes <= 0x1000) {
      const entry = translate(cpu, target, ACCESS_WRITE);
      if (!entry) return 1;
      if (!(load<u64>(entry, TLB_WRITE_TAG) & SLOW)) {
        if (beforeStore(cpu, entry, target, bytes)) return 1;
        const host = <u32>target + load<u32>(entry, TLB_ADDEND);
        fillRun(host, bytes, width, value, uniform);
        advance(cpu, addressBits, width, n, down, false, true);
        if (trapped(cpu, mask)) return 1;
        pages++;
        work += 1 + (n >> 5);
        continue;
      }
    }
    store<u64>(cpu, value, CPU_SCRATCH);
    if (writeGuest(cpu, target, cpu + CPU_SCRATCH, width)) return 1;
    advance(cpu, addressBits, width, 1, down, false, true);
    if (trapped(cpu, mask)) return 1;
    work++;
  }
  return 0;
}

/** REP LODS: only the last element stays, but all are read. */
export function repLods(cpu: u32, width: u32, addressBits: u32, seg: u32): i32 {
  const mask = maskOf(addressBits);
  const down = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_DF) != 0;
  for (let work: u32 = 0; gpr(cpu, RCX) & mask; work++) {
    if (pauses(cpu, mask, work, work >= MAX_ELEMENTS)) return again(cpu, work);
    if (linear(cpu, seg, gpr(cpu, RSI) & mask, width, 0)) return 1;
    if (readGuest(cpu, load<u64>(cpu, CPU_SCRATCH), cpu + CPU_SCRATCH, width)) return 1;
    const value = loadElement(cpu + CPU_SCRATCH, width);
    if (width == 1) store<u8>(cpu, <u8>value);
    else setGprBits(cpu, RAX, value, width << 3);
    advance(cpu, addressBits, width, 1, down, true, false);
    if (trapped(cpu, mask)) return 1;
  }
  return 0;
}

/** Flags of a - b at `width` bytes, in the lazy form. */
function compareFlags(cpu: u32, a: u64, b: u64, width: u32): void {
  const up: u64 = 64 - (width << 3);
  const sa = <u64>((<i64>(a << up)) >> up), sb = <u64>((<i64>(b << up)) >> up);
  const result = <u64>((<i64>((a - b) << up)) >> up);
  store<u64>(cpu, result, CPU_FLAG_RES);
  store<u64>(cpu, <u64>((a << up) < (b << up)), CPU_FLAG_CF);
  store<u64>(cpu, (sa ^ sb) & (sa ^ result), CPU_FLAG_OV);
  store<u64>(cpu, (sa ^ sb ^ result) & 0x10, CPU_FLAG_AUX);
}

/** Host address of the readable element at `va` for as long as the page lasts, 0 = not directly readable or fault (`failed`). */
let failed: bool = false;
function readable(cpu: u32, va: u64, width: u32): u32 {
  failed = false;
  if ((<u32>va & 0xfff) + width > 0x1000) return 0;
  const entry = translate(cpu, va, 0);
  if (!entry) {
    failed = true;
    return 0;
  }
  return load<u64>(entry, TLB_READ_TAG) & SLOW ? 0 : <u32>va + load<u32>(entry, TLB_ADDEND);
}

/** Reads one element wherever it lies; `failed` tells of a fault. */
function element(cpu: u32, va: u64, width: u32): u64 {
  const host = readable(cpu, va, width);
  if (host) return loadElement(host, width);
  if (!failed && readGuest(cpu, va, cpu + CPU_SCRATCH, width)) failed = true;
  return failed ? 0 : loadElement(cpu + CPU_SCRATCH, width);
}

/** REPE (`whileEqual` 1) and REPNE SCAS. With RCX = 0 the flags stay. */
export function repScas(cpu: u32, width: u32, addressBits: u32, whileEqual: i32): i32 {
  const mask = maskOf(addressBits), cut: u64 = width == 8 ? ~(<u64>0) : ((<u64>1) << (width << 3)) - 1;
  const down = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_DF) != 0;
  const a = gpr(cpu, RAX) & cut;
  let b: u64 = 0, some = false;
  for (let work: u32 = 0; gpr(cpu, RCX) & mask; work++) {
    if (pauses(cpu, mask, work, work >= MAX_ELEMENTS)) {
      compareFlags(cpu, a, b, width);
      return again(cpu, work);
    }
    const offset = gpr(cpu, RDI) & mask;
    if (linear(cpu, ES, offset, width, 0)) return faultAfter(cpu, some, a, b, width);
    const next = element(cpu, load<u64>(cpu, CPU_SCRATCH), width);
    if (failed) return faultAfter(cpu, some, a, b, width);
    b = next;
    some = true;
    advance(cpu, addressBits, width, 1, down, false, true);
    if ((a == b) != (whileEqual != 0)) break;
    if (trapped(cpu, mask)) return faultAfter(cpu, some, a, b, width);
  }
  if (some) compareFlags(cpu, a, b, width);
  return 0;
}

/** A fault in the middle shows the flags of the last comparison that was done. */
function faultAfter(cpu: u32, some: bool, a: u64, b: u64, width: u32): i32 {
  if (some) compareFlags(cpu, a, b, width);
  return 1;
}

/** REPE and REPNE CMPS: source minus destination. */
export function repCmps(cpu: u32, width: u32, addressBits: u32, seg: u32, whileEqual: i32): i32 {
  const mask = maskOf(addressBits);
  const down = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_DF) != 0;
  let a: u64 = 0, b: u64 = 0, some = false;
  for (let work: u32 = 0; gpr(cpu, RCX) & mask; work++) {
    if (pauses(cpu, mask, work, work >= MAX_ELEMENTS)) {
      compareFlags(cpu, a, b, width);
      return again(cpu, work);
    }
    if (linear(cpu, seg, gpr(cpu, RSI) & mask, width, 0)) return faultAfter(cpu, some, a, b, width);
    const x = element(cpu, load<u64>(cpu, CPU_SCRATCH), width);
    if (failed || linear(cpu, ES, gpr(cpu, RDI) & mask, width, 0)) return faultAfter(cpu, some, a, b, width);
    const y = element(cpu, load<u64>(cpu, CPU_SCRATCH), width);
    if (failed) return faultAfter(cpu, some, a, b, width);
    a = x;
    b = y;
    some = true;
    advance(cpu, addressBits, width, 1, down, true, true);
    if ((a == b) != (whileEqual != 0)) break;
    if (trapped(cpu, mask)) return faultAfter(cpu, some, a, b, width);
  }
  if (some) compareFlags(cpu, a, b, width);
  return 0;
}

/** INS: port to ES:rDI. The destination must be writable before the port is read. `repeat` 0 = one element, RCX untouched. */
export function ins(cpu: u32, width: u32, addressBits: u32, repeat: i32): i32 {
  const mask = maskOf(addressBits), port = <u32>gpr(cpu, RDX) & 0xffff;
  const down = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_DF) != 0;
  if (ioCheck(cpu, port, width)) return 1; // even when there is nothing to repeat
  for (let work: u32 = 0; !repeat || gpr(cpu, RCX) & mask; work++) {
    if (pauses(cpu, mask, work, work >= MAX_ELEMENTS)) return again(cpu, work);
    if (linear(cpu, ES, gpr(cpu, RDI) & mask, width, 1)) return 1;
    const va = load<u64>(cpu, CPU_SCRATCH);
    if (probe(cpu, va, width, 1)) return 1;
    if (prepareTarget(cpu, va, width)) return 1;
    store<u64>(cpu, portIn(cpu, port, width), CPU_SCRATCH);
    writeGuest(cpu, va, cpu + CPU_SCRATCH, width);
    stepPort(cpu, RDI, width, addressBits, down, repeat);
    if (!repeat) break;
    if (trapped(cpu, mask)) return 1;
  }
  return 0;
}

/** A page with decoded code is told before the port is read, so that the write itself cannot ask for a retry. */
function prepareTarget(cpu: u32, va: u64, width: u32): i32 {
  const entry = translate(cpu, va, ACCESS_WRITE);
  return entry && (<u32>va & 0xfff) + width <= 0x1000 ? beforeStore(cpu, entry, va, width) : 0;
}

function stepPort(cpu: u32, register: u32, width: u32, addressBits: u32, down: bool, repeat: i32): void {
  setIndex(cpu, register, down ? gpr(cpu, register) - width : gpr(cpu, register) + width, addressBits);
  if (repeat) setIndex(cpu, RCX, gpr(cpu, RCX) - 1, addressBits);
}

/** OUTS: seg:rSI to a port. */
export function outs(cpu: u32, width: u32, addressBits: u32, seg: u32, repeat: i32): i32 {
  const mask = maskOf(addressBits), port = <u32>gpr(cpu, RDX) & 0xffff;
  const down = (load<u32>(cpu, CPU_RFLAGS) & RFLAGS_DF) != 0;
  if (ioCheck(cpu, port, width)) return 1; // even when there is nothing to repeat
  for (let work: u32 = 0; !repeat || gpr(cpu, RCX) & mask; work++) {
    if (pauses(cpu, mask, work, work >= MAX_ELEMENTS)) return again(cpu, work);
    if (linear(cpu, seg, gpr(cpu, RSI) & mask, width, 0)) return 1;
    if (readGuest(cpu, load<u64>(cpu, CPU_SCRATCH), cpu + CPU_SCRATCH, width)) return 1;
    portOut(cpu, port, width, <u32>loadElement(cpu + CPU_SCRATCH, width));
    stepPort(cpu, RSI, width, addressBits, down, repeat);
    if (!repeat) break;
    if (trapped(cpu, mask)) return 1;
  }
  return 0;
}
