/**
 * Exact SSE arithmetic: any rounding mode, FTZ, DAZ, and every MXCSR flag, for what wasm's own floats cannot do.
 *
 * API (all exported through microcode/index.ts; `cpu` first). Vectors are addresses in wasm memory, `count` lanes from
 * their beginning; a lane's result is written only when no unmasked exception came up in any lane, so dst may be a or b.
 * These return i32: 0 = done (dst written, MXCSR flags ORed), 1 = #XM (#UD without CR4.OSXMMEXCPT) pending in CPU_EXC,
 * dst untouched, MXCSR flags set as the CPU sets them. Memory operands: put the loaded value into CPU_SCRATCH first.
 *   sseF64Packed(cpu, op, dst, a, b, count)     op = SSE_ADD.. below; SSE_SQRT uses b; dst[i] = a[i] op b[i];
 *                                               these two also return SSE_DENORMAL: done, and a denormal number was met
 *   sseF32Packed(cpu, op, dst, a, b, count)
 *   sseF64Compare(cpu, predicate 0..31, dst, a, b, count)      lanes of all ones or zeros
 *   sseF32Compare(cpu, predicate 0..31, dst, a, b, count)
 *   sseF64Round(cpu, imm, dst, a, count)        ROUNDPD/ROUNDSD with the instruction's immediate
 *   sseF32Round(cpu, imm, dst, a, count)
 *   sseCvtF64ToF32(cpu, dst, a, count)          count results, densely packed; the caller zeroes upper lanes
 *   sseCvtF32ToF64(cpu, dst, a, count)
 *   sseCvtF64ToI32(cpu, dst, a, count, truncate)     truncate 1 = CVTT*, 0 = MXCSR.RC
 *   sseCvtF32ToI32(cpu, dst, a, count, truncate)
 *   sseCvtF64ToI64(cpu, dst, a, count, truncate)     sseCvtF32ToI64(cpu, dst, a, count, truncate)
 *   sseCvtI32ToF32(cpu, dst, a, count)          sseCvtI64ToF32(cpu, dst, a, count)       sseCvtI64ToF64(cpu, dst, a, count)
 * (CVTDQ2PD and CVTSI2SD from 32 bits are exact: no function needed.)
 *   sseComiF64(cpu, a: u64, b: u64, ordered): i32    RFLAGS bits ZF|PF|CF (0x45), or -1 = exception pending.
 *   sseComiF32(cpu, a: u32, b: u32, ordered): i32    ordered 1 = COMIS* (IE on QNaN), 0 = UCOMIS*
 * By value, for scalars: the result; CPU_SSE_ODD says SSE_FAULT, SSE_DENORMAL or 0 afterwards:
 *   sseF64Op(cpu, op, a: f64, b: f64): f64      sseF32Op(cpu, op, a: f32, b: f32): f32
 * Source: Intel SDM volume 1, chapters 4.8.4, 4.9, 11.5 and appendix E; 10.2.3 (MXCSR).
 */
import {
  CPU_CR4, CPU_EXC, CPU_EXC_ERROR, CPU_FLOAT_WORK, CPU_MXCSR, CPU_SSE_ODD, EXC_UD, EXC_XM, SSE_DENORMAL, SSE_FAULT,
} from "../layout";
import { CR4_OSXMMEXCPT } from "./bits";
import { clearExceptions, DE, exc, IE, INTEGER_BIT, PE, raiseFlags, rE, roundTo, rSig, ZE } from "./fpu/core";
import { setMxcsr } from "./mxcsr";
import { addRaw, divideRaw, multiplyRaw, rawE, rawLow, rawNegative, rawSig, squareRootRaw } from "./fpu/raw";

