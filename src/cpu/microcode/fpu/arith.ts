/** FADD FSUB FMUL FDIV and their variants, FSQRT, FCHS, FABS (Intel SDM volume 2). */
import { C1, clearExceptions, DE, dropFlags, exc, INTEGER_BIT, raiseFlags, ZE } from "./core";
import {
  BIAS, classify, EMAX, FINITE, indefinite, INFINITE, isDenormal, isNormal, NEGATIVE, normalE, normalSig, outSe, outSig, propagate,
  propagateOne, QNAN, result, round, ZERO,
} from "./number";
import { addRaw, divideRaw, multiplyRaw, rawE, rawLow, rawNegative, rawSig, squareRootRaw } from "./raw";
import { fcwOf, finishAt, finishTo, isEmpty, pops, put, seAt, sigAt, slot, stAt, underflow } from "./registers";
import { loadF32, loadF64, loadInt } from "./load";
import { CPU_FSW, CPU_FTAG, CPU_FTOP } from "../../layout";

// Operations, numbered as in the opcodes.
export const ADD: u32 = 0;
export const MUL: u32 = 1;
export const SUB: u32 = 4;
export const SUBR: u32 = 5;
export const DIV: u32 = 6;
export const DIVR: u32 = 7;

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
    else if (kb == INFINITE) result(INTEGER_BIT, <u32>EMAX | (nb << 15));
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
    if (ka == INFINITE || kb == INFINITE) result(INTEGER_BIT, <u32>EMAX | (negative << 15));
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
  if (ka == INFINITE || kb == ZERO) result(INTEGER_BIT, <u32>EMAX | (negative << 15));
  else if (ka == ZERO || kb == INFINITE) result(0, negative << 15);
  else {
    divideRaw(ea, a, eb, b, BIAS);
    round(negative, rawE, rawSig, rawLow, fcw);
  }
}

function addFinite(na: u32, ea: i32, a: u64, nb: u32, eb: i32, b: u64, fcw: u32): void {
  addRaw(na, ea, a, nb, eb, b);
  if (rawSig == 0) result(0, u32((fcw & 0xc00) == 0x400) << 15);
  else round(rawNegative, rawE, rawSig, rawLow, fcw);
}

// ---- the common case: normal numbers, nearest, 64 bits, PE masked. No globals, few branches. ----

/** FCW bits that decide: precision, rounding, mask of PE. */
const COMMON_MASK: u32 = 0xf20;
const COMMON: u32 = 0x320;

/** Rounds, stores at `at`, commits and pops; false when the exponent is not ordinary. */
@inline function finishCommon(cpu: u32, at: u32, sign: u32, e: i32, sig: u64, low: u64, popCount: u32): bool {
  if (<u32>(e - 1) >= 0x7ffd) return false;
  const up: u32 = (u32(low > INTEGER_BIT) | (u32(low == INTEGER_BIT) & <u32>sig)) & 1;
  const rounded: u64 = sig + u64(up);
  const carry: u32 = u32(rounded < sig);
  put(at, rounded | (u64(carry) << 63), (<u32>e + carry) | sign);
  const fsw: u32 = <u32>load<u16>(cpu, CPU_FSW) & ~C1;
  store<u16>(cpu, <u16>(fsw | (u32(low != 0) << 5) | (up << 9)), CPU_FSW);
  pops(cpu, popCount);
  return true;
}

function addCommon(cpu: u32, at: u32, aSig: u64, aSe: u32, bSig: u64, bSe: u32, popCount: u32): bool {
  const ea = aSe & 0x7fff, eb = bSe & 0x7fff;
  const swap = ea < eb || (ea == eb && aSig < bSig);
  const h: u64 = select<u64>(bSig, aSig, swap);
  let l: u64 = select<u64>(aSig, bSig, swap);
  const se: u32 = select<u32>(bSe, aSe, swap);
  const shift: u32 = select<u32>(eb - ea, ea - eb, swap);
  if (shift >= 64) return false;
  let low: u64 = (l << 1) << (63 - shift);
  l >>= shift;
  const e: i32 = se & 0x7fff;
  if (!((aSe ^ bSe) & NEGATIVE)) {
    const sum: u64 = h + l;
    const carry: u64 = u64(sum < h);
    low = (low >> carry) | (low & carry) | ((sum & carry) << 63);
    return finishCommon(cpu, at, se & NEGATIVE, e + <i32>carry, (sum >> carry) | (carry << 63), low, popCount);
  }
  const high: u64 = h - l - u64(low != 0);
  low = 0 - low;
  if (high == 0) return false;
  const n: u64 = clz(high);
  return finishCommon(cpu, at, se & NEGATIVE, e - <i32>n, (high << n) | ((low >> 1) >> (63 - n)), low << n, popCount);
}

