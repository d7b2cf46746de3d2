/** IRET in all its forms: real and virtual-8086 mode, protected mode, nested tasks, IA-32e mode (Intel SDM volume 2, IRET). */
import { CPU_NMI_BLOCKED, CPU_RIP, CS, DS, ES, EXC_GP, FS, GS, SEG_ATTR_UNUSABLE, SS } from "../layout";
import {
  RFLAGS_AC, RFLAGS_ARITHMETIC, RFLAGS_DF, RFLAGS_ID, RFLAGS_IF, RFLAGS_IOPL, RFLAGS_NT, RFLAGS_RF, RFLAGS_TF, RFLAGS_VIF, RFLAGS_VIP,
  RFLAGS_VM,
} from "./bits";
import { checkTarget, codeConforming, commitCode, fetchCode, takeCode } from "./code-segment";
import { breakpointsEnabled, keepResumeFlag } from "./debug";
import { attrDpl, descAttr, raiseSelector } from "./descriptors";
import { commitOuterStack, returnOutward } from "./far";
import { updateMode } from "./mode";
import { dropInnerSegments, setRealSegment } from "./segments";
import { popped, popValue, stackPointer, stackPointerMask, useCurrentStack } from "./stack";
import {
  code64, cpl, getFlags, iopl, longMode, protectedMode, raiseGp, segLimit, setFlags, setGpr, setSegment, setStackPointer, vm86, RSP,
} from "./state";
import { returnFromTask } from "./task";

const ALWAYS: u32 = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
/** In the upper half, so only with 32- and 64-bit operands. */
const UPPER: u32 = RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;

/** Replaces the flags that `mask` names; RF is kept only where an instruction breakpoint could look at it. */
function mergeFlags(cpu: u32, image: u32, mask: u32): void {
  if (!breakpointsEnabled(cpu)) image &= ~RFLAGS_RF;
  else if (image & mask & RFLAGS_RF) keepResumeFlag();
  setFlags(cpu, (getFlags(cpu) & ~mask) | (image & mask));
}

/** Returns from an interrupt with operands of `bits`. */
export function iret(cpu: u32, bits: u32): i32 {
  const bytes = bits >> 3;
  if (protectedMode(cpu)) {
    if (vm86(cpu)) {
      if (iopl(cpu) < 3) return raiseGp(cpu, 0);
    } else if (getFlags(cpu) & RFLAGS_NT) {
      if (longMode(cpu)) return raiseGp(cpu, 0);
      return returnFromTask(cpu);
    }
  }
  useCurrentStack(cpu);
  if (popValue(cpu, bytes)) return 1;
  const rip = popped;
  if (popValue(cpu, bytes)) return 1;
  const selector = <u32>popped & 0xffff;
  if (popValue(cpu, bytes)) return 1;
  const image = <u32>popped;
  let mask = ALWAYS;
  if (bits > 16) mask |= UPPER;

  if (!protectedMode(cpu) || vm86(cpu)) {
    if (rip > <u64>segLimit(cpu, CS)) return raiseGp(cpu, 0);
    mask |= RFLAGS_IF;
    if (!vm86(cpu)) mask |= RFLAGS_IOPL;
    setStackPointer(cpu, stackPointer, stackPointerMask);
    setRealSegment(cpu, CS, selector);
    store<u64>(cpu, rip, CPU_RIP);
    mergeFlags(cpu, image, mask);
    store<u32>(cpu, 0, CPU_NMI_BLOCKED);
    updateMode(cpu);
    return 0;
  }

  const privilege = cpl(cpu);
  if (privilege == 0 && bits == 32 && (image & RFLAGS_VM) && !longMode(cpu)) return toVm86(cpu, rip, selector, image);
  const rpl = selector & 3;
  if (fetchCode(cpu, selector, EXC_GP)) return 1;
  const attr = descAttr(), dpl = attrDpl(attr);
  if (rpl < privilege || (codeConforming(attr) ? dpl > rpl : dpl != rpl)) return raiseSelector(cpu, EXC_GP, selector);
  if (takeCode(cpu, selector)) return 1;
  if (privilege == 0) mask |= RFLAGS_IOPL;
  if (privilege == 0 && bits > 16) mask |= RFLAGS_VIF | RFLAGS_VIP;
  if (privilege <= iopl(cpu)) mask |= RFLAGS_IF;

  if (rpl == privilege && !code64(cpu)) {
    if (checkTarget(cpu, rip)) return 1;
    setStackPointer(cpu, stackPointer, stackPointerMask);
    commitCode(cpu, selector, rip);
  } else {
    if (popValue(cpu, bytes)) return 1;
    const newPointer = popped;
    if (popValue(cpu, bytes)) return 1;
    const newSelector = <u32>popped & 0xffff;
    if (returnOutward(cpu, rpl, newSelector)) return 1;
    if (checkTarget(cpu, rip)) return 1;
    commitCode(cpu, selector, rip);
    commitOuterStack(cpu, rpl, newSelector, newPointer);
    if (rpl != privilege) dropInnerSegments(cpu, rpl);
  }
  mergeFlags(cpu, image, mask);
  store<u32>(cpu, 0, CPU_NMI_BLOCKED);
  updateMode(cpu);
  return 0;
}

/** Into virtual-8086 mode: six more values are on the stack. */
function toVm86(cpu: u32, rip: u64, selector: u32, image: u32): i32 {
  if (popValue(cpu, 4)) return 1;
  const sp = popped;
  if (popValue(cpu, 4)) return 1;
  const ss = <u32>popped & 0xffff;
  if (popValue(cpu, 4)) return 1;
  const es = <u32>popped & 0xffff;
  if (popValue(cpu, 4)) return 1;
  const ds = <u32>popped & 0xffff;
  if (popValue(cpu, 4)) return 1;
  const fs = <u32>popped & 0xffff;
  if (popValue(cpu, 4)) return 1;
  const gs = <u32>popped & 0xffff;
  mergeFlags(cpu, image, ~(<u32>0));
  setRealSegment(cpu, CS, selector);
  setRealSegment(cpu, SS, ss);
  setRealSegment(cpu, ES, es);
  setRealSegment(cpu, DS, ds);
  setRealSegment(cpu, FS, fs);
  setRealSegment(cpu, GS, gs);
  setGpr(cpu, RSP, sp);
  store<u64>(cpu, rip & 0xffff, CPU_RIP);
  store<u32>(cpu, 0, CPU_NMI_BLOCKED);
  updateMode(cpu);
  return 0;
}
