/** Comparison and examination: FCOM FUCOM FCOMI FUCOMI FTST FXAM and relatives (Intel SDM volume 2). */
import { CPU_FSW } from "../../layout";
import { C1, clearExceptions, DE, dropFlags, exc, IE, INTEGER_BIT, raiseFlags, SF } from "./core";
import { loadF32, loadF64, loadInt } from "./load";
import { classify, isDenormal, isNormal, normalE, normalSig, outSe, outSig, QNAN, ZERO } from "./number";
import { C0, C2, C3, commit, isEmpty, OPERAND_EXCEPTIONS, pops, seAt, setConditions, sigAt, stAt } from "./registers";

/** Condition bits of a compared with b; `quiet` forgives quiet NaNs. */
function relate(aSig: u64, aSe: u32, bSig: u64, bSe: u32, quiet: bool): u32 {
  if (isNormal(aSig, aSe) && isNormal(bSig, bSe)) {
    const negative = aSe >> 15, ae = aSe & 0x7fff, be = bSe & 0x7fff;
    if (negative != bSe >> 15) return negative ? C0 : 0;
    if (ae == be && aSig == bSig) return C3;
    return (ae < be || (ae == be && aSig < bSig)) != (negative != 0) ? C0 : 0;
  }
  const ka = classify(aSig, aSe);
  const a = normalSig, ea = normalE;
  const kb = classify(bSig, bSe);
  const b = normalSig, eb = normalE;
  if (ka >= QNAN || kb >= QNAN) {
    dropFlags(DE);
    if (!quiet || ka > QNAN || kb > QNAN) raiseFlags(IE);
    return C0 | C2 | C3;
  }
  if (isDenormal(aSig, aSe) || isDenormal(bSig, bSe)) raiseFlags(DE);
  if (ka == ZERO && kb == ZERO) return C3;
  const na = aSe >> 15, nb = bSe >> 15;
  if (ka == ZERO) return nb ? 0 : C0;
  if (kb == ZERO || na != nb) return na ? C0 : 0;
  // Same sign: infinity has the largest exponent of all.
  const fa = ka == 2 ? 0x8000 : ea, fb = kb == 2 ? 0x8000 : eb;
  if (fa == fb && (ka == 2 || a == b)) return C3;
  const less = fa < fb || (fa == fb && a < b);
  return less != (na != 0) ? C0 : 0;
}

/** Flags, conditions (also when an unmasked exception is pending then) and pops after a comparison. */
function settle(cpu: u32, conditions: u32, popCount: u32): void {
  const stopped = (commit(cpu) & OPERAND_EXCEPTIONS) != 0;
  setConditions(cpu, conditions);
  if (!stopped) pops(cpu, popCount);
}

@inline function stackFault(): u32 {
  clearExceptions();
  raiseFlags(IE | SF);
  return C0 | C2 | C3;
}

/** ST0 with ST(i). */
export function fpuCompare(cpu: u32, i: u32, quiet: u32, popCount: u32): void {
  let conditions: u32;
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) conditions = stackFault();
  else {
    clearExceptions();
    const a = stAt(cpu, 0), b = stAt(cpu, i);
    conditions = relate(sigAt(a), seAt(a), sigAt(b), seAt(b), quiet != 0);
  }
  settle(cpu, conditions, popCount);
}

function compareLoaded(cpu: u32, popCount: u32): void {
  let conditions: u32;
  if (isEmpty(cpu, 0)) conditions = stackFault();
  else {
    const a = stAt(cpu, 0);
    conditions = relate(sigAt(a), seAt(a), outSig, outSe, false);
  }
  settle(cpu, conditions, popCount);
}

export function fpuCompareF32(cpu: u32, bits: u32, popCount: u32): void {
  clearExceptions();
  loadF32(bits);
  compareLoaded(cpu, popCount);
}

export function fpuCompareF64(cpu: u32, bits: u64, popCount: u32): void {
  clearExceptions();
  loadF64(bits);
  compareLoaded(cpu, popCount);
}

export function fpuCompareInt(cpu: u32, value: i64, popCount: u32): void {
  clearExceptions();
  loadInt(value);
  compareLoaded(cpu, popCount);
}

/** FTST: ST0 with 0. */
export function fpuTest(cpu: u32): void {
  let conditions: u32;
  if (isEmpty(cpu, 0)) conditions = stackFault();
  else {
    clearExceptions();
    const a = stAt(cpu, 0);
    conditions = relate(sigAt(a), seAt(a), 0, 0, false);
  }
  settle(cpu, conditions, 0);
}

/** FCOMI, FUCOMI: bits ZF PF CF of RFLAGS, also when an unmasked exception is pending then. Pops. */
export function fpuCompareFlags(cpu: u32, i: u32, quiet: u32, popCount: u32): i32 {
  let conditions: u32;
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) conditions = stackFault();
  else {
    clearExceptions();
    const a = stAt(cpu, 0), b = stAt(cpu, i);
    conditions = relate(sigAt(a), seAt(a), sigAt(b), seAt(b), quiet != 0);
  }
  const fsw = load<u16>(cpu, CPU_FSW);
  const stopped = (commit(cpu) & OPERAND_EXCEPTIONS) != 0;
  if (!(exc & SF)) store<u16>(cpu, <u16>(<u32>load<u16>(cpu, CPU_FSW) | (<u32>fsw & C1)), CPU_FSW); // C1 stays
  if (!stopped) pops(cpu, popCount);
  // C0 is bit 8, C2 bit 10, C3 bit 14: CF, PF, ZF in their order.
  return <i32>((conditions >> 8) & 0x45);
}

/** FXAM: C3 C2 C0 tell the class, C1 the sign; never an exception. */
export function fpuExamine(cpu: u32): void {
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at), e = se & 0x7fff;
  let conditions: u32;
  if (isEmpty(cpu, 0)) conditions = C3 | C0;
  else if (e == 0) conditions = sig == 0 ? C3 : C3 | C2;
  else if (!(sig & INTEGER_BIT)) conditions = 0;
  else if (e == 0x7fff) conditions = sig == INTEGER_BIT ? C2 | C0 : C0;
  else conditions = C2;
  if (se >> 15) conditions |= C1;
  store<u16>(cpu, <u16>((<u32>load<u16>(cpu, CPU_FSW) & ~(C0 | C1 | C2 | C3)) | conditions), CPU_FSW);
}