function multiplyCommon(cpu: u32, at: u32, aSig: u64, aSe: u32, bSig: u64, bSe: u32, popCount: u32): bool {
  const al: u64 = aSig & 0xffffffff, ah: u64 = aSig >> 32;
  const bl: u64 = bSig & 0xffffffff, bh: u64 = bSig >> 32;
  const lowest: u64 = al * bl;
  const mid: u64 = ah * bl + (lowest >> 32);
  const mid2: u64 = al * bh + (mid & 0xffffffff);
  const low: u64 = (mid2 << 32) | (lowest & 0xffffffff);
  const high: u64 = ah * bh + (mid >> 32) + (mid2 >> 32);
  const n: u64 = (high >> 63) ^ 1;
  const e: i32 = (aSe & 0x7fff) + (bSe & 0x7fff) - BIAS + 1 - <i32>n;
  return finishCommon(cpu, at, (aSe ^ bSe) & NEGATIVE, e, (high << n) | ((low >> 63) & n), low << n, popCount);
}

function divideCommon(cpu: u32, at: u32, aSig: u64, aSe: u32, bSig: u64, bSe: u32, popCount: u32): bool {
  divideRaw(aSe & 0x7fff, aSig, bSe & 0x7fff, bSig, BIAS);
  return finishCommon(cpu, at, (aSe ^ bSe) & NEGATIVE, rawE, rawSig, rawLow, popCount);
}

/** Tries the common case for a op b into the register at `at`. */
@inline function common(cpu: u32, op: u32, at: u32, aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32, popCount: u32): bool {
  if ((fcw & COMMON_MASK) != COMMON || !isNormal(aSig, aSe) || !isNormal(bSig, bSe)) return false;
  if (op == ADD) return addCommon(cpu, at, aSig, aSe, bSig, bSe, popCount);
  if (op == MUL) return multiplyCommon(cpu, at, aSig, aSe, bSig, bSe, popCount);
  if (op == SUB) return addCommon(cpu, at, aSig, aSe, bSig, bSe ^ NEGATIVE, popCount);
  if (op == SUBR) return addCommon(cpu, at, aSig, aSe ^ NEGATIVE, bSig, bSe, popCount);
  if (op == DIV) return divideCommon(cpu, at, aSig, aSe, bSig, bSe, popCount);
  return divideCommon(cpu, at, bSig, bSe, aSig, aSe, popCount);
}

@inline function addNumbers(aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32): void {
  if (isNormal(aSig, aSe) && isNormal(bSig, bSe)) addFinite(aSe >> 15, aSe & 0x7fff, aSig, bSe >> 15, bSe & 0x7fff, bSig, fcw);
  else arithmeticSpecial(ADD, aSig, aSe, bSig, bSe, fcw);
}

@inline function subtractNumbers(aSig: u64, aSe: u32, bSig: u64, bSe: u32, fcw: u32): void {
  if (isNormal(aSig, aSe) && isNormal(bSig, bSe)) addNumbers(aSig, aSe, bSig, bSe ^ NEGATIVE, fcw);
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
  const top = load<u32>(cpu, CPU_FTOP), tags: u32 = load<u8>(cpu, CPU_FTAG);
  const pd = (top + dst) & 7, ps = (top + src) & 7;
  if (!((tags >> pd) & (tags >> ps) & 1)) {
    underflow(cpu, dst, popCount);
    return;
  }
  const a = slot(cpu, pd), b = slot(cpu, ps);
  const aSig = sigAt(a), aSe = seAt(a), bSig = sigAt(b), bSe = seAt(b), fcw = fcwOf(cpu);
  if (common(cpu, op, a, aSig, aSe, bSig, bSe, fcw, popCount)) return;
  clearExceptions();
  arithmetic(op, aSig, aSe, bSig, bSe, fcw);
  finishAt(cpu, a, outSig, outSe, popCount);
}

@inline function arithmeticLoaded(cpu: u32, op: u32): void {
  const a = stAt(cpu, 0);
  const aSig = sigAt(a), aSe = seAt(a), fcw = fcwOf(cpu);
  if (exc == 0 && common(cpu, op, a, aSig, aSe, outSig, outSe, fcw, 0)) return;
  arithmetic(op, aSig, aSe, outSig, outSe, fcw);
  finishAt(cpu, a, outSig, outSe, 0);
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
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at);
  if ((fcwOf(cpu) & COMMON_MASK) == COMMON && isNormal(sig, se) && !(se & NEGATIVE)) {
    squareRootRaw(se, sig, BIAS);
    if (finishCommon(cpu, at, 0, rawE, rawSig, rawLow, 0)) return;
  }
  clearExceptions();
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