export const SSE_ADD: u32 = 0;
export const SSE_SUB: u32 = 1;
export const SSE_MUL: u32 = 2;
export const SSE_DIV: u32 = 3;
export const SSE_SQRT: u32 = 4;
export const SSE_MIN: u32 = 5;
export const SSE_MAX: u32 = 6;
/** ADDSUBPS, ADDSUBPD: even lanes subtract, odd lanes add. */
export const SSE_ADDSUB: u32 = 7;

const MXCSR_DAZ: u32 = 0x40;
export const MXCSR_MASK_SHIFT: u32 = 7;
export const MXCSR_RC_SHIFT: u32 = 13;
const MXCSR_FTZ: u32 = 0x8000;

// Kinds of number, in unpackedKind.
export const ZERO: u32 = 0;
export const FINITE: u32 = 1;
export const INFINITE: u32 = 2;
export const QNAN: u32 = 3;
export const SNAN: u32 = 4;

export let unpackedNegative: u32 = 0;
export let unpackedKind: u32 = 0;
export let unpackedE: i32 = 0;
export let unpackedSig: u64 = 0;
export let unpackedDenormal: bool = false;

export function unpack(v: u64, single: bool, mxcsr: u32): void {
  let e: i32, emax: i32, fraction: u64;
  if (single) {
    unpackedNegative = <u32>(v >> 31) & 1;
    e = <i32>(v >> 23) & 0xff;
    emax = 0xff;
    fraction = v << 41;
  } else {
    unpackedNegative = <u32>(v >> 63);
    e = <i32>(v >> 52) & 0x7ff;
    emax = 0x7ff;
    fraction = v << 12;
  }
  unpackedDenormal = false;
  if (e == 0) {
    if (fraction == 0 || (mxcsr & MXCSR_DAZ) != 0) {
      unpackedKind = ZERO;
      return;
    }
    unpackedDenormal = true;
    unpackedKind = FINITE;
    const n: i32 = <i32>clz(fraction) + 1;
    unpackedSig = fraction << (n - 1);
    unpackedE = 1 - n;
    return;
  }
  if (e == emax) {
    unpackedKind = fraction == 0 ? INFINITE : (fraction & INTEGER_BIT) != 0 ? QNAN : SNAN;
    return;
  }
  unpackedKind = FINITE;
  unpackedE = e;
  unpackedSig = INTEGER_BIT | (fraction >> 1);
}

@inline export function bias(single: bool): i32 { return single ? 127 : 1023; }
@inline export function signOf(negative: u32, single: bool): u64 { return single ? u64(negative) << 31 : u64(negative) << 63; }
@inline export function quietBit(single: bool): u64 { return single ? 0x400000 : 0x8000000000000; }
@inline export function infinity(single: bool): u64 { return single ? 0x7f800000 : 0x7ff0000000000000; }
@inline export function indefinite(single: bool): u64 { return single ? 0xffc00000 : 0xfff8000000000000; }

function pack(negative: u32, e: i32, sig: u64, single: bool): u64 {
  if (single) return (u64(negative) << 31) | (u64(e) << 23) | ((sig << 1) >> 41);
  return (u64(negative) << 63) | (u64(e) << 52) | ((sig << 1) >> 12);
}

/** Rounds by MXCSR and packs. */
export function finish(negative: u32, e: i32, sig: u64, low: u64, single: bool, mxcsr: u32): u64 {
  const mask = mxcsr >> MXCSR_MASK_SHIFT;
  const rc = (mxcsr >> MXCSR_RC_SHIFT) & 3;
  if (single) roundTo(negative, e, sig, low, 40, rc, 0xff, 192, mask, (mxcsr & MXCSR_FTZ) != 0);
  else roundTo(negative, e, sig, low, 11, rc, 0x7ff, 1536, mask, (mxcsr & MXCSR_FTZ) != 0);
  return pack(negative, rE, rSig, single);
}

