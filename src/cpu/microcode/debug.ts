/**
 * Hardware breakpoints (Intel SDM volume 3, 17.2): DR0..DR3 by DR7 for fetches, for reads and writes of data, and for ports.
 *
 * While any is enabled, code runs in MODE_TF, one instruction at a time: breakpoints on fetches are looked at when an instruction
 * is about to run (`fetchBreakpoint`), hits on data, found in the slow path that TLB_TAG_WATCH leads to, and on ports, when it
 * is done (`instructionDone`) or, if it is a repeated string instruction, when an element of it is (`iterationDone`).
 */
import {
  ABSENT_FETCH_HOLD, CPU_ABSENT, CPU_CR4, CPU_DR0, CPU_DR6, CPU_DR7, CPU_EXC, CPU_INT_SHADOW, CPU_NO_STEP, CPU_RFLAGS, CPU_STEP_HITS, CPU_STEP_TF, EXC_DB, SHADOW_MOV_SS,
  SHADOW_STI,
} from "../layout";
import { CR4_DE, RFLAGS_RF, RFLAGS_TF } from "./bits";
import { raise } from "./state";

const DR6_BS: u64 = 0x4000;
const ENABLED: u32 = 0xff;
const TYPE_FETCH: u32 = 0;
const TYPE_WRITE: u32 = 1;
const TYPE_PORT: u32 = 2;
const TYPE_ACCESS: u32 = 3;
/** In CPU_STEP_HITS beside the breakpoints: MOV SS came before, so they wait and none on fetches is looked for. */
const HELD: u32 = 0x100;

/** RF is to survive the end of this instruction: IRET loaded it. */
let keepResume: bool = false;
/** The #DB just raised is a fault that pushes RF set: one by DR7.GD; instruction breakpoints leave RF to their handler. */
let faulting: bool = false;

@inline export function breakpointsEnabled(cpu: u32): bool { return (load<u32>(cpu, CPU_DR7) & ENABLED) != 0; }
@inline function enabled(dr7: u32, n: u32): bool { return ((dr7 >> (n << 1)) & 3) != 0; }
@inline function typeOf(dr7: u32, n: u32): u32 { return (dr7 >> (16 + (n << 2))) & 3; }
/** Length in bytes; the code 2 is eight. */
@inline function lengthOf(dr7: u32, n: u32): u32 {
  const code = (dr7 >> (18 + (n << 2))) & 3;
  return code == 2 ? 8 : code + 1;
}

export function keepResumeFlag(): void { keepResume = true; }

/** Raises the fault that DR7.GD asks for. */
export function raiseGeneralDetect(cpu: u32): i32 {
  faulting = true;
  return raise(cpu, EXC_DB, 0);
}

/** Was the pending #DB such a fault? Asked once. */
export function takeFault(): bool {
  const was = faulting;
  faulting = false;
  return was;
}

/** An instruction at linear address `va` is about to run in MODE_TF. Nonzero = #DB pending. */
export function fetchBreakpoint(cpu: u32, va: u64): i32 {
  const rflags = load<u32>(cpu, CPU_RFLAGS), dr7 = load<u32>(cpu, CPU_DR7);
  store<u32>(cpu, rflags & RFLAGS_TF, CPU_STEP_TF);
  const held = load<u32>(cpu, CPU_STEP_HITS);
  if (held & HELD && !(load<u32>(cpu, CPU_ABSENT) & ABSENT_FETCH_HOLD)) return 0;
  // What a faulting instruction hit before its fault is forgotten: it will be executed again.
  if (!(held & HELD)) store<u32>(cpu, 0, CPU_STEP_HITS);
  if (!(dr7 & ENABLED) || (rflags & RFLAGS_RF)) return 0;
  let hits: u64 = 0;
  for (let n: u32 = 0; n < 4; n++) {
    if (typeOf(dr7, n) != TYPE_FETCH || load<u64>(cpu + CPU_DR0 + (n << 3)) != va) continue;
    if (enabled(dr7, n)) hits |= <u64>(1 << n);
  }
  if (!hits) return 0;
  if (held & HELD) {
    hits |= held & 15;
    store<u32>(cpu, 0, CPU_STEP_HITS);
  }
  store<u64>(cpu, (load<u64>(cpu, CPU_DR6) & ~(<u64>15)) | hits, CPU_DR6);
  return raise(cpu, EXC_DB, 0);
}

/** Does a data breakpoint lie in the page at `page`? */
export function watchedPage(cpu: u32, page: u64): bool {
  const dr7 = load<u32>(cpu, CPU_DR7);
  if (!(dr7 & ENABLED)) return false;
  for (let n: u32 = 0; n < 4; n++) {
    if (enabled(dr7, n) && (typeOf(dr7, n) & 1) && (load<u64>(cpu + CPU_DR0 + (n << 3)) & ~(<u64>0xfff)) == page) return true;
  }
  return false;
}

