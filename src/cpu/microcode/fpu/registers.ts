/**
 * The x87 register stack in the vCPU state, and how an instruction's exceptions end up in the status word.
 *
 * An instruction gathers flags in `exc` (core.ts) and then calls commit(), which says which of them are unmasked. Operand
 * exceptions (IE DE ZE) that are unmasked leave operands and stack as they were. Source: Intel SDM volume 1, chapter 8.
 */
import { CPU_FCW, CPU_FPR, CPU_FSW, CPU_FTAG, CPU_FTOP } from "../../layout";
import { C1, clearExceptions, DE, exc, IE, QUIET_BIT, INTEGER_BIT, raiseFlags, SF, ZE } from "./core";

export const FSW_ES: u32 = 0x80;
export const FSW_B: u32 = 0x8000;
export const C0: u32 = 0x100;
export const C2: u32 = 0x400;
export const C3: u32 = 0x4000;
export const CONDITIONS: u32 = 0x4700;
/** Exceptions found in the operands, before anything is computed. */
export const OPERAND_EXCEPTIONS: u32 = IE | DE | ZE;

export const INDEFINITE_SIG: u64 = INTEGER_BIT | QUIET_BIT;
export const INDEFINITE_SE: u32 = 0xffff;

@inline export function fcwOf(cpu: u32): u32 { return load<u16>(cpu, CPU_FCW); }
/** Number of the physical register of ST(i). */
@inline export function physical(cpu: u32, i: u32): u32 { return (load<u32>(cpu, CPU_FTOP) + i) & 7; }
/** Address of physical register `p`, less CPU_FPR. */
@inline export function slot(cpu: u32, p: u32): u32 { return cpu + (p << 4); }
@inline export function sigAt(at: u32): u64 { return load<u64>(at, CPU_FPR); }
@inline export function seAt(at: u32): u32 { return load<u16>(at, CPU_FPR + 8); }
@inline export function put(at: u32, sig: u64, se: u32): void {
  store<u64>(at, sig, CPU_FPR);
  store<u16>(at, <u16>se, CPU_FPR + 8);
}
@inline export function stAt(cpu: u32, i: u32): u32 { return slot(cpu, physical(cpu, i)); }
@inline export function isEmpty(cpu: u32, i: u32): bool { return ((<u32>load<u8>(cpu, CPU_FTAG) >> physical(cpu, i)) & 1) == 0; }
@inline export function setTag(cpu: u32, i: u32): void {
  store<u8>(cpu, <u8>(<u32>load<u8>(cpu, CPU_FTAG) | (<u32>1 << physical(cpu, i))), CPU_FTAG);
}
@inline export function pop(cpu: u32): void {
  const top = load<u32>(cpu, CPU_FTOP);
  store<u8>(cpu, <u8>(<u32>load<u8>(cpu, CPU_FTAG) & ~(<u32>1 << top)), CPU_FTAG);
  store<u32>(cpu, (top + 1) & 7, CPU_FTOP);
}
@inline export function pops(cpu: u32, count: u32): void {
  if (count == 0) return;
  pop(cpu);
  if (count > 1) pop(cpu);
}

/** Flags into FSW (C1 as gathered, C0 C2 C3 stay); returns those that are unmasked and makes them pending. */
@inline export function commit(cpu: u32): u32 {
  const masks = fcwOf(cpu);
  const fsw: u32 = <u32>load<u16>(cpu, CPU_FSW) & ~C1;
  const unmasked = exc & 0x3f & ~masks;
  if (unmasked == 0) {
    store<u16>(cpu, <u16>(fsw | exc), CPU_FSW);
    return 0;
  }
  // When an operand stops the instruction, nothing is said of a result.
  const kept = (unmasked & OPERAND_EXCEPTIONS) == 0 ? exc : (exc & SF) != 0 ? exc & (IE | SF | C1) : exc & OPERAND_EXCEPTIONS;
  store<u16>(cpu, <u16>(fsw | kept | FSW_ES | FSW_B), CPU_FSW);
  return unmasked;
}

/** Sets C0 C2 C3 to `bits`. */
@inline export function setConditions(cpu: u32, bits: u32): void {
  store<u16>(cpu, <u16>((<u32>load<u16>(cpu, CPU_FSW) & ~(C0 | C2 | C3)) | bits), CPU_FSW);
}

/** An operand's register was empty: masked, ST(dst) becomes indefinite and the stack pops. True when masked. */
export function underflow(cpu: u32, dst: u32, popCount: u32): bool {
  clearExceptions();
  raiseFlags(IE | SF);
  if (commit(cpu) != 0) return false;
  put(stAt(cpu, dst), INDEFINITE_SIG, INDEFINITE_SE);
  setTag(cpu, dst);
  pops(cpu, popCount);
  return true;
}

/** The same where no register is the destination. */
export function underflowOnly(cpu: u32): bool {
  clearExceptions();
  raiseFlags(IE | SF);
  return commit(cpu) == 0;
}

/** Pushes a value; with the flags gathered so far, or as a stack overflow. */
export function push(cpu: u32, sig: u64, se: u32): void {
  // A denormal that is loaded is pushed even when DE is unmasked.
  if (!isEmpty(cpu, 7)) {
    clearExceptions();
    raiseFlags(IE | SF | C1);
    sig = INDEFINITE_SIG;
    se = INDEFINITE_SE;
  }
  if ((commit(cpu) & (IE | ZE)) != 0) return;
  const top: u32 = (load<u32>(cpu, CPU_FTOP) - 1) & 7;
  store<u32>(cpu, top, CPU_FTOP);
  store<u8>(cpu, <u8>(<u32>load<u8>(cpu, CPU_FTAG) | (<u32>1 << top)), CPU_FTAG);
  put(slot(cpu, top), sig, se);
}

/** Stores a computed result into the register at `at` (of slot()) and pops, unless an operand exception is unmasked. */
@inline export function finishAt(cpu: u32, at: u32, sig: u64, se: u32, popCount: u32): void {
  if ((commit(cpu) & OPERAND_EXCEPTIONS) != 0) return;
  put(at, sig, se);
  pops(cpu, popCount);
}

/** The same by number. */
@inline export function finishTo(cpu: u32, dst: u32, sig: u64, se: u32, popCount: u32): void {
  finishAt(cpu, stAt(cpu, dst), sig, se, popCount);
}
