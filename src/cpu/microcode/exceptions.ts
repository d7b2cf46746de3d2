/**
 * Delivery of exceptions, interrupts and INT n through the IVT, the IDT's 16- and 32-bit gates, task gates and IA-32e gates
 * (Intel SDM volume 3, chapter 6). A fault during delivery becomes a double fault or is delivered in its turn.
 */
import {
  ACCESS_IMPLICIT, ACCESS_STACK, CPU_CR2, CPU_DR7, CPU_EXC, CPU_EXC_CR2, CPU_EXC_ERROR, CPU_EXIT, CPU_IDTR_BASE, CPU_IDTR_LIMIT, CPU_IMAGE,
  CPU_INT_SHADOW, CPU_NMI_BLOCKED, CPU_NO_STEP, CPU_RFLAGS, CPU_RIP, CPU_SCRATCH, CS, DS, ES, EXC_AC, EXC_BP, EXC_DB, EXC_DF, EXC_GP, EXC_NP, EXC_OF,
  EXC_PF, EXC_TS, EXC_SS, EXC_DE, EXIT_INTERRUPT, EXIT_SHUTDOWN, FS, GS, INT_EXCEPTION, INT_EXTERNAL, INT_NMI, INT_SOFTWARE,
  INT_SOFTWARE_EXCEPTION, INT_PRIVILEGED_SOFTWARE, SS, TR,
} from "../layout";
import {
  ATTR_CODE, ATTR_DB, ATTR_L, ATTR_PRESENT, ATTR_S, ATTR_TYPE, RFLAGS_AC, RFLAGS_IF, RFLAGS_NT, RFLAGS_OF, RFLAGS_RF, RFLAGS_TF, RFLAGS_VM,
  TYPE_INTERRUPT_GATE16, TYPE_INTERRUPT_GATE32, TYPE_TASK_GATE, TYPE_TRAP_GATE16, TYPE_TRAP_GATE32,
} from "./bits";
import { checkTarget, codeConforming, commitCode, fetchCode, takeCode } from "./code-segment";
import { beginDelivery, deliveryDone, takeFault, takeHits } from "./debug";
import { attrDpl, descAttr, eventExt, raiseSelector, setEventExt, systemAddress } from "./descriptors";
import { readSystem, writeVirtual } from "./memory";
import { updateMode } from "./mode";
import { setNullSegment, setRealSegment } from "./segments";
import {
  fetchInnerStack, innerAttr, innerBase, innerLimit, innerSelector, popped, pushValue, readTss, stackPointer, stackPointerMask,
  useCurrentStack, useInnerStack,
} from "./stack";
import {
  canonical, count, cpl, getFlags, gpr, iopl, longMode, protectedMode, raise, raiseGp, RSP, segBase, segSelector, setGpr, setSegment,
  setStackPointer, vm86, code64,
} from "./state";
import { pushTaskError, switchTaskGate, TASK_EVENT } from "./task";

/** Bit of an error code: it indexes the IDT. */
const ERROR_IDT: u32 = 2;

/** Vectors that push an error code in protected mode: DF TS NP SS GP PF AC. */
@inline function hasErrorCode(vector: u32): bool { return ((0x27d00 >> vector) & 1) != 0; }

/** Vectors whose fault during the delivery of another exception makes a double fault: DE TS NP SS GP. */
@inline function contributory(vector: i32): bool { return vector >= 0 && ((0x3c01 >> vector) & 1) != 0; }

/** Faults, which push RF set so that an instruction breakpoint does not trap again. */
@inline function isFault(vector: u32): bool { return vector != EXC_DB && vector != EXC_BP && vector != EXC_OF && vector != EXC_DF; }

/** Clears RFLAGS bits that every gate clears, and IF for interrupt gates. Arithmetic flags stay. */
function enterHandler(cpu: u32, clear: u32): void {
  store<u32>(cpu, load<u32>(cpu, CPU_RFLAGS) & ~clear, CPU_RFLAGS);
  updateMode(cpu);
}

