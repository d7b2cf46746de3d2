/**
 * Far JMP, CALL and RET in all modes (Intel SDM volume 3, 5.8). CPU_RIP is the next instruction's on entry, so what CALL
 * pushes; on success it is the target. `bits` is the operand size: 16, 32, 64.
 */
import { CPU_RIP, CS, EXC_GP, EXC_NP, EXC_TS, SEG_ATTR_UNUSABLE, SS } from "../layout";
import {
  ATTR_DB, ATTR_L, ATTR_PRESENT, ATTR_S, ATTR_TYPE, TYPE_CALL_GATE16, TYPE_CALL_GATE32, TYPE_TASK_GATE, TYPE_TSS16, TYPE_TSS32,
} from "./bits";
import { checkTarget, codeAttr, codeConforming, codeWide, commitCode, directAllowed, fetchCode, takeCode } from "./code-segment";
import {
  attrDpl, descAttr, descHigh, descLow, descUpper, fetchDescriptor, fetchWideDescriptor, raiseSelector,
} from "./descriptors";
import { updateMode } from "./mode";
import { dropInnerSegments, setNullSegment, setRealSegment } from "./segments";
import {
  checkInnerStack, fetchInnerStack, innerAttr, innerBase, innerLimit, innerPointer, innerSelector, moveStack, peekValue, popped,
  popValue, pushValue, readTss, stackPointer, stackPointerMask, useCurrentStack, useInnerStack, useWideStack,
} from "./stack";
import {
  canonical, code64, cpl, gpr, longMode, raise, raiseGp, realSelectors, RSP, segLimit, segSelector, setGpr, setSegment, setStackPointer,
} from "./state";
import { switchTask, switchTaskGate, TASK_CALL, TASK_JUMP } from "./task";

@inline function cut(value: u64, bits: u32): u64 { return bits == 64 ? value : bits == 32 ? value & 0xffffffff : value & 0xffff; }

/** Commits a new SS without changing RSP. */
function commitInnerSegment(cpu: u32): void {
  setSegment(cpu, SS, innerSelector, innerBase, innerLimit, innerAttr);
}

export function farJump(cpu: u32, selector: u32, offset: u64, bits: u32): i32 {
  return transfer(cpu, selector, cut(offset, bits), bits, false);
}

export function farCall(cpu: u32, selector: u32, offset: u64, bits: u32): i32 {
  return transfer(cpu, selector, cut(offset, bits), bits, true);
}

/** Pushes CS and the return address. */
function pushReturn(cpu: u32, bits: u32): i32 {
  const bytes = bits >> 3;
  return pushValue(cpu, segSelector(cpu, CS), bytes) || pushValue(cpu, cut(load<u64>(cpu, CPU_RIP), bits), bytes) ? 1 : 0;
}

function transfer(cpu: u32, selector: u32, offset: u64, bits: u32, call: bool): i32 {
  if (realSelectors(cpu)) {
    if (offset > <u64>segLimit(cpu, CS)) return raiseGp(cpu, 0);
    if (call) {
      useCurrentStack(cpu);
      if (pushReturn(cpu, bits)) return 1;
      setStackPointer(cpu, stackPointer, stackPointerMask);
    }
    setRealSegment(cpu, CS, selector);
    store<u64>(cpu, offset, CPU_RIP);
    updateMode(cpu);
    return 0;
  }
  if (!(selector & 0xfffc)) return raiseGp(cpu, 0);
  if (fetchDescriptor(cpu, selector, EXC_GP)) return 1;
  if (!(descAttr() & ATTR_S)) return throughSystem(cpu, selector, call);
  if (fetchCode(cpu, selector, EXC_GP)) return 1;
  const privilege = cpl(cpu);
  if (!directAllowed(privilege, selector)) return raiseSelector(cpu, EXC_GP, selector);
  if (takeCode(cpu, selector)) return 1;
  if (checkTarget(cpu, offset)) return 1;
  if (call) {
    useCurrentStack(cpu);
    if (pushReturn(cpu, bits)) return 1;
    setStackPointer(cpu, stackPointer, stackPointerMask);
  }
  commitCode(cpu, (selector & 0xfffc) | privilege, offset);
  updateMode(cpu);
  return 0;
}

/** The selector names a gate or a TSS. */
function throughSystem(cpu: u32, selector: u32, call: bool): i32 {
  const attr = descAttr(), type = attr & ATTR_TYPE, privilege = cpl(cpu);
  const long = longMode(cpu);
  const gate = type == TYPE_CALL_GATE32 || (!long && (type == TYPE_CALL_GATE16 || type == TYPE_TASK_GATE));
  const tss = !long && (type == TYPE_TSS16 || type == TYPE_TSS32);
  if (!gate && !tss) return raiseSelector(cpu, EXC_GP, selector);
  if (attrDpl(attr) < privilege || attrDpl(attr) < (selector & 3)) return raiseSelector(cpu, EXC_GP, selector);
  if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_NP, selector);
  if (tss) return switchTask(cpu, selector, call ? TASK_CALL : TASK_JUMP);
  if (type == TYPE_TASK_GATE) return switchTaskGate(cpu, descLow >> 16, call ? TASK_CALL : TASK_JUMP);
  return throughCallGate(cpu, selector, type, call);
}

