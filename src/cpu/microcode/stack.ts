/**
 * Stacks as microcode pushes to and pops from them: a stack under construction, which becomes SS:rSP only when its user
 * commits. What a fault leaves behind below the old top is invisible to the program.
 */
import { ACCESS_IMPLICIT, ACCESS_STACK, ACCESS_WRITE, CPU_SCRATCH, CPU_SEG, EXC_SS, EXC_TS, SEG_ATTR, SEG_BASE, SEG_LIMIT, SEG_SIZE, SS, TR } from "../layout";
import { ATTR_CODE, ATTR_DB, ATTR_PRESENT, ATTR_S, ATTR_WRITABLE } from "./bits";
import {
  attrDpl, descAttr, descBase, descLimit, eventExt, fetchDescriptor, raiseSelector, systemAddress, touchDescriptor,
} from "./descriptors";
import { probeAccess, readSystem, readVirtual, writeVirtual } from "./memory";
import { canonical, code64, gpr, raise, RSP, segAttr, segBase, segLimit, segSelector, stackMask } from "./state";
import { withinLimit } from "./segments";

/** The stack at hand. `stackWide`: 64-bit mode, no segment. */
export let stackPointer: u64 = 0;
export let stackPointerMask: u64 = 0;
let stackBase: u64 = 0;
let stackLimit: u32 = 0;
let stackAttr: u32 = 0;
let stackAccess: u32 = 0;
let stackError: u32 = 0;
let stackWide: bool = false;

/** The value of the last `popValue`. */
export let popped: u64 = 0;

/** An inner stack segment found by `fetchInnerStack`. */
export let innerSelector: u32 = 0;
export let innerBase: u64 = 0;
export let innerLimit: u32 = 0;
export let innerAttr: u32 = 0;
export let innerPointer: u64 = 0;

/** Works on the program's own stack, at its own privilege. */
export function useCurrentStack(cpu: u32): void {
  stackPointer = gpr(cpu, RSP);
  stackPointerMask = stackMask(cpu);
  stackBase = segBase(cpu, SS);
  stackLimit = segLimit(cpu, SS);
  stackAttr = segAttr(cpu, SS);
  stackAccess = ACCESS_STACK;
  stackError = 0;
  stackWide = code64(cpu);
}

/** Works on the stack segment that `fetchInnerStack` found, at `privilege`. */
export function useInnerStack(privilege: u32): void {
  stackPointer = innerPointer;
  stackPointerMask = innerAttr & ATTR_DB ? 0xffffffff : 0xffff;
  stackBase = innerBase;
  stackLimit = innerLimit;
  stackAttr = innerAttr;
  stackAccess = privilege == 3 ? ACCESS_STACK : ACCESS_STACK | ACCESS_IMPLICIT;
  stackError = (innerSelector & 0xfffc) | eventExt;
  stackWide = false;
}

/** Works at `rsp` in 64-bit mode, at `privilege`. */
export function useWideStack(rsp: u64, privilege: u32): void {
  stackPointer = rsp;
  stackPointerMask = ~(<u64>0);
  stackAccess = privilege == 3 ? ACCESS_STACK : ACCESS_STACK | ACCESS_IMPLICIT;
  stackError = eventExt;
  stackWide = true;
}

/** Linear address of `bytes` at the offset; nonzero = #SS pending. */
function stackLinear(cpu: u32, offset: u64, bytes: u32): i32 {
  if (stackWide) {
    if (!canonical(offset)) return raise(cpu, EXC_SS, stackError);
    store<u64>(cpu, offset, CPU_SCRATCH);
    return 0;
  }
  if (!withinLimit(stackLimit, stackAttr, offset, bytes)) return raise(cpu, EXC_SS, stackError);
  store<u64>(cpu, (stackBase + offset) & 0xffffffff, CPU_SCRATCH);
  return 0;
}

export function pushValue(cpu: u32, value: u64, bytes: u32): i32 {
  const offset = (stackPointer - bytes) & stackPointerMask;
  if (stackLinear(cpu, offset, bytes)) return 1;
  const va = load<u64>(cpu, CPU_SCRATCH);
  store<u64>(cpu, value, CPU_SCRATCH);
  if (writeVirtual(cpu, va, cpu + CPU_SCRATCH, bytes, stackAccess)) return 1;
  stackPointer = offset;
  return 0;
}

