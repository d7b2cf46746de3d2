/** FADD FSUB FMUL FDIV and their variants, FSQRT, FCHS, FABS (Intel SDM volume 2). */
import { C1, clearExceptions, DE, dropFlags, raiseFlags, ZE } from "./core";
import {
  BIAS, classify, EMAX, FINITE, indefinite, INFINITE, isDenormal, isNormal, normalE, normalSig, outSe, outSig, propagate,
  propagateOne, QNAN, result, round, ZERO,
} from "./number";
import { addRaw, divideRaw, multiplyRaw, rawE, rawLow, rawNegative, rawSig, squareRootRaw } from "./raw";
import { fcwOf, finishTo, isEmpty, put, seAt, sigAt, stAt, underflow } from "./registers";
import { loadF32, loadF64, loadInt } from "./load";
import { CPU_FSW } from "../../layout";

// Operations, numbered as in the opcodes.
export const ADD: u32 = 0;
export const MUL: u32 = 1;
export const SUB: u32 = 4;
export const SUBR: u32 = 5;
export const DIV: u32 = 6;
export const DIVR: u32 = 7;

const INFINITY_SIG: u64 = 0x8000000000000000;

/** Operands that are not both normal numbers. The operation is ADD, MUL, SUB or DIV. */
function arithmeticSpecial(op: u32, aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32): void {
  const ka = classify(aSig, aSe);
  const a = normalSig, ea = normalE;
  const kb = classify(bSig, bSe);
  const b = normalSig, eb = normalE;
  if (ka >= QNAN || kb >= QNAN) {
    propagate(ka, aSig, aSe, kb, bSig, bSe);
    return;
  }
  const denormal = isDenormal(aSig, aSe) || isDenormal(bSig, bSe);
  const na = aSe >> 15;
  let nb = bSe >> 15;
  if (op == ADD || op == SUB) {
    if (op == SUB) nb ^= 1;
    if (ka == INFINITE && kb == INFINITE && na != nb) {
      indefinite();
      return;
    }
    if (denormal) raiseFlags(DE);
    if (ka == INFINITE) result(aSig, aSe);
    else if (kb == INFINITE) result(INFINITY_SIG, <u32>EMAX | (nb << 15));
    else if (ka == ZERO && kb == ZERO) result(0, (na == nb ? na : u32((fcw & 0xc00) == 0x400)) << 15);
    else if (ka == ZERO) round(nb, eb, b, 0, fcw);
    else if (kb == ZERO) round(na, ea, a, 0, fcw);
    else addFinite(na, ea, a, nb, eb, b, fcw);
    return;
  }
  const negative = na ^ nb;
  if (op == MUL) {
    if ((ka == INFINITE && kb == ZERO) || (ka == ZERO && kb == INFINITE)) {
      indefinite();
      return;
    }
    if (denormal) raiseFlags(DE);
    if (ka == INFINITE || kb == INFINITE) result(INFINITY_SIG, <u32>EMAX | (negative << 15));
    else if (ka == ZERO || kb == ZERO) result(0, negative << 15);
    else {
      multiplyRaw(ea, a, eb, b, BIAS);
      round(negative, rawE, rawSig, rawLow, fcw);
    }
    return;
  }
  if (ka == kb && ka != FINITE) {
    indefinite();
    return;
  }
  if (kb == ZERO && ka == FINITE) {
    dropFlags(DE);
    raiseFlags(ZE);
  } else if (denormal) raiseFlags(DE);
  if (ka == INFINITE || kb == ZERO) result(INFINITY_SIG, <u32>EMAX | (negative << 15));
  else if (ka == ZERO || kb == INFINITE) result(0, negative << 15);
  else {
    divideRaw(ea, a, eb, b, BIAS);
    round(negative, rawE, rawSig, rawLow, fcw);
  }
}

@inline function addFinite(na: u32, ea: i32, a: u64, nb: u32, eb: i32, b: u64, fcw: u32): void {
  addRaw(na, ea, a, nb, eb, b);
  if (rawSig == 0) result(0, u32((fcw & 0xc00) == 0x400) << 15);
  else round(rawNegative, rawE, rawSig, rawLow, fcw);
}

function addNumbers(aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32): void {
  if (isNormal(aSig, aSe) && isNormal(bSig, bSe)) addFinite(aSe >> 15, aSe & 0x7fff, aSig, bSe >> 15, bSe & 0x7fff, bSig, fcw);
  else arithmeticSpecial(ADD, aSig, aSe, bSig, bSe, fcw);
}

