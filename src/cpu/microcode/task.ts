/** Hardware task switching with 16- and 32-bit TSSs (Intel SDM volume 3, chapter 8). Not in IA-32e mode. */
import {
  ACCESS_IMPLICIT, CPU_CR0, CPU_CR3, CPU_CR4, CPU_IMAGE, CPU_RIP, CPU_RFLAGS, CPU_SCRATCH, CPU_DR6, CS, DS, ES, EXC_DB, EXC_GP, EXC_NP, EXC_SS, EXC_TS,
  FS, GS, LDTR, SS, TR, CPU_GDTR_BASE, CPU_DR7, SEG_ATTR_UNUSABLE,
} from "../layout";
import {
  ATTR_CODE, ATTR_CONFORMING, ATTR_DB, ATTR_PRESENT, ATTR_S, ATTR_TYPE, ATTR_WRITABLE, CR0_PG, CR0_TS, CR4_PAE, RFLAGS_NT, RFLAGS_RF, RFLAGS_VM,
  TYPE_BUSY, TYPE_LDT, TYPE_TSS16, TYPE_TSS32,
} from "./bits";
import { codeConforming, codeLimit, fetchCode, takeCode, codeAttr, codeBase } from "./code-segment";
import { loadPdptes } from "./control";
import { breakpointsEnabled, keepResumeFlag } from "./debug";
import {
  attrDpl, descAddress, descAttr, descBase, descLimit, fetchDescriptor, raiseSelector, setBusy, systemAddress, touchDescriptor,
} from "./descriptors";
import { probeAccess, readSystem, writeSystem } from "./memory";
import { updateMode } from "./mode";
import { setNullSegment } from "./segments";
import { pushValue, stackPointer, stackPointerMask, useCurrentStack } from "./stack";
import {
  getFlags, gpr, raise, raiseGp, segAttr, segBase, segLimit, segSelector, setFlags, setGpr, setSegment, setStackPointer, RSP,
} from "./state";
import { flushTlb } from "./tlb-banks";

export const TASK_JUMP: u32 = 0;
export const TASK_CALL: u32 = 1;
export const TASK_RETURN: u32 = 2;
/** Through a task gate of the IDT: like CALL. */
export const TASK_EVENT: u32 = 3;

const TSS32_LIMIT: u32 = 0x67;
const TSS16_LIMIT: u32 = 0x2b;
/** Offset of the word whose bit 0 asks for a trap on a switch to this task. */
const TSS32_TRAP: u32 = 100;
const DR6_BT: u64 = 0x8000;

/** Switches to the TSS that a task gate names. */
export function switchTaskGate(cpu: u32, selector: u32, kind: u32): i32 {
  if (selector & 4 || !(selector & 0xfffc)) return raiseSelector(cpu, EXC_GP, selector);
  if (fetchDescriptor(cpu, selector, EXC_GP)) return 1;
  const attr = descAttr(), type = attr & (ATTR_TYPE | ATTR_S);
  if (type != TYPE_TSS16 && type != TYPE_TSS32) return raiseSelector(cpu, EXC_GP, selector);
  if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_NP, selector);
  return switchTask(cpu, selector, kind);
}

/** IRET with NT set: back to the task that the current TSS links to. */
export function returnFromTask(cpu: u32): i32 {
  if (readSystem(cpu, segBase(cpu, TR), cpu + CPU_SCRATCH, 2)) return 1;
  const selector = load<u16>(cpu, CPU_SCRATCH);
  if ((selector & 4) || !(selector & 0xfffc)) return raiseSelector(cpu, EXC_TS, selector);
  if (fetchDescriptor(cpu, selector, EXC_TS)) return 1;
  const attr = descAttr(), type = attr & (ATTR_TYPE | ATTR_S);
  if (type != (TYPE_TSS16 | TYPE_BUSY) && type != (TYPE_TSS32 | TYPE_BUSY)) return raiseSelector(cpu, EXC_TS, selector);
  if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_NP, selector);
  return switchTask(cpu, selector, TASK_RETURN);
}

/**
 * Switches to the TSS whose descriptor was just fetched and checked. CPU_RIP is what the old task resumes at. A fault found
 * once the new task is in is pending (CPU_EXC) although 0 is returned: it belongs to the new task's first instruction.
 */
