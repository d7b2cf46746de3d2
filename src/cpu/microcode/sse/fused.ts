/**
 * FMA: a * b + c with one rounding, any rounding mode, FTZ, DAZ and every MXCSR flag. Intel SDM volume 2 (VFMADD132PD and its kin)
 * and volume 1, chapter 14.5 (which NaN comes through).
 */
import { SSE_DENORMAL, SSE_FAULT, CPU_MXCSR } from "../../layout";
import { clearExceptions, DE, IE, multiplyWide, raiseFlags, wideLow } from "../fpu/core";
import {
  bias, commit, finish, FINITE, indefinite, infinity, INFINITE, isDenormal32, isDenormal64, MXCSR_RC_SHIFT, pending, QNAN, quietBit, signOf,
  SNAN, unpack, unpackedDenormal, unpackedE, unpackedKind, unpackedNegative, unpackedSig, ZERO,
} from "../sse-float";

/** Negates the product; the addend; the addend in odd lanes the other way. */
const NEGATE_PRODUCT: u32 = 1;
const NEGATE_ADDEND: u32 = 2;
const ALTERNATE: u32 = 4;

/** Sum of a product (ph:pl, normalised, exponent pe) and c (normalised, exponent ce) that are not zero, rounded. */
function sum(np: u32, pe: i32, ph: u64, pl: u64, nc: u32, ce: i32, c: u64, single: bool, mxcsr: u32): u64 {
  let nh = np, eh = pe, hh = ph, hl = pl;
  let nl = nc, el = ce, lh = c, ll: u64 = 0;
  if (ce > pe || (ce == pe && c > ph)) {
    nh = nc; eh = ce; hh = c; hl = 0;
    nl = np; el = pe; lh = ph; ll = pl;
  }
  const shift: u32 = eh - el;
  if (shift != 0) {
    // The last place takes the rest: what is cut off never matters in a difference that cancels.
    if (shift < 64) {
      const rest: u64 = ll << (64 - shift);
      ll = (ll >> shift) | (lh << (64 - shift)) | u64(rest != 0);
      lh >>= shift;
    } else if (shift < 128) {
      const rest: u64 = shift == 64 ? ll : (lh << (128 - shift)) | ll;
      ll = (shift == 64 ? lh : lh >> (shift - 64)) | u64(rest != 0);
      lh = 0;
    } else {
      ll = 1;
      lh = 0;
    }
  }
  if (nh == nl) {
    const low: u64 = hl + ll;
    const carry: u64 = u64(low < hl);
    const partial: u64 = hh + lh;
    const high: u64 = partial + carry;
    if (partial < hh || high < partial) {
      return finish(nh, eh + 1, (high >> 1) | 0x8000000000000000, (low >> 1) | (low & 1) | (high << 63), single, mxcsr);
    }
    return finish(nh, eh, high, low, single, mxcsr);
  }
  let high: u64 = hh - lh - u64(hl < ll);
  let low: u64 = hl - ll;
  if (high == 0 && low == 0) return signOf(u32(((mxcsr >> MXCSR_RC_SHIFT) & 3) == 1), single);
  if (high == 0) {
    high = low;
    low = 0;
    eh -= 64;
  }
  const n: u32 = <u32>clz(high);
  if (n != 0) {
    high = (high << n) | (low >> (64 - n));
    low <<= n;
    eh -= n;
  }
  return finish(nh, eh, high, low, single, mxcsr);
}

/** One lane; flags gather in `exc`. */
function fused(a: u64, b: u64, c: u64, negateProduct: u32, negateAddend: u32, single: bool, mxcsr: u32): u64 {
  unpack(a, single, mxcsr);
  const na = unpackedNegative, ka = unpackedKind, ea = unpackedE, sa = unpackedSig, da = unpackedDenormal;
  unpack(b, single, mxcsr);
  const nb = unpackedNegative, kb = unpackedKind, eb = unpackedE, sb = unpackedSig, db = unpackedDenormal;
  unpack(c, single, mxcsr);
  const kc = unpackedKind, ec = unpackedE, sc = unpackedSig;
  const nc = unpackedNegative ^ negateAddend;
  const denormal: bool = da || db || unpackedDenormal;
  if (ka >= QNAN || kb >= QNAN || kc >= QNAN) {
    if (ka == SNAN || kb == SNAN || kc == SNAN) raiseFlags(IE);
    return (ka >= QNAN ? a : kb >= QNAN ? b : c) | quietBit(single);
  }
  const np = na ^ nb ^ negateProduct;
  const infinite: bool = ka == INFINITE || kb == INFINITE;
  if ((infinite && (ka == ZERO || kb == ZERO)) || (infinite && kc == INFINITE && np != nc)) {
    raiseFlags(IE);
    return indefinite(single);
  }
  if (denormal) raiseFlags(DE);
  if (infinite) return signOf(np, single) | infinity(single);
  if (kc == INFINITE) return signOf(nc, single) | infinity(single);
  if (ka == ZERO || kb == ZERO) {
    if (kc == FINITE) return finish(nc, ec, sc, 0, single, mxcsr);
    return signOf(np == nc ? np : u32(((mxcsr >> MXCSR_RC_SHIFT) & 3) == 1), single);
  }
  let high: u64 = multiplyWide(sa, sb);
  let low: u64 = wideLow;
  let e = ea + eb - bias(single) + 1;
  if (!(high >> 63)) {
    high = (high << 1) | (low >> 63);
    low <<= 1;
    e -= 1;
  }
  if (kc == ZERO) return finish(np, e, high, low, single, mxcsr);
  return sum(np, e, high, low, nc, ec, sc, single, mxcsr);
}

@inline function addendSign(kind: u32, lane: u32): u32 {
  return ((kind & NEGATE_ADDEND) >> 1) ^ (kind & ALTERNATE ? lane & 1 : 0);
}

/** dst[i] = a[i] * b[i] + c[i] as `kind` says; returns 0, SSE_FAULT or SSE_DENORMAL as sseF64Packed does. */
export function sseF64Fused(cpu: u32, kind: u32, dst: u32, a: u32, b: u32, c: u32, count: u32): u32 {
  const mxcsr = load<u32>(cpu, CPU_MXCSR);
  clearExceptions();
  const results = pending(cpu);
  let denormals: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const x = load<u64>(a + i * 8), y = load<u64>(b + i * 8), z = load<u64>(c + i * 8);
    const result = fused(x, y, z, kind & NEGATE_PRODUCT, addendSign(kind, i), false, mxcsr);
    denormals |= isDenormal64(x) | isDenormal64(y) | isDenormal64(z) | isDenormal64(result);
    store<u64>(results + i * 8, result);
  }
  return commit(cpu, dst, count * 8) ? SSE_FAULT : denormals ? SSE_DENORMAL : 0;
}

export function sseF32Fused(cpu: u32, kind: u32, dst: u32, a: u32, b: u32, c: u32, count: u32): u32 {
  const mxcsr = load<u32>(cpu, CPU_MXCSR);
  clearExceptions();
  const results = pending(cpu);
  let denormals: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const x = load<u32>(a + i * 4), y = load<u32>(b + i * 4), z = load<u32>(c + i * 4);
    const result = <u32>fused(x, y, z, kind & NEGATE_PRODUCT, addendSign(kind, i), true, mxcsr);
    denormals |= isDenormal32(x) | isDenormal32(y) | isDenormal32(z) | isDenormal32(result);
    store<u32>(results + i * 4, result);
  }
  return commit(cpu, dst, count * 4) ? SSE_FAULT : denormals ? SSE_DENORMAL : 0;
}
