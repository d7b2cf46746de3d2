/** Segment registers: loading with all checks, limit checks, LLDT LTR LAR LSL VERR VERW SWAPGS (Intel SDM volume 3, 5). */
import {
  CPU_EXC, CPU_KERNEL_GS_BASE, CPU_SCRATCH, CS, ES, EXC_GP, EXC_NP, EXC_SS, FS, GS, LDTR, SEG_ATTR_UNUSABLE, SEG_BASE, SS, TR,
} from "../layout";
import {
  ATTR_CODE, ATTR_CONFORMING, ATTR_DB, ATTR_PRESENT, ATTR_S, ATTR_TYPE, ATTR_WRITABLE, RFLAGS_ZF, TYPE_BUSY, TYPE_CALL_GATE16,
  TYPE_CALL_GATE32, TYPE_LDT, TYPE_TASK_GATE, TYPE_TSS16, TYPE_TSS16_BUSY, TYPE_TSS32, TYPE_TSS32_BUSY,
} from "./bits";
import {
  attrDpl, descAddress, descAttr, descBase, descHigh, descLimit, fetchDescriptor, fetchWideDescriptor, raiseSelector, setBusy, touchDescriptor,
} from "./descriptors";
import { updateMode } from "./mode";
import {
  canonical, code64, cpl, getFlags, longMode, raise, raiseGp, realSelectors, segAttr, segBase, segLimit, segment,
  setArithmeticFlags, setSegment, vm86,
} from "./state";

/** Sets a segment as real-address and virtual-8086 mode do. */
export function setRealSegment(cpu: u32, seg: u32, selector: u32): void {
  if (vm86(cpu)) setSegment(cpu, seg, selector, <u64>(selector << 4), 0xffff, 0xf3);
  else setSegment(cpu, seg, selector, <u64>(selector << 4), segLimit(cpu, seg), segAttr(cpu, seg));
}

/** Makes a data segment register unusable with a null selector; CPL lives in SS's DPL, so that is kept. */
export function setNullSegment(cpu: u32, seg: u32, selector: u32, dpl: u32): void {
  setSegment(cpu, seg, selector, 0, 0, SEG_ATTR_UNUSABLE | (dpl << 5));
}

/** Loads ES, SS, DS, FS or GS as MOV, POP and LDS do. Callers of SS also hold off interrupts for an instruction. */
export function loadSegment(cpu: u32, seg: u32, selector: u32): i32 {
  if (realSelectors(cpu)) {
    setRealSegment(cpu, seg, selector);
    return 0;
  }
  const privilege = cpl(cpu), rpl = selector & 3;
  if (!(selector & 0xfffc)) {
    if (seg == SS && (!code64(cpu) || privilege == 3 || rpl != privilege)) return raiseGp(cpu, 0);
    setNullSegment(cpu, seg, selector, seg == SS ? privilege : 0);
    updateMode(cpu);
    return 0;
  }
  if (fetchDescriptor(cpu, selector, EXC_GP)) return 1;
  const attr = descAttr(), dpl = attrDpl(attr);
  if (seg == SS) {
    const kind = attr & (ATTR_S | ATTR_CODE | ATTR_WRITABLE);
    if (rpl != privilege || dpl != privilege || kind != (ATTR_S | ATTR_WRITABLE)) return raiseSelector(cpu, EXC_GP, selector);
    if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_SS, selector);
  } else {
    if (!(attr & ATTR_S) || (attr & (ATTR_CODE | ATTR_WRITABLE)) == ATTR_CODE) return raiseSelector(cpu, EXC_GP, selector);
    const conforming = (attr & (ATTR_CODE | ATTR_CONFORMING)) == (ATTR_CODE | ATTR_CONFORMING);
    if (!conforming && (rpl > dpl || privilege > dpl)) return raiseSelector(cpu, EXC_GP, selector);
    if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_NP, selector);
  }
  if (touchDescriptor(cpu)) return 1;
  setSegment(cpu, seg, selector, descBase(), descLimit(), descAttr());
  updateMode(cpu);
  return 0;
}