export function switchTask(cpu: u32, selector: u32, kind: u32): i32 {
  const newBase = descBase(), newLimit = descLimit(), newAttr = descAttr(), newAddress = descAddress;
  const wide = (newAttr & 8) != 0;
  const needed = wide ? TSS32_LIMIT : TSS16_LIMIT;
  if (newLimit < needed) return raiseSelector(cpu, EXC_TS, selector);
  const size: u32 = wide ? 104 : 44;
  const image: u32 = cpu + CPU_IMAGE;
  const oldBase = segBase(cpu, TR), oldWide = (segAttr(cpu, TR) & 8) != 0, oldSelector = segSelector(cpu, TR);
  const oldAddress = systemAddress(cpu, load<u64>(cpu, CPU_GDTR_BASE) + (oldSelector & 0xfff8));
  if (readSystem(cpu, newBase, image, size)) return 1;
  if (probeAccess(cpu, oldBase, oldWide ? 104 : 44, ACCESS_IMPLICIT | 1)) return 1;
  if (probeAccess(cpu, newBase, size, ACCESS_IMPLICIT | 1)) return 1;

  // The old task's state goes out.
  let flags = getFlags(cpu);
  if (kind == TASK_JUMP || kind == TASK_RETURN) {
    if (setBusy(cpu, oldAddress, false)) return 1;
    if (kind == TASK_RETURN) flags &= ~RFLAGS_NT;
  }
  if (saveTask(cpu, oldBase, oldWide, flags)) return 1;
  const nested = kind == TASK_CALL || kind == TASK_EVENT;
  if (nested) {
    store<u16>(cpu, <u16>oldSelector, CPU_SCRATCH);
    if (writeSystem(cpu, newBase, cpu + CPU_SCRATCH, 2)) return 1;
  }
  if (kind != TASK_RETURN && setBusy(cpu, newAddress, true)) return 1;

  // The new task's state comes in; faults from here on belong to the new task.
  setSegment(cpu, TR, selector, newBase, newLimit, newAttr | TYPE_BUSY);
  store<u64>(cpu, load<u64>(cpu, CPU_CR0) | CR0_TS, CPU_CR0);
  store<u64>(cpu, load<u64>(cpu, CPU_DR7) & ~(<u64>0x155), CPU_DR7);
  if (wide && (load<u32>(cpu, CPU_CR0) & CR0_PG)) {
    const cr3 = <u64>load<u32>(image, 28);
    if (load<u32>(cpu, CPU_CR4) & CR4_PAE) {
      if (loadPdptes(cpu, cr3)) return 0;
    }
    store<u64>(cpu, cr3, CPU_CR3);
    flushTlb(cpu, 1);
  }
  const at = wide ? image + 32 : image + 14;
  store<u64>(cpu, wide ? <u64>load<u32>(at) : <u64>load<u16>(at), CPU_RIP);
  let newFlags: u32 = wide ? load<u32>(at, 4) : load<u16>(at, 2);
  if (nested) newFlags |= RFLAGS_NT;
  for (let i: u32 = 0; i < 8; i++) {
    setGpr(cpu, i, wide ? <u64>load<u32>(at + 8 + i * 4) : <u64>load<u16>(at + 4 + i * 2) | 0xffff0000);
  }
  const segments = wide ? at + 40 : at + 20, step: u32 = wide ? 4 : 2;
  const ldt = load<u16>(segments + (wide ? 24 : 8));
  // RF of an instruction that switches tasks holds for the new task's first; an event has no end of instruction to outlive.
  if (!breakpointsEnabled(cpu)) newFlags &= ~RFLAGS_RF;
  else if ((newFlags & RFLAGS_RF) && kind != TASK_EVENT) keepResumeFlag();
  const trap = wide && (load<u16>(image, TSS32_TRAP) & 1) != 0;
  setFlags(cpu, newFlags);
  if (!loadTaskSegments(cpu, segments, step, wide ? 6 : 4, ldt, newFlags) && trap) {
    store<u64>(cpu, load<u64>(cpu, CPU_DR6) | DR6_BT, CPU_DR6);
    raise(cpu, EXC_DB, 0);
  }
  return 0;
}

function saveTask(cpu: u32, base: u64, wide: bool, flags: u32): i32 {
  // Behind the incoming image, so that one write of the changing middle part does it.
  const out: u32 = cpu + CPU_IMAGE + 256;
  const rip = load<u64>(cpu, CPU_RIP);
  if (wide) {
    store<u32>(out, <u32>rip);
    store<u32>(out, flags, 4);
    for (let i: u32 = 0; i < 8; i++) store<u32>(out + 8 + i * 4, <u32>gpr(cpu, i));
    for (let i: u32 = 0; i < 6; i++) store<u32>(out + 40 + i * 4, segSelector(cpu, i));
    return writeSystem(cpu, base + 32, out, 64);
  }
  store<u16>(out, <u16>rip);
  store<u16>(out, <u16>flags, 2);
  for (let i: u32 = 0; i < 8; i++) store<u16>(out + 4 + i * 2, <u16>gpr(cpu, i));
  for (let i: u32 = 0; i < 4; i++) store<u16>(out + 20 + i * 2, <u16>segSelector(cpu, i));
  return writeSystem(cpu, base + 14, out, 28);
}