/** Pops into `popped`, zero-extended. */
export function popValue(cpu: u32, bytes: u32): i32 {
  if (peekValue(cpu, 0, bytes)) return 1;
  stackPointer = (stackPointer + bytes) & stackPointerMask;
  return 0;
}

/** Reads at the top plus `above` into `popped`. */
export function peekValue(cpu: u32, above: u64, bytes: u32): i32 {
  if (stackLinear(cpu, (stackPointer + above) & stackPointerMask, bytes)) return 1;
  const va = load<u64>(cpu, CPU_SCRATCH);
  store<u64>(cpu, 0, CPU_SCRATCH);
  if (readVirtual(cpu, va, cpu + CPU_SCRATCH, bytes, stackAccess)) return 1;
  popped = load<u64>(cpu, CPU_SCRATCH);
  return 0;
}

/** Could `bytes` be written at `offset`? */
export function probeStack(cpu: u32, offset: u64, bytes: u32): i32 {
  if (stackLinear(cpu, offset, bytes)) return 1;
  return probeAccess(cpu, load<u64>(cpu, CPU_SCRATCH), bytes, stackAccess | ACCESS_WRITE);
}

/** Moves the top by `bytes` without touching memory. */
export function moveStack(bytes: u64): void { stackPointer = (stackPointer + bytes) & stackPointerMask; }

/** Reads `bytes` at `offset` of the current TSS into `popped`; beyond its limit is #TS with the TSS's selector. */
export function readTss(cpu: u32, offset: u32, bytes: u32): i32 {
  const tr: u32 = cpu + CPU_SEG + TR * SEG_SIZE;
  // GUEST: bounded by the TSS's limit.
  if (offset + bytes - 1 > load<u32>(tr, SEG_LIMIT)) return raiseSelector(cpu, EXC_TS, segSelector(cpu, TR));
  store<u64>(cpu, 0, CPU_SCRATCH);
  if (readSystem(cpu, systemAddress(cpu, load<u64>(tr, SEG_BASE) + offset), cpu + CPU_SCRATCH, bytes)) return 1;
  popped = load<u64>(cpu, CPU_SCRATCH);
  return 0;
}

/** Finds and checks the stack of inner privilege `privilege` that the TSS names (outside IA-32e mode). */
export function fetchInnerStack(cpu: u32, privilege: u32): i32 {
  const wide = (load<u32>(cpu, CPU_SEG + TR * SEG_SIZE + SEG_ATTR) & 8) != 0;
  if (wide ? readTss(cpu, 4 + privilege * 8, 8) : readTss(cpu, 2 + privilege * 4, 4)) return 1;
  const pointer = wide ? popped & 0xffffffff : popped & 0xffff;
  const selector = <u32>(wide ? popped >> 32 : popped >> 16) & 0xffff;
  innerPointer = pointer;
  return checkInnerStack(cpu, selector, privilege, EXC_TS);
}

/** Checks a stack segment for `privilege`: faults are `vector`, or #SS when it is not present. Leaves it in inner*. */
export function checkInnerStack(cpu: u32, selector: u32, privilege: u32, vector: i32): i32 {
  if (!(selector & 0xfffc)) return raise(cpu, vector, vector == EXC_TS ? (selector & 0xfffc) | eventExt : eventExt);
  if (fetchDescriptor(cpu, selector, vector)) return 1;
  const attr = descAttr(), kind = attr & (ATTR_S | ATTR_CODE | ATTR_WRITABLE);
  if ((selector & 3) != privilege || attrDpl(attr) != privilege || kind != (ATTR_S | ATTR_WRITABLE)) return raiseSelector(cpu, vector, selector);
  if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_SS, selector);
  if (touchDescriptor(cpu)) return 1;
  innerSelector = selector;
  innerBase = descBase();
  innerLimit = descLimit();
  innerAttr = descAttr();
  return 0;
}