/** One lane; flags gather in `exc`. */
function operate(op: u32, a: u64, b: u64, single: bool, mxcsr: u32): u64 {
  unpack(b, single, mxcsr);
  const nbIn = unpackedNegative, kb = unpackedKind, eb = unpackedE, sb = unpackedSig;
  const db = unpackedDenormal;
  if (op == SSE_SQRT) {
    if (kb >= QNAN) {
      if (kb == SNAN) raiseFlags(IE);
      return b | quietBit(single);
    }
    if (kb == ZERO) return signOf(nbIn, single);
    if (nbIn) {
      raiseFlags(IE);
      return indefinite(single);
    }
    if (kb == INFINITE) return b;
    if (db) raiseFlags(DE);
    squareRootRaw(eb, sb, bias(single));
    return finish(0, rawE, rawSig, rawLow, single, mxcsr);
  }
  unpack(a, single, mxcsr);
  const na = unpackedNegative, ka = unpackedKind, ea = unpackedE, sa = unpackedSig;
  const denormal: bool = db || unpackedDenormal;
  if (op == SSE_MIN || op == SSE_MAX) {
    const bOut: u64 = kb == ZERO ? signOf(nbIn, single) : b;
    if (ka >= QNAN || kb >= QNAN) {
      raiseFlags(IE);
      return bOut;
    }
    if (denormal) raiseFlags(DE);
    const aOut: u64 = ka == ZERO ? signOf(na, single) : a;
    const order = compareBits(aOut, bOut, single);
    return (op == SSE_MIN ? order < 0 : order > 0) ? aOut : bOut;
  }
  if (ka >= QNAN || kb >= QNAN) {
    if (ka == SNAN || kb == SNAN) raiseFlags(IE);
    return (ka >= QNAN ? a : b) | quietBit(single);
  }
  let nb = nbIn;
  if (op == SSE_SUB) nb ^= 1;
  if (op == SSE_ADD || op == SSE_SUB) {
    if (ka == INFINITE) {
      if (kb == INFINITE && na != nb) {
        raiseFlags(IE);
        return indefinite(single);
      }
      if (denormal) raiseFlags(DE);
      return a;
    }
    if (denormal) raiseFlags(DE);
    if (kb == INFINITE) return signOf(nb, single) | infinity(single);
    const down: u32 = u32(((mxcsr >> MXCSR_RC_SHIFT) & 3) == 1);
    if (ka == ZERO) {
      if (kb == ZERO) return signOf(na == nb ? na : down, single);
      return finish(nb, eb, sb, 0, single, mxcsr);
    }
    if (kb == ZERO) return finish(na, ea, sa, 0, single, mxcsr);
    addRaw(na, ea, sa, nb, eb, sb);
    if (rawSig == 0) return signOf(down, single);
    return finish(rawNegative, rawE, rawSig, rawLow, single, mxcsr);
  }
  const negative = na ^ nb;
  const sign = signOf(negative, single);
  if (op == SSE_MUL) {
    if ((ka == INFINITE && kb == ZERO) || (ka == ZERO && kb == INFINITE)) {
      raiseFlags(IE);
      return indefinite(single);
    }
    if (denormal) raiseFlags(DE);
    if (ka == INFINITE || kb == INFINITE) return sign | infinity(single);
    if (ka == ZERO || kb == ZERO) return sign;
    multiplyRaw(ea, sa, eb, sb, bias(single));
    return finish(negative, rawE, rawSig, rawLow, single, mxcsr);
  }
  if (ka == kb && (ka == INFINITE || ka == ZERO)) {
    raiseFlags(IE);
    return indefinite(single);
  }
  if (kb == ZERO && ka == FINITE) {
    raiseFlags(ZE);
    return sign | infinity(single);
  }
  if (denormal) raiseFlags(DE);
  if (ka == INFINITE) return sign | infinity(single);
  if (ka == ZERO || kb == INFINITE) return sign;
  divideRaw(ea, sa, eb, sb, bias(single));
  return finish(negative, rawE, rawSig, rawLow, single, mxcsr);
}