function subtractNumbers(aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32): void {
  if (isNormal(aSig, aSe) && isNormal(bSig, bSe)) addFinite(aSe >> 15, aSe & 0x7fff, aSig, (bSe >> 15) ^ 1, bSe & 0x7fff, bSig, fcw);
  else arithmeticSpecial(SUB, aSig, aSe, bSig, bSe, fcw);
}

function multiplyNumbers(aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32): void {
  if (isNormal(aSig, aSe) && isNormal(bSig, bSe)) {
    multiplyRaw(aSe & 0x7fff, aSig, bSe & 0x7fff, bSig, BIAS);
    round((aSe ^ bSe) >> 15, rawE, rawSig, rawLow, fcw);
  } else arithmeticSpecial(MUL, aSig, aSe, bSig, bSe, fcw);
}

function divideNumbers(aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32): void {
  if (isNormal(aSig, aSe) && isNormal(bSig, bSe)) {
    divideRaw(aSe & 0x7fff, aSig, bSe & 0x7fff, bSig, BIAS);
    round((aSe ^ bSe) >> 15, rawE, rawSig, rawLow, fcw);
  } else arithmeticSpecial(DIV, aSig, aSe, bSig, bSe, fcw);
}

/** a op b into outSig, outSe. */
@inline function arithmetic(op: u32, aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32): void {
  switch (op) {
    case ADD: addNumbers(aSig, aSe, bSig, bSe, fcw); break;
    case MUL: multiplyNumbers(aSig, aSe, bSig, bSe, fcw); break;
    case SUB: subtractNumbers(aSig, aSe, bSig, bSe, fcw); break;
    case SUBR: subtractNumbers(bSig, bSe, aSig, aSe, fcw); break;
    case DIV: divideNumbers(aSig, aSe, bSig, bSe, fcw); break;
    default: divideNumbers(bSig, bSe, aSig, aSe, fcw); break;
  }
}

/** ST(dst) = ST(dst) op ST(src), then `popCount` pops. */
export function fpuArith(cpu: u32, op: u32, dst: u32, src: u32, popCount: u32): void {
  if (isEmpty(cpu, dst) || isEmpty(cpu, src)) {
    underflow(cpu, dst, popCount);
    return;
  }
  clearExceptions();
  const a = stAt(cpu, dst), b = stAt(cpu, src);
  arithmetic(op, sigAt(a), seAt(a), sigAt(b), seAt(b), fcwOf(cpu));
  finishTo(cpu, dst, outSig, outSe, popCount);
}

@inline function arithmeticLoaded(cpu: u32, op: u32): void {
  const a = stAt(cpu, 0);
  arithmetic(op, sigAt(a), seAt(a), outSig, outSe, fcwOf(cpu));
  finishTo(cpu, 0, outSig, outSe, 0);
}

/** ST0 = ST0 op m32. */
export function fpuArithF32(cpu: u32, op: u32, bits: u32): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  loadF32(bits);
  arithmeticLoaded(cpu, op);
}

/** ST0 = ST0 op m64. */
export function fpuArithF64(cpu: u32, op: u32, bits: u64): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  loadF64(bits);
  arithmeticLoaded(cpu, op);
}

/** ST0 = ST0 op integer. */
export function fpuArithInt(cpu: u32, op: u32, value: i64): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  loadInt(value);
  arithmeticLoaded(cpu, op);
}

export function fpuSqrt(cpu: u32): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at);
  const kind = classify(sig, se);
  if (kind >= QNAN) propagateOne(kind, sig, se);
  else if (kind == ZERO) result(sig, se);
  else if (se >> 15) indefinite();
  else if (kind == INFINITE) result(sig, se);
  else {
    if (isDenormal(sig, se)) raiseFlags(DE);
    squareRootRaw(normalE, normalSig, BIAS);
    round(0, rawE, rawSig, rawLow, fcwOf(cpu));
  }
  finishTo(cpu, 0, outSig, outSe, 0);
}

/** FABS (and = 0x7fff, xor = 0) and FCHS (0xffff, 0x8000): no exception but an empty register. */
export function fpuSign(cpu: u32, and: u32, xor: u32): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  const at = stAt(cpu, 0);
  store<u16>(cpu, <u16>(<u32>load<u16>(cpu, CPU_FSW) & ~C1), CPU_FSW);
  put(at, sigAt(at), (seAt(at) & and) ^ xor);
}