function deliverReal(cpu: u32, vector: u32, flags: u32): i32 {
  if (vector * 4 + 3 > load<u32>(cpu, CPU_IDTR_LIMIT)) return raise(cpu, vector == EXC_DF ? EXC_DF : EXC_GP, 0);
  if (readSystem(cpu, (load<u64>(cpu, CPU_IDTR_BASE) + vector * 4) & 0xffffffff, cpu + CPU_SCRATCH, 4)) return 1;
  const target = load<u32>(cpu, CPU_SCRATCH);
  useCurrentStack(cpu);
  if (pushValue(cpu, flags, 2) || pushValue(cpu, segSelector(cpu, CS), 2) || pushValue(cpu, load<u64>(cpu, CPU_RIP), 2)) return 1;
  setStackPointer(cpu, stackPointer, stackPointerMask);
  setRealSegment(cpu, CS, target >> 16);
  store<u64>(cpu, target & 0xffff, CPU_RIP);
  enterHandler(cpu, RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
  return 0;
}

/** Reads and checks what all protected-mode gates share. The gate's words are in CPU_IMAGE. */
function fetchGate(cpu: u32, vector: u32, kind: u32, bytes: u32): i32 {
  const error = (vector << 3) | ERROR_IDT | eventExt;
  // GUEST: the vector is bounded by the IDT's limit.
  if (vector * bytes + bytes - 1 > load<u32>(cpu, CPU_IDTR_LIMIT)) return raiseGp(cpu, error);
  const image: u32 = cpu + CPU_IMAGE;
  if (readSystem(cpu, systemAddress(cpu, load<u64>(cpu, CPU_IDTR_BASE) + vector * bytes), image, bytes)) return 1;
  const attr = load<u32>(image, 4) >> 8, type = attr & (ATTR_TYPE | ATTR_S);
  const legacy = type == TYPE_INTERRUPT_GATE16 || type == TYPE_TRAP_GATE16 || type == TYPE_TASK_GATE;
  if (type != TYPE_INTERRUPT_GATE32 && type != TYPE_TRAP_GATE32 && (bytes == 16 || !legacy)) return raiseGp(cpu, error);
  const software = kind == INT_SOFTWARE || kind == INT_SOFTWARE_EXCEPTION;
  if (software && attrDpl(attr) < cpl(cpu)) return raiseGp(cpu, error);
  if (!(attr & ATTR_PRESENT)) return raise(cpu, EXC_NP, error);
  return 0;
}

function deliverLong(cpu: u32, vector: u32, kind: u32, flags: u32, withError: bool, error: u32): i32 {
  if (fetchGate(cpu, vector, kind, 16)) return 1;
  const image: u32 = cpu + CPU_IMAGE;
  const low = load<u32>(image), high = load<u32>(image, 4);
  const selector = low >> 16, ist = high & 7, interrupt = ((high >> 8) & 1) == 0;
  const target = <u64>((low & 0xffff) | (high & 0xffff0000)) | (<u64>load<u32>(image, 8) << 32);
  if (fetchCode(cpu, selector, EXC_GP)) return 1;
  const attr = descAttr(), dpl = attrDpl(attr), privilege = cpl(cpu);
  if (dpl > privilege || (attr & (ATTR_L | ATTR_DB)) != ATTR_L) return raiseSelector(cpu, EXC_GP, selector);
  if (takeCode(cpu, selector)) return 1;
  const inner = codeConforming(attr) ? privilege : dpl;
  let rsp = gpr(cpu, RSP);
  if (ist) {
    if (readTss(cpu, 0x1c + ist * 8, 8)) return 1;
    rsp = popped;
  } else if (inner != privilege) {
    if (readTss(cpu, 4 + inner * 8, 8)) return 1;
    rsp = popped;
  }
  if (checkTarget(cpu, target)) return 1;
  rsp &= ~(<u64>15);
  const bytes: u32 = withError ? 48 : 40;
  rsp -= bytes;
  if (!canonical(rsp) || !canonical(rsp + bytes - 1)) return raise(cpu, EXC_SS, eventExt);
  let at = image;
  if (withError) {
    store<u64>(at, error);
    at += 8;
  }
  store<u64>(at, load<u64>(cpu, CPU_RIP));
  store<u64>(at, segSelector(cpu, CS), 8);
  store<u64>(at, flags, 16);
  store<u64>(at, gpr(cpu, RSP), 24);
  store<u64>(at, segSelector(cpu, SS), 32);
  if (writeVirtual(cpu, rsp, image, bytes, inner == 3 ? ACCESS_STACK : ACCESS_STACK | ACCESS_IMPLICIT)) return 1;
  setGpr(cpu, RSP, rsp);
  if (inner != privilege) setNullSegment(cpu, SS, inner, inner);
  commitCode(cpu, (selector & 0xfffc) | inner, target);
  enterHandler(cpu, RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | (interrupt ? RFLAGS_IF : 0));
  return 0;
}

function deliverProtected(cpu: u32, vector: u32, kind: u32, flags: u32, withError: bool, error: u32): i32 {
  if (kind == INT_SOFTWARE && vm86(cpu) && iopl(cpu) < 3) return raiseGp(cpu, 0);
  if (fetchGate(cpu, vector, kind, 8)) return 1;
  const image: u32 = cpu + CPU_IMAGE;
  const low = load<u32>(image), high = load<u32>(image, 4), type = (high >> 8) & 15;
  const selector = low >> 16;
  if (type == TYPE_TASK_GATE) {
    if (switchTaskGate(cpu, selector, TASK_EVENT)) return 1;
    // The trap that the new TSS asks for comes behind the error code.
    if (withError && (load<i32>(cpu, CPU_EXC) < 0 || load<i32>(cpu, CPU_EXC) == EXC_DB)) pushTaskError(cpu, error);
    return 0;
  }
  const bytes: u32 = type >= TYPE_INTERRUPT_GATE32 ? 4 : 2;
  const target = <u64>((low & 0xffff) | (bytes == 4 ? high & 0xffff0000 : 0));
  if (fetchCode(cpu, selector, EXC_GP)) return 1;
  const attr = descAttr(), dpl = attrDpl(attr), privilege: u32 = vm86(cpu) ? 3 : cpl(cpu);
  if (dpl > privilege) return raiseSelector(cpu, EXC_GP, selector);
  const inner = codeConforming(attr) ? privilege : dpl;
  const fromVm86 = vm86(cpu);
  if (fromVm86 && inner != 0) return raiseSelector(cpu, EXC_GP, selector);
  if (takeCode(cpu, selector)) return 1;
  const oldPointer = gpr(cpu, RSP), oldSelector = segSelector(cpu, SS);
  if (inner != privilege) {
    if (fetchInnerStack(cpu, inner)) return 1;
    if (checkTarget(cpu, target)) return 1;
    useInnerStack(inner);
    if (fromVm86) {
      if (pushValue(cpu, segSelector(cpu, GS), bytes) || pushValue(cpu, segSelector(cpu, FS), bytes) ||
          pushValue(cpu, segSelector(cpu, DS), bytes) || pushValue(cpu, segSelector(cpu, ES), bytes)) return 1;
    }
    if (pushValue(cpu, oldSelector, bytes) || pushValue(cpu, oldPointer, bytes)) return 1;
  } else {
    if (checkTarget(cpu, target)) return 1;
    useCurrentStack(cpu);
  }
  if (pushValue(cpu, flags, bytes) || pushValue(cpu, segSelector(cpu, CS), bytes) || pushValue(cpu, load<u64>(cpu, CPU_RIP), bytes)) return 1;
  if (withError && pushValue(cpu, error, bytes)) return 1;
  if (inner != privilege) {
    if (fromVm86) {
      setNullSegment(cpu, GS, 0, 0);
      setNullSegment(cpu, FS, 0, 0);
      setNullSegment(cpu, DS, 0, 0);
      setNullSegment(cpu, ES, 0, 0);
    }
    setSegment(cpu, SS, innerSelector, innerBase, innerLimit, innerAttr);
  }
  setStackPointer(cpu, stackPointer, stackPointerMask);
  commitCode(cpu, (selector & 0xfffc) | inner, target);
  const interrupt = (type & 1) == 0;
  enterHandler(cpu, RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | (interrupt ? RFLAGS_IF : 0));
  return 0;
}

/** Delivers one event at CPU_RIP. Nonzero = a fault is pending and nothing of the program's state changed. */
function deliver(cpu: u32, vector: u32, kind: u32, withError: bool, error: u32): i32 {
  const software = kind == INT_SOFTWARE || kind == INT_SOFTWARE_EXCEPTION;
  setEventExt(software ? 0 : 1);
  let flags = getFlags(cpu);
  const breakpoint = takeFault() && vector == EXC_DB;
  if (kind == INT_EXCEPTION && (isFault(vector) || breakpoint)) flags |= RFLAGS_RF;
  const event = kind == INT_EXCEPTION || kind == INT_EXTERNAL || kind == INT_NMI;
  if (event) beginDelivery(cpu);
  let status: i32;
  // A store into a page with decoded code asks for a retry (CPU_EXC = -1): the code has been dropped by then.
  let tries = 0;
  do {
    store<i32>(cpu, -1, CPU_EXC);
    if (!protectedMode(cpu)) status = deliverReal(cpu, vector, flags);
    else if (longMode(cpu)) status = deliverLong(cpu, vector, kind, flags, withError, error);
    else status = deliverProtected(cpu, vector, kind, flags, withError, error);
    tries++;
  } while (status && load<i32>(cpu, CPU_EXC) < 0 && tries < 4);
  setEventExt(0);
  if (!status) {
    if (kind == INT_PRIVILEGED_SOFTWARE) takeHits(cpu);
    store<u32>(cpu, 0, CPU_INT_SHADOW);
    // INT n clears TF before the trap after it would be taken.
    if (event) deliveryDone(cpu);
    else if (flags & RFLAGS_TF) store<u32>(cpu, 1, CPU_NO_STEP);
  }
  return status;
}

/** One exception, with what goes before the frame: CR2, DR7.GD. True = delivered. */
function deliverOnce(cpu: u32, vector: i32, error: u32): bool {
  if (vector == EXC_PF) store<u64>(cpu, load<u64>(cpu, CPU_EXC_CR2), CPU_CR2);
  if (vector == EXC_DB) store<u64>(cpu, load<u64>(cpu, CPU_DR7) & ~(<u64>0x2000), CPU_DR7);
  return deliver(cpu, vector, INT_EXCEPTION, hasErrorCode(vector), error) == 0;
}

/** Delivers the exception pending in CPU_EXC at CPU_RIP. A triple fault sets CPU_EXIT. */
export function deliverException(cpu: u32): i32 {
  let vector = load<i32>(cpu, CPU_EXC), error = load<u32>(cpu, CPU_EXC_ERROR);
  while (!deliverOnce(cpu, vector, error)) {
    const second = load<i32>(cpu, CPU_EXC);
    if (vector == EXC_DF || second < 0) {
      store<i32>(cpu, -1, CPU_EXC);
      store<u32>(cpu, EXIT_SHUTDOWN, CPU_EXIT);
      return 0;
    }
    if ((contributory(vector) && contributory(second)) || (vector == EXC_PF && (second == EXC_PF || contributory(second)))) {
      if (second == EXC_PF) store<u64>(cpu, load<u64>(cpu, CPU_EXC_CR2), CPU_CR2);
      vector = EXC_DF;
      error = 0;
    } else {
      vector = second;
      error = load<u32>(cpu, CPU_EXC_ERROR);
    }
  }
  return 0;
}

/**
 * Delivers an interrupt (INT_EXTERNAL, INT_NMI) or an INT instruction, whose CPU_RIP is the next instruction's. A fault is
 * pending for an instruction (nonzero), and already delivered for an interrupt (0).
 */
export function deliverInterrupt(cpu: u32, vector: u32, kind: u32): i32 {
  count(cpu, EXIT_INTERRUPT);
  const failed = deliver(cpu, vector, kind, false, 0);
  const instruction = kind != INT_EXTERNAL && kind != INT_NMI;
  if (failed && instruction) return 1;
  if (kind == INT_NMI) store<u32>(cpu, 1, CPU_NMI_BLOCKED);
  if (failed) deliverException(cpu);
  return 0;
}

/** INTO: #OF through the gate when OF is set; else CPU_RIP, the next instruction, is where to go on. */
export function into(cpu: u32): i32 {
  return getFlags(cpu) & RFLAGS_OF ? deliverInterrupt(cpu, EXC_OF, INT_SOFTWARE_EXCEPTION) : 0;
}