/** Loads LDTR and the segment registers of the new task; all faults are #TS, #NP or #SS with the selector. */
function loadTaskSegments(cpu: u32, at: u32, step: u32, given: u32, ldt: u32, flags: u32): i32 {
  // All selectors first, so that a fault in one leaves the others at least named; none is usable yet.
  const csSelector: u32 = load<u16>(at + CS * step), privilege: u32 = flags & RFLAGS_VM ? 3 : csSelector & 3;
  setNullSegment(cpu, LDTR, ldt, 0);
  for (let seg: u32 = 0; seg < 6; seg++) {
    const selector: u32 = seg < given ? load<u16>(at + seg * step) : 0;
    if (flags & RFLAGS_VM) setSegment(cpu, seg, selector, <u64>(selector << 4), 0xffff, 0xf3);
    else setNullSegment(cpu, seg, selector, seg == SS ? privilege : 0);
  }
  updateMode(cpu);
  if (ldt & 0xfffc) {
    if (ldt & 4) return raiseSelector(cpu, EXC_TS, ldt);
    if (fetchDescriptor(cpu, ldt, EXC_TS)) return 1;
    if ((descAttr() & (ATTR_S | ATTR_TYPE)) != TYPE_LDT || !(descAttr() & ATTR_PRESENT)) return raiseSelector(cpu, EXC_TS, ldt);
    setSegment(cpu, LDTR, ldt, descBase(), descLimit(), descAttr());
  }
  if (flags & RFLAGS_VM) return 0;

  if (fetchCode(cpu, csSelector, EXC_TS)) return 1;
  const csDpl = attrDpl(descAttr());
  if (codeConforming(descAttr()) ? csDpl > privilege : csDpl != privilege) return raiseSelector(cpu, EXC_TS, csSelector);
  if (takeCode(cpu, csSelector)) return 1;
  setSegment(cpu, CS, csSelector, codeBase, codeLimit, codeAttr);

  const ssSelector: u32 = load<u16>(at + SS * step);
  if (!(ssSelector & 0xfffc)) return raiseSelector(cpu, EXC_TS, ssSelector);
  if (fetchDescriptor(cpu, ssSelector, EXC_TS)) return 1;
  const kind = descAttr() & (ATTR_S | ATTR_CODE | ATTR_WRITABLE);
  if (kind != (ATTR_S | ATTR_WRITABLE) || attrDpl(descAttr()) != privilege || (ssSelector & 3) != privilege) {
    return raiseSelector(cpu, EXC_TS, ssSelector);
  }
  if (!(descAttr() & ATTR_PRESENT)) return raiseSelector(cpu, EXC_SS, ssSelector);
  if (touchDescriptor(cpu)) return 1;
  setSegment(cpu, SS, ssSelector, descBase(), descLimit(), descAttr());

  for (let seg: u32 = 0; seg < given; seg++) {
    if (seg == CS || seg == SS) continue;
    const selector: u32 = load<u16>(at + seg * step);
    if (!(selector & 0xfffc)) continue;
    if (fetchDescriptor(cpu, selector, EXC_TS)) return 1;
    const attr = descAttr(), dpl = attrDpl(attr);
    if (!(attr & ATTR_S) || (attr & (ATTR_CODE | ATTR_WRITABLE)) == ATTR_CODE) return raiseSelector(cpu, EXC_TS, selector);
    if ((attr & (ATTR_CODE | ATTR_CONFORMING)) != (ATTR_CODE | ATTR_CONFORMING) && (dpl < privilege || dpl < (selector & 3))) {
      return raiseSelector(cpu, EXC_TS, selector);
    }
    if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_NP, selector);
    if (touchDescriptor(cpu)) return 1;
    setSegment(cpu, seg, selector, descBase(), descLimit(), descAttr());
  }
  updateMode(cpu);
  if (load<u64>(cpu, CPU_RIP) > <u64>codeLimit) return raiseGp(cpu, 0);
  return 0;
}

/** Pushes an exception's error code onto the stack of the task just entered. */
export function pushTaskError(cpu: u32, error: u32): i32 {
  useCurrentStack(cpu);
  if (pushValue(cpu, error, segAttr(cpu, TR) & 8 ? 4 : 2)) return 1;
  setStackPointer(cpu, stackPointer, stackPointerMask);
  return 0;
}
