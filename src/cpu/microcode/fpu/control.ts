/** Stack and control instructions: FXCH FCMOVcc FFREE FINCSTP FDECSTP FNINIT FNCLEX FLDCW FNSTSW; MMX's use of the registers. */
import { CPU_FCW, CPU_FDP, CPU_FIP, CPU_FCS, CPU_FDS, CPU_FOP, CPU_FPR, CPU_FSW, CPU_FTAG, CPU_FTOP } from "../../layout";
import { C1, clearExceptions, IE, raiseFlags, SF } from "./core";
import {
  commit, fcwOf, FSW_B, FSW_ES, INDEFINITE_SE, INDEFINITE_SIG, isEmpty, OPERAND_EXCEPTIONS, physical, pop, put, seAt, setTag, sigAt,
  stAt, underflow,
} from "./registers";

@inline function clearC1(cpu: u32): void { store<u16>(cpu, <u16>(<u32>load<u16>(cpu, CPU_FSW) & ~C1), CPU_FSW); }

/** FXCH: empty registers count as indefinite when the fault is masked. */
export function fpuExchange(cpu: u32, i: u32): void {
  const a = stAt(cpu, 0), b = stAt(cpu, i);
  const emptyA = isEmpty(cpu, 0), emptyB = isEmpty(cpu, i);
  if (emptyA || emptyB) {
    clearExceptions();
    raiseFlags(IE | SF);
    if ((commit(cpu) & OPERAND_EXCEPTIONS) != 0) return;
    if (emptyA) put(a, INDEFINITE_SIG, INDEFINITE_SE);
    if (emptyB) put(b, INDEFINITE_SIG, INDEFINITE_SE);
    setTag(cpu, 0);
    setTag(cpu, i);
  } else clearC1(cpu);
  const sig = sigAt(a), se = seAt(a);
  put(a, sigAt(b), seAt(b));
  put(b, sig, se);
}

/** FCMOVcc: ST0 = ST(i) when `condition`; both must hold something either way. */
export function fpuMove(cpu: u32, i: u32, condition: u32): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    underflow(cpu, 0, 0);
    return;
  }
  if (!condition) return;
  const at = stAt(cpu, i);
  put(stAt(cpu, 0), sigAt(at), seAt(at));
}

/** FFREE (popCount 0), FFREEP (1). */
export function fpuFree(cpu: u32, i: u32, popCount: u32): void {
  store<u8>(cpu, <u8>(<u32>load<u8>(cpu, CPU_FTAG) & ~(<u32>1 << physical(cpu, i))), CPU_FTAG);
  clearC1(cpu);
  if (popCount) pop(cpu);
}

/** FINCSTP (1), FDECSTP (-1). */
export function fpuRotate(cpu: u32, step: i32): void {
  store<u32>(cpu, (load<u32>(cpu, CPU_FTOP) + step) & 7, CPU_FTOP);
  clearC1(cpu);
}

export function fpuInit(cpu: u32): void {
  store<u16>(cpu, 0x37f, CPU_FCW);
  store<u16>(cpu, 0, CPU_FSW);
  store<u32>(cpu, 0, CPU_FTOP);
  store<u8>(cpu, 0, CPU_FTAG);
  store<u16>(cpu, 0, CPU_FOP);
  store<u64>(cpu, 0, CPU_FIP);
  store<u64>(cpu, 0, CPU_FDP);
  store<u16>(cpu, 0, CPU_FCS);
  store<u16>(cpu, 0, CPU_FDS);
}

/** FNCLEX: exceptions, SF, ES and B go; the condition codes stay. */
export function fpuClear(cpu: u32): void {
  store<u16>(cpu, <u16>(<u32>load<u16>(cpu, CPU_FSW) & 0x7f00), CPU_FSW);
}

/** ES and B follow from flags and masks when either was loaded. */
export function summarise(cpu: u32): void {
  let fsw: u32 = load<u16>(cpu, CPU_FSW);
  if ((fsw & 0x3f & ~fcwOf(cpu)) != 0) fsw |= FSW_ES | FSW_B;
  else fsw &= ~(FSW_ES | FSW_B);
  store<u16>(cpu, <u16>fsw, CPU_FSW);
}

export function fpuLoadControl(cpu: u32, value: u32): void {
  setControl(cpu, value);
  summarise(cpu);
}

/** FCW: reserved bits are fixed (bit 6 set, 7 and 13..15 clear). */
@inline export function setControl(cpu: u32, value: u32): void {
  store<u16>(cpu, <u16>((value & 0x1f3f) | 0x40), CPU_FCW);
}

/** FSW with TOP in its place. */
@inline export function statusWord(cpu: u32): u32 {
  return (<u32>load<u16>(cpu, CPU_FSW) & ~0x3800) | (load<u32>(cpu, CPU_FTOP) << 11);
}
export function fpuStatus(cpu: u32): u32 { return statusWord(cpu); }

@inline export function setStatus(cpu: u32, fsw: u32): void {
  store<u16>(cpu, <u16>(fsw & ~0x3800), CPU_FSW);
  store<u32>(cpu, (fsw >> 11) & 7, CPU_FTOP);
}

/** What every MMX instruction but EMMS does first: TOP = 0, all registers valid. */
export function mmxEnter(cpu: u32): void {
  store<u32>(cpu, 0, CPU_FTOP);
  store<u8>(cpu, 0xff, CPU_FTAG);
}

export function mmxEmpty(cpu: u32): void {
  store<u32>(cpu, 0, CPU_FTOP);
  store<u8>(cpu, 0, CPU_FTAG);
}

/** Writes MM(i): sign and exponent become ones. */
export function mmxPut(cpu: u32, i: u32, value: u64): void {
  store<u64>(cpu + (i << 4), value, CPU_FPR);
  store<u16>(cpu + (i << 4), 0xffff, CPU_FPR + 8);
}