/** Is [offset, offset + bytes) inside a segment's limit? */
export function withinLimit(limit: u32, attr: u32, offset: u64, bytes: u32): bool {
  const last = offset + bytes - 1;
  if ((attr & (ATTR_S | ATTR_CODE | ATTR_CONFORMING)) == (ATTR_S | ATTR_CONFORMING)) {
    return offset > <u64>limit && last <= (attr & ATTR_DB ? 0xffffffff : 0xffff);
  }
  return last <= <u64>limit;
}

/**
 * Linear address of `offset` in a segment for an access of `bytes`, into CPU_SCRATCH. Nonzero = #GP(0), or #SS(0) for SS.
 * In 64-bit mode only FS and GS count, and the address must be canonical.
 */
export function segmentAccess(cpu: u32, seg: u32, offset: u64, bytes: u32, write: i32): i32 {
  const vector: i32 = seg == SS ? EXC_SS : EXC_GP;
  if (code64(cpu)) {
    const va = seg >= <u32>FS ? segBase(cpu, seg) + offset : offset;
    if (!canonical(va) || !canonical(va + bytes - 1)) return raise(cpu, vector, 0);
    store<u64>(cpu, va, CPU_SCRATCH);
    return 0;
  }
  const attr = segAttr(cpu, seg);
  if (attr & SEG_ATTR_UNUSABLE) return raise(cpu, vector, 0);
  if (!realSelectors(cpu)) {
    const kind = attr & (ATTR_CODE | ATTR_WRITABLE);
    if (write ? kind != ATTR_WRITABLE : kind == ATTR_CODE) return raise(cpu, vector, 0);
  }
  // GUEST: offset and bytes are bounded by the segment's limit.
  if (!withinLimit(segLimit(cpu, seg), attr, offset, bytes)) return raise(cpu, vector, 0);
  store<u64>(cpu, (segBase(cpu, seg) + offset) & 0xffffffff, CPU_SCRATCH);
  return 0;
}

/** Fetches the LDT or TSS descriptor `selector`, of which `type` is asked, from the GDT. */
function fetchSystem(cpu: u32, selector: u32, type16: u32, type32: u32): i32 {
  if (selector & 4) return raiseSelector(cpu, EXC_GP, selector);
  if (longMode(cpu) ? fetchWideDescriptor(cpu, selector, EXC_GP) : fetchDescriptor(cpu, selector, EXC_GP)) return 1;
  const attr = descAttr(), type = attr & (ATTR_TYPE | ATTR_S);
  if (type != type32 && (type != type16 || longMode(cpu))) return raiseSelector(cpu, EXC_GP, selector);
  if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_NP, selector);
  if (longMode(cpu) && !canonical(descBase())) return raiseSelector(cpu, EXC_GP, selector);
  return 0;
}

/** LLDT at CPL 0. */
export function lldt(cpu: u32, selector: u32): i32 {
  if (!(selector & 0xfffc)) {
    setNullSegment(cpu, LDTR, selector, 0);
    return 0;
  }
  if (fetchSystem(cpu, selector, TYPE_LDT, TYPE_LDT)) return 1;
  setSegment(cpu, LDTR, selector, descBase(), descLimit(), descAttr());
  return 0;
}

/** LTR at CPL 0. */
export function ltr(cpu: u32, selector: u32): i32 {
  if (!(selector & 0xfffc)) return raiseGp(cpu, 0);
  if (fetchSystem(cpu, selector, TYPE_TSS16, TYPE_TSS32)) return 1;
  const base = descBase(), limit = descLimit(), attr = descAttr();
  if (setBusy(cpu, descAddress, true)) return 1;
  setSegment(cpu, TR, selector, base, limit, attr | TYPE_BUSY);
  return 0;
}

/** Sets ZF and leaves the other arithmetic flags. */
function setZf(cpu: u32, value: bool): void {
  const f = getFlags(cpu);
  setArithmeticFlags(cpu, value ? f | RFLAGS_ZF : f & ~RFLAGS_ZF);
}