/** -1, 0, 1 of two numbers that are no NaN; both zeros are equal. */
@inline function compareBits(a: u64, b: u64, single: bool): i32 {
  if (single) {
    const x = reinterpret<f32>(<u32>a), y = reinterpret<f32>(<u32>b);
    return i32(x > y) - i32(x < y);
  }
  const x = reinterpret<f64>(a), y = reinterpret<f64>(b);
  return i32(x > y) - i32(x < y);
}

/** Adds the gathered flags to MXCSR; nonzero when one of them is unmasked and an exception is pending now. */
function settle(cpu: u32): i32 {
  const mxcsr = load<u32>(cpu, CPU_MXCSR);
  const unmasked = ~(mxcsr >> MXCSR_MASK_SHIFT);
  let flags = exc & (IE | DE | ZE);
  const early = flags & unmasked;
  // Numeric flags of the result are not reported when an operand's exception stops the instruction.
  if (!early) flags = exc & 0x3f;
  if (flags & ~mxcsr) setMxcsr(cpu, mxcsr | flags);
  if (!(flags & unmasked)) return 0;
  store<i32>(cpu, (<u32>load<u64>(cpu, CPU_CR4) & CR4_OSXMMEXCPT) != 0 ? EXC_XM : EXC_UD, CPU_EXC);
  store<u32>(cpu, 0, CPU_EXC_ERROR);
  return 1;
}

@inline export function isDenormal64(v: u64): u32 { return u32((v << 1) - 1 < 0x1fffffffffffff); }
@inline export function isDenormal32(v: u32): u32 { return u32((v << 1) - 1 < 0xffffff); }
@inline function ended(faults: i32, denormals: u32): u32 { return faults ? SSE_FAULT : denormals ? SSE_DENORMAL : 0; }

export function sseF64Op(cpu: u32, op: u32, a: f64, b: f64): f64 {
  clearExceptions();
  const x = reinterpret<u64>(a), y = reinterpret<u64>(b);
  const result = operate(op, x, y, false, load<u32>(cpu, CPU_MXCSR));
  store<u32>(cpu, ended(settle(cpu), isDenormal64(x) | isDenormal64(y) | isDenormal64(result)), CPU_SSE_ODD);
  return reinterpret<f64>(result);
}

export function sseF32Op(cpu: u32, op: u32, a: f32, b: f32): f32 {
  clearExceptions();
  const x = reinterpret<u32>(a), y = reinterpret<u32>(b);
  const result = <u32>operate(op, x, y, true, load<u32>(cpu, CPU_MXCSR));
  store<u32>(cpu, ended(settle(cpu), isDenormal32(x) | isDenormal32(y) | isDenormal32(result)), CPU_SSE_ODD);
  return reinterpret<f32>(result);
}

/** Results of a vector wait in the last 32 bytes of CPU_FLOAT_WORK until it is known that no lane faults. */
@inline export function pending(cpu: u32): u32 { return cpu + CPU_FLOAT_WORK + 96; }

export function commit(cpu: u32, dst: u32, bytes: u32): i32 {
  if (settle(cpu) != 0) return 1;
  memory.copy(dst, pending(cpu), bytes);
  return 0;
}

@inline function laneOp(op: u32, lane: u32): u32 { return op == SSE_ADDSUB ? ((lane & 1) != 0 ? SSE_ADD : SSE_SUB) : op; }

export function sseF64Packed(cpu: u32, op: u32, dst: u32, a: u32, b: u32, count: u32): u32 {
  const mxcsr = load<u32>(cpu, CPU_MXCSR);
  clearExceptions();
  const results = pending(cpu);
  let denormals: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const x = load<u64>(a + i * 8), y = load<u64>(b + i * 8), result = operate(laneOp(op, i), x, y, false, mxcsr);
    denormals |= isDenormal64(x) | isDenormal64(y) | isDenormal64(result);
    store<u64>(results + i * 8, result);
  }
  return ended(commit(cpu, dst, count * 8), denormals);
}