/** Data was accessed in a watched page: remembers the breakpoints that it hit. */
export function watchData(cpu: u32, va: u64, bytes: u32, write: bool): void {
  const dr7 = load<u32>(cpu, CPU_DR7);
  for (let n: u32 = 0; n < 4; n++) {
    const type = typeOf(dr7, n);
    if (!enabled(dr7, n) || (type != TYPE_ACCESS && !(type == TYPE_WRITE && write))) continue;
    const length = lengthOf(dr7, n), at = load<u64>(cpu + CPU_DR0 + (n << 3)) & ~(<u64>(length - 1));
    if (va < at + length && at < va + bytes) hit(cpu, n);
  }
}

@inline function hit(cpu: u32, n: u32): void { store<u32>(cpu, load<u32>(cpu, CPU_STEP_HITS) | ((<u32>1) << n), CPU_STEP_HITS); }

/** Ports were read or written: remembers the breakpoints that this hit. */
export function watchPort(cpu: u32, port: u32, bytes: u32): void {
  const dr7 = load<u32>(cpu, CPU_DR7);
  if (!(dr7 & ENABLED) || !(load<u32>(cpu, CPU_CR4) & CR4_DE)) return;
  for (let n: u32 = 0; n < 4; n++) {
    if (!enabled(dr7, n) || typeOf(dr7, n) != TYPE_PORT) continue;
    const length = lengthOf(dr7, n), at = load<u64>(cpu + CPU_DR0 + (n << 3)) & ~(<u64>(length - 1));
    if (<u64>port < at + length && at < <u64>(port + bytes)) hit(cpu, n);
  }
}

/** A #DB by INT1 tells of data breakpoints that MOV SS held back. */
export function takeHits(cpu: u32): void {
  const hits = load<u32>(cpu, CPU_STEP_HITS) & 15;
  store<u32>(cpu, 0, CPU_STEP_HITS);
  if (hits) store<u64>(cpu, (load<u64>(cpu, CPU_DR6) & ~(<u64>15)) | hits, CPU_DR6);
}

/** An instruction in MODE_TF is done: traps for TF and for data breakpoints. */
export function instructionDone(cpu: u32): void {
  if (!keepResume) store<u32>(cpu, load<u32>(cpu, CPU_RFLAGS) & ~RFLAGS_RF, CPU_RFLAGS);
  keepResume = false;
  const noStep = load<u32>(cpu, CPU_NO_STEP);
  store<u32>(cpu, 0, CPU_NO_STEP);
  if (load<i32>(cpu, CPU_EXC) >= 0) return;
  // After MOV SS the traps wait for the next instruction.
  if (load<u32>(cpu, CPU_INT_SHADOW) == SHADOW_MOV_SS) {
    store<u32>(cpu, SHADOW_STI, CPU_INT_SHADOW);
    store<u32>(cpu, load<u32>(cpu, CPU_STEP_HITS) | HELD, CPU_STEP_HITS);
    return;
  }
  let dr6 = load<u64>(cpu, CPU_DR6) & ~(<u64>15);
  const hits = load<u32>(cpu, CPU_STEP_HITS) & 15;
  const step = load<u32>(cpu, CPU_STEP_TF) != 0 && !noStep;
  store<u32>(cpu, 0, CPU_STEP_HITS);
  if (!hits && !step) return;
  if (step) dr6 |= DR6_BS;
  store<u64>(cpu, dr6 | hits, CPU_DR6);
  raise(cpu, EXC_DB, 0);
}

/** Is the instruction under way one that single-steps? Asked in MODE_TF only. */
@inline export function singleStepping(cpu: u32): bool { return load<u32>(cpu, CPU_STEP_TF) != 0; }

/**
 * An element of a repeated string instruction is done in MODE_TF, and it was not the last. Nonzero = #DB pending, the instruction
 * is to be left here; its frame shows RF set.
 */
export function iterationDone(cpu: u32): i32 {
  if (!load<u32>(cpu, CPU_STEP_HITS) && !singleStepping(cpu)) return 0;
  store<u32>(cpu, load<u32>(cpu, CPU_RFLAGS) | RFLAGS_RF, CPU_RFLAGS);
  keepResume = true;
  instructionDone(cpu);
  return load<i32>(cpu, CPU_EXC) >= 0 ? 1 : 0;
}

/** An exception or interrupt is about to be delivered: what the instruction before it hit goes with its own trap or never. */
export function beginDelivery(cpu: u32): void { store<u32>(cpu, 0, CPU_STEP_HITS); }

/** It was delivered: breakpoints that its frame hit trap before the handler's first instruction. */
export function deliveryDone(cpu: u32): void {
  if (!(load<u32>(cpu, CPU_STEP_HITS) & 15) || load<i32>(cpu, CPU_EXC) >= 0) return;
  takeHits(cpu);
  raise(cpu, EXC_DB, 0);
}