/** Fetches for LAR, LSL, VERR, VERW: 0 = descriptor there and visible, 1 = not (ZF = 0), 2 = page fault pending. */
function inspect(cpu: u32, selector: u32): i32 {
  if (!(selector & 0xfffc)) return 1;
  if (fetchDescriptor(cpu, selector, -2)) return load<i32>(cpu, CPU_EXC) == -2 ? inspectFailed(cpu) : 2;
  const attr = descAttr(), dpl = attrDpl(attr);
  const conforming = (attr & (ATTR_S | ATTR_CODE | ATTR_CONFORMING)) == (ATTR_S | ATTR_CODE | ATTR_CONFORMING);
  return !conforming && (cpl(cpu) > dpl || (selector & 3) > dpl) ? 1 : 0;
}

function inspectFailed(cpu: u32): i32 {
  store<i32>(cpu, -1, CPU_EXC);
  return 1;
}

/** LAR: ZF, and the access rights in CPU_SCRATCH when ZF = 1. */
export function lar(cpu: u32, selector: u32): i32 {
  return inspectSystem(cpu, selector, true);
}

/** LSL: ZF, and the limit in CPU_SCRATCH when ZF = 1. */
export function lsl(cpu: u32, selector: u32): i32 {
  return inspectSystem(cpu, selector, false);
}

function inspectSystem(cpu: u32, selector: u32, rights: bool): i32 {
  const found = inspect(cpu, selector);
  if (found == 2) return 1;
  let ok = found == 0;
  const attr = descAttr(), type = attr & ATTR_TYPE;
  if (ok && !(attr & ATTR_S)) {
    ok = type == TYPE_LDT || type == TYPE_TSS32 || type == TYPE_TSS32_BUSY;
    if (!longMode(cpu)) ok = ok || type == TYPE_TSS16 || type == TYPE_TSS16_BUSY;
    if (rights) {
      ok = ok || type == TYPE_CALL_GATE32;
      if (!longMode(cpu)) ok = ok || type == TYPE_CALL_GATE16 || type == TYPE_TASK_GATE;
    }
  }
  setZf(cpu, ok);
  if (ok) store<u64>(cpu, rights ? <u64>(descHigh & 0xf0ff00) : <u64>descLimit(), CPU_SCRATCH);
  return 0;
}

/** VERR and VERW: ZF. */
export function verify(cpu: u32, selector: u32, write: i32): i32 {
  const found = inspect(cpu, selector);
  if (found == 2) return 1;
  const attr = descAttr(), code = (attr & ATTR_CODE) != 0, bit = (attr & ATTR_WRITABLE) != 0;
  setZf(cpu, found == 0 && (attr & ATTR_S) != 0 && (write ? !code && bit : !code || bit));
  return 0;
}

/** SWAPGS at CPL 0 in 64-bit mode. */
export function swapgs(cpu: u32): void {
  const gs = segBase(cpu, GS);
  store<u64>(segment(cpu, GS), load<u64>(cpu, CPU_KERNEL_GS_BASE), SEG_BASE);
  store<u64>(cpu, gs, CPU_KERNEL_GS_BASE);
}

/** After a return to outer privilege: segments that the new CPL may not use become null; bases stay, as FS and GS show. */
export function dropInnerSegments(cpu: u32, privilege: u32): void {
  for (let seg: u32 = ES; seg <= <u32>GS; seg++) {
    if (seg == CS || seg == SS) continue;
    const attr = segAttr(cpu, seg);
    if (attr & SEG_ATTR_UNUSABLE) continue;
    const conforming = (attr & (ATTR_CODE | ATTR_CONFORMING)) == (ATTR_CODE | ATTR_CONFORMING);
    if (!conforming && attrDpl(attr) < privilege) setSegment(cpu, seg, 0, segBase(cpu, seg), segLimit(cpu, seg), SEG_ATTR_UNUSABLE);
  }
}