export function sseF32Packed(cpu: u32, op: u32, dst: u32, a: u32, b: u32, count: u32): u32 {
  const mxcsr = load<u32>(cpu, CPU_MXCSR);
  clearExceptions();
  const results = pending(cpu);
  let denormals: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const x = load<u32>(a + i * 4), y = load<u32>(b + i * 4), result = <u32>operate(laneOp(op, i), x, y, true, mxcsr);
    denormals |= isDenormal32(x) | isDenormal32(y) | isDenormal32(result);
    store<u32>(results + i * 4, result);
  }
  return ended(commit(cpu, dst, count * 4), denormals);
}

// ---- comparison ----

// Relation of two numbers.
const LESS: u8 = 1;
const EQUAL: u8 = 2;
const GREATER: u8 = 4;
const UNORDERED: u8 = 8;

/** Relation of a to b; IE for a signalling NaN, and for a quiet one when `signalQuiet`. */
function relate(a: u64, b: u64, signalQuiet: bool, single: bool, mxcsr: u32): u8 {
  unpack(a, single, mxcsr);
  const ka = unpackedKind;
  let denormal = unpackedDenormal;
  const x: u64 = ka == ZERO ? signOf(unpackedNegative, single) : a;
  unpack(b, single, mxcsr);
  const kb = unpackedKind;
  denormal = denormal || unpackedDenormal;
  const y: u64 = kb == ZERO ? signOf(unpackedNegative, single) : b;
  if (ka >= QNAN || kb >= QNAN) {
    if (signalQuiet || ka == SNAN || kb == SNAN) raiseFlags(IE);
    return UNORDERED;
  }
  if (denormal) raiseFlags(DE);
  const order = compareBits(x, y, single);
  return order < 0 ? LESS : order == 0 ? EQUAL : GREATER;
}

/** Relations for which predicates 0..15 (SDM table 3-1 of CMPPD) hold; 16..31 the same with the other signalling of QNaNs. */
const predicates: u32 = <u32>memory.data<u8>([
  EQUAL, LESS, LESS | EQUAL, UNORDERED,
  LESS | GREATER | UNORDERED, EQUAL | GREATER | UNORDERED, GREATER | UNORDERED, LESS | EQUAL | GREATER,
  EQUAL | UNORDERED, LESS | UNORDERED, LESS | EQUAL | UNORDERED, 0,
  LESS | GREATER, GREATER | EQUAL, GREATER, 15,
]);
/** Bit p: predicate p signals quiet NaNs. */
const SIGNALLING: u32 = 0x99996666;

@inline function holds(predicate: u32, relation: u8): bool { return (load<u8>(predicates + (predicate & 15)) & relation) != 0; }

export function sseF64Compare(cpu: u32, predicate: u32, dst: u32, a: u32, b: u32, count: u32): i32 {
  const mxcsr = load<u32>(cpu, CPU_MXCSR);
  const signal = ((SIGNALLING >> predicate) & 1) != 0;
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    const relation = relate(load<u64>(a + i * 8), load<u64>(b + i * 8), signal, false, mxcsr);
    store<i64>(results + i * 8, holds(predicate, relation) ? -1 : 0);
  }
  return commit(cpu, dst, count * 8);
}

export function sseF32Compare(cpu: u32, predicate: u32, dst: u32, a: u32, b: u32, count: u32): i32 {
  const mxcsr = load<u32>(cpu, CPU_MXCSR);
  const signal = ((SIGNALLING >> predicate) & 1) != 0;
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    const relation = relate(load<u32>(a + i * 4), load<u32>(b + i * 4), signal, true, mxcsr);
    store<i32>(results + i * 4, holds(predicate, relation) ? -1 : 0);
  }
  return commit(cpu, dst, count * 4);
}