function throughCallGate(cpu: u32, gateSelector: u32, type: u32, call: bool): i32 {
  const long = longMode(cpu), privilege = cpl(cpu);
  if (long) {
    if (fetchWideDescriptor(cpu, gateSelector, EXC_GP)) return 1;
  }
  const bits: u32 = long ? 64 : type == TYPE_CALL_GATE32 ? 32 : 16, bytes = bits >> 3;
  const target = descLow >> 16, parameters = long ? 0 : descHigh & 31;
  let offset = <u64>(descLow & 0xffff);
  if (bits > 16) offset |= descHigh & 0xffff0000;
  if (long) offset |= <u64>descUpper << 32;
  if (fetchCode(cpu, target, EXC_GP)) return 1;
  const attr = descAttr(), dpl = attrDpl(attr);
  if (dpl > privilege || (!call && !codeConforming(attr) && dpl != privilege)) return raiseSelector(cpu, EXC_GP, target);
  if (long && (attr & (ATTR_L | ATTR_DB)) != ATTR_L) return raiseSelector(cpu, EXC_GP, target);
  if (takeCode(cpu, target)) return 1;
  const inward = call && !codeConforming(attr) && dpl < privilege;
  if (!inward) {
    if (checkTarget(cpu, offset)) return 1;
    if (call) {
      useCurrentStack(cpu);
      if (pushReturn(cpu, bits)) return 1;
      setStackPointer(cpu, stackPointer, stackPointerMask);
    }
    commitCode(cpu, (target & 0xfffc) | privilege, offset);
    updateMode(cpu);
    return 0;
  }

  const oldSelector = segSelector(cpu, SS), oldPointer = gpr(cpu, RSP);
  if (long) {
    if (readTss(cpu, 4 + dpl * 8, 8)) return 1;
    useWideStack(popped, dpl);
    if (checkTarget(cpu, offset)) return 1;
    if (pushValue(cpu, oldSelector, 8) || pushValue(cpu, oldPointer, 8) || pushReturn(cpu, 64)) return 1;
    setGpr(cpu, RSP, stackPointer);
    setNullSegment(cpu, SS, dpl, dpl);
  } else {
    if (fetchInnerStack(cpu, dpl)) return 1;
    if (checkTarget(cpu, offset)) return 1;
    useInnerStack(dpl);
    if (pushValue(cpu, oldSelector, bytes) || pushValue(cpu, cut(oldPointer, bits), bytes)) return 1;
    for (let i = parameters; i > 0; i--) {
      // The parameters are read from the outer stack, the last pushed first.
      const sp = stackPointer;
      useCurrentStack(cpu);
      if (peekValue(cpu, (i - 1) * bytes, bytes)) return 1;
      useInnerStack(dpl);
      moveStack(sp - stackPointer);
      if (pushValue(cpu, popped, bytes)) return 1;
    }
    if (pushReturn(cpu, bits)) return 1;
    const sp = stackPointer, mask = stackPointerMask;
    commitInnerSegment(cpu);
    setStackPointer(cpu, sp, mask);
  }
  commitCode(cpu, (target & 0xfffc) | dpl, offset);
  updateMode(cpu);
  return 0;
}

/** RET far: pops the return address, then drops `parameters` bytes. */
export function farReturn(cpu: u32, bits: u32, parameters: u32): i32 {
  const bytes = bits >> 3;
  useCurrentStack(cpu);
  if (popValue(cpu, bytes)) return 1;
  const rip = popped;
  if (popValue(cpu, bytes)) return 1;
  const selector = <u32>popped & 0xffff;
  if (realSelectors(cpu)) {
    if (rip > <u64>segLimit(cpu, CS)) return raiseGp(cpu, 0);
    moveStack(parameters);
    setStackPointer(cpu, stackPointer, stackPointerMask);
    setRealSegment(cpu, CS, selector);
    store<u64>(cpu, rip, CPU_RIP);
    updateMode(cpu);
    return 0;
  }
  const privilege = cpl(cpu), rpl = selector & 3;
  if (fetchCode(cpu, selector, EXC_GP)) return 1;
  const attr = descAttr(), dpl = attrDpl(attr);
  if (rpl < privilege || (codeConforming(attr) ? dpl > rpl : dpl != rpl)) return raiseSelector(cpu, EXC_GP, selector);
  if (takeCode(cpu, selector)) return 1;
  moveStack(parameters);
  if (rpl == privilege) {
    if (checkTarget(cpu, rip)) return 1;
    setStackPointer(cpu, stackPointer, stackPointerMask);
    commitCode(cpu, selector, rip);
    updateMode(cpu);
    return 0;
  }
  if (popValue(cpu, bytes)) return 1;
  const newPointer = popped;
  if (popValue(cpu, bytes)) return 1;
  const newSelector = <u32>popped & 0xffff;
  if (returnOutward(cpu, rpl, newSelector)) return 1;
  if (checkTarget(cpu, rip)) return 1;
  commitCode(cpu, selector, rip);
  commitOuterStack(cpu, rpl, newSelector, newPointer + parameters);
  dropInnerSegments(cpu, rpl);
  updateMode(cpu);
  return 0;
}

/** Checks the stack segment that a return to outer privilege loads; null is allowed in 64-bit mode below ring 3. */
export function returnOutward(cpu: u32, privilege: u32, selector: u32): i32 {
  if (!(selector & 0xfffc)) {
    if (!codeWide(cpu) || privilege == 3 || (selector & 3) != privilege) return raiseGp(cpu, 0);
    return 0;
  }
  return checkInnerStack(cpu, selector, privilege, EXC_GP);
}

/** Loads the SS that `returnOutward` checked, and RSP as wide as the new code's stack is. */
export function commitOuterStack(cpu: u32, privilege: u32, selector: u32, pointer: u64): void {
  if (selector & 0xfffc) commitInnerSegment(cpu);
  else setSegment(cpu, SS, selector, 0, 0, SEG_ATTR_UNUSABLE | (privilege << 5));
  const wide = codeWide(cpu);
  setStackPointer(cpu, pointer, wide ? ~(<u64>0) : innerAttr & ATTR_DB ? 0xffffffff : 0xffff);
}