/** ZF PF CF of COMIS* and UCOMIS*. */
@inline function compareFlags(relation: u8): i32 {
  if (relation == UNORDERED) return 0x45;
  return relation == LESS ? 0x01 : relation == EQUAL ? 0x40 : 0;
}

export function sseComiF64(cpu: u32, a: u64, b: u64, ordered: u32): i32 {
  clearExceptions();
  const relation = relate(a, b, ordered != 0, false, load<u32>(cpu, CPU_MXCSR));
  return settle(cpu) != 0 ? -1 : compareFlags(relation);
}

export function sseComiF32(cpu: u32, a: u32, b: u32, ordered: u32): i32 {
  clearExceptions();
  const relation = relate(a, b, ordered != 0, true, load<u32>(cpu, CPU_MXCSR));
  return settle(cpu) != 0 ? -1 : compareFlags(relation);
}

// ---- conversion ----

/** Between the two formats: NaNs keep the upper bits of their payload. */
function convertFormat(v: u64, fromSingle: bool, mxcsr: u32): u64 {
  unpack(v, fromSingle, mxcsr);
  const single = !fromSingle;
  const negative = unpackedNegative;
  if (unpackedKind == ZERO) return signOf(negative, single);
  if (unpackedKind == INFINITE) return signOf(negative, single) | infinity(single);
  if (unpackedKind >= QNAN) {
    if (unpackedKind == SNAN) raiseFlags(IE);
    const payload: u64 = single ? (v << 12) >> 41 : (v << 41) >> 12;
    return signOf(negative, single) | infinity(single) | quietBit(single) | payload;
  }
  if (unpackedDenormal) raiseFlags(DE);
  return finish(negative, unpackedE - bias(fromSingle) + bias(single), unpackedSig, 0, single, mxcsr);
}

/** To an integer of `bits` (32 or 64); what does not fit gives the integer indefinite and IE. */
function toInteger(v: u64, single: bool, bits: u32, truncate: bool, mxcsr: u32): u64 {
  const indefiniteInteger: u64 = u64(1) << (bits - 1);
  unpack(v, single, mxcsr);
  if (unpackedKind == ZERO) return 0;
  if (unpackedKind != FINITE) {
    raiseFlags(IE);
    return indefiniteInteger;
  }
  // Denormals raise nothing here but PE.
  const negative = unpackedNegative;
  const shift = 63 - (unpackedE - bias(single)); // places to the right
  if (shift < 0) {
    raiseFlags(IE);
    return indefiniteInteger;
  }
  let magnitude: u64 = 0;
  let frac: u64 = 1;
  if (shift == 0) {
    magnitude = unpackedSig;
    frac = 0;
  } else if (shift < 64) {
    magnitude = unpackedSig >> shift;
    frac = unpackedSig << (64 - shift);
  } else if (shift == 64) {
    frac = unpackedSig;
  }
  let up = false;
  if (!truncate) {
    const rc = (mxcsr >> MXCSR_RC_SHIFT) & 3;
    if (rc == 0) up = frac > INTEGER_BIT || (frac == INTEGER_BIT && (magnitude & 1) != 0);
    else if (rc != 3) up = frac != 0 && (rc == 1) == (negative != 0);
  }
  magnitude += u64(up);
  const limit: u64 = indefiniteInteger - u64(!negative);
  if (magnitude > limit) {
    raiseFlags(IE);
    return indefiniteInteger;
  }
  if (frac != 0) raiseFlags(PE);
  return negative ? 0 - magnitude : magnitude;
}

/** A signed integer to a float. */
function fromInteger(v: i64, single: bool, mxcsr: u32): u64 {
  if (v == 0) return 0;
  const negative = u32(v < 0);
  const magnitude: u64 = negative ? 0 - <u64>v : <u64>v;
  const n: i32 = <i32>clz(magnitude);
  return finish(negative, bias(single) + 63 - n, magnitude << n, 0, single, mxcsr);
}

/** ROUNDPS and its kin: imm bits 0..1 mode, 2 = use MXCSR.RC, 3 = no PE. */
function roundIntegral(v: u64, imm: u32, single: bool, mxcsr: u32): u64 {
  unpack(v, single, mxcsr);
  const negative = unpackedNegative;
  if (unpackedKind == ZERO) return signOf(negative, single);
  if (unpackedKind == INFINITE) return v;
  if (unpackedKind >= QNAN) {
    if (unpackedKind == SNAN) raiseFlags(IE);
    return v | quietBit(single);
  }
  const shift = 63 - (unpackedE - bias(single));
  if (shift <= (single ? 40 : 11)) return v;
  const rc = (imm & 4) != 0 ? (mxcsr >> MXCSR_RC_SHIFT) & 3 : imm & 3;
  const magnitude: u64 = shift < 64 ? unpackedSig >> shift : 0;
  const frac: u64 = shift < 64 ? unpackedSig << (64 - shift) : shift == 64 ? unpackedSig : 1;
  if (frac == 0) return v;
  let up = false;
  if (rc == 0) up = frac > INTEGER_BIT || (frac == INTEGER_BIT && (magnitude & 1) != 0);
  else if (rc != 3) up = (rc == 1) == (negative != 0);
  if (!(imm & 8)) raiseFlags(PE);
  const rounded: u64 = magnitude + u64(up);
  if (rounded == 0) return signOf(negative, single);
  const n: i32 = <i32>clz(rounded);
  return pack(negative, bias(single) + 63 - n, rounded << n, single);
}

export function sseF64Round(cpu: u32, imm: u32, dst: u32, a: u32, count: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u64>(results + i * 8, roundIntegral(load<u64>(a + i * 8), imm, false, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 8);
}

export function sseF32Round(cpu: u32, imm: u32, dst: u32, a: u32, count: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u32>(results + i * 4, <u32>roundIntegral(load<u32>(a + i * 4), imm, true, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 4);
}

export function sseCvtF64ToF32(cpu: u32, dst: u32, a: u32, count: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u32>(results + i * 4, <u32>convertFormat(load<u64>(a + i * 8), false, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 4);
}

export function sseCvtF32ToF64(cpu: u32, dst: u32, a: u32, count: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u64>(results + i * 8, convertFormat(load<u32>(a + i * 4), true, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 8);
}

export function sseCvtF64ToI32(cpu: u32, dst: u32, a: u32, count: u32, truncate: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u32>(results + i * 4, <u32>toInteger(load<u64>(a + i * 8), false, 32, truncate != 0, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 4);
}

export function sseCvtF32ToI32(cpu: u32, dst: u32, a: u32, count: u32, truncate: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u32>(results + i * 4, <u32>toInteger(load<u32>(a + i * 4), true, 32, truncate != 0, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 4);
}

export function sseCvtF64ToI64(cpu: u32, dst: u32, a: u32, count: u32, truncate: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u64>(results + i * 8, toInteger(load<u64>(a + i * 8), false, 64, truncate != 0, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 8);
}

export function sseCvtF32ToI64(cpu: u32, dst: u32, a: u32, count: u32, truncate: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u64>(results + i * 8, toInteger(load<u32>(a + i * 4), true, 64, truncate != 0, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 8);
}

export function sseCvtI32ToF32(cpu: u32, dst: u32, a: u32, count: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u32>(results + i * 4, <u32>fromInteger(load<i32>(a + i * 4), true, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 4);
}

export function sseCvtI64ToF32(cpu: u32, dst: u32, a: u32, count: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u32>(results + i * 4, <u32>fromInteger(load<i64>(a + i * 8), true, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 4);
}

export function sseCvtI64ToF64(cpu: u32, dst: u32, a: u32, count: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) {
    store<u64>(results + i * 8, fromInteger(load<i64>(a + i * 8), false, load<u32>(cpu, CPU_MXCSR)));
  }
  return commit(cpu, dst, count * 8);
}
