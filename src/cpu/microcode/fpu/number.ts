/**
 * Double extended numbers: what kind they are, which NaN comes through, and rounding to the format.
 *
 * Results of operations on them stand in the globals outSig and outSe. Encodings that the 387 and later refuse (unnormals,
 * pseudo-NaNs, pseudo-infinities) are UNSUPPORTED; pseudo-denormals count as denormal. Source: SDM volume 1, 4.2.2, 4.8.3, 8.2.2.
 */
import { C1, DE, dropFlags, IE, INTEGER_BIT, PE, QUIET_BIT, raiseFlags, rE, roundTo, rSig } from "./core";

export const BIAS: i32 = 0x3fff;
export const EMAX: i32 = 0x7fff;
export const NEGATIVE: u32 = 0x8000;

export const ZERO: u32 = 0;
export const FINITE: u32 = 1;
export const INFINITE: u32 = 2;
export const QNAN: u32 = 3;
export const SNAN: u32 = 4;
export const UNSUPPORTED: u32 = 5;

export let outSig: u64 = 0;
export let outSe: u32 = 0;
/** Normalised operand after classify() said FINITE. */
export let normalSig: u64 = 0;
export let normalE: i32 = 0;

@inline export function result(sig: u64, se: u32): void {
  outSig = sig;
  outSe = se;
}
@inline export function exponentOf(se: u32): i32 { return <i32>(se & 0x7fff); }
@inline export function isNormal(sig: u64, se: u32): bool { return (se & 0x7fff) - 1 < 0x7ffe && <i64>sig < 0; }
@inline export function isDenormal(sig: u64, se: u32): bool { return (se & 0x7fff) == 0 && sig != 0; }

export function classify(sig: u64, se: u32): u32 {
  const e = exponentOf(se);
  if (e == 0) {
    if (sig == 0) return ZERO;
    const n: i32 = <i32>clz(sig);
    normalSig = sig << n;
    normalE = 1 - n;
    return FINITE;
  }
  if (<i64>sig >= 0) return UNSUPPORTED;
  if (e == EMAX) return sig == INTEGER_BIT ? INFINITE : (sig & QUIET_BIT) != 0 ? QNAN : SNAN;
  normalSig = sig;
  normalE = e;
  return FINITE;
}

/** An invalid operation; what was found of denormal operands before does not count any more. */
export function indefinite(): void {
  dropFlags(DE);
  raiseFlags(IE);
  outSig = INTEGER_BIT | QUIET_BIT;
  outSe = 0xffff;
}

/** Result when one operand at least is a NaN or UNSUPPORTED. */
export function propagate(ka: u32, aSig: u64, aSe: u32, kb: u32, bSig: u64, bSe: u32): void {
  if (ka == UNSUPPORTED || kb == UNSUPPORTED) {
    indefinite();
    return;
  }
  dropFlags(DE);
  if (ka == SNAN || kb == SNAN) raiseFlags(IE);
  let first: bool;
  if (kb < QNAN) first = true;
  else if (ka < QNAN) first = false;
  else if (ka != kb) first = ka == QNAN; // the quiet one
  else if (aSig != bSig) first = aSig > bSig;
  else first = aSe < bSe; // the positive one
  outSig = (first ? aSig : bSig) | QUIET_BIT;
  outSe = first ? aSe : bSe;
}

/** The same with one operand. */
export function propagateOne(kind: u32, sig: u64, se: u32): void {
  if (kind == UNSUPPORTED) {
    indefinite();
    return;
  }
  if (kind == SNAN) raiseFlags(IE);
  outSig = sig | QUIET_BIT;
  outSe = se;
}

function roundSlow(negative: u32, e: i32, sig: u64, low: u64, fcw: u32): void {
  const pc = (fcw >> 8) & 3;
  roundTo(negative, e, sig, low, pc == 0 ? 40 : pc == 2 ? 11 : 0, (fcw >> 10) & 3, EMAX, 0x6000, fcw, false);
  outSig = rSig;
  outSe = <u32>rE | (negative << 15);
}

/** Rounds by FCW's precision and rounding control. The common case (nearest, 64 bits, normal) stays here. */
@inline export function round(negative: u32, e: i32, sig: u64, low: u64, fcw: u32): void {
  if ((fcw & 0xf00) == 0x300 && <u32>(e - 1) < 0x7ffd) {
    // Without branches: which way it goes cannot be predicted.
    const up: u32 = u32(low > INTEGER_BIT) | (u32(low == INTEGER_BIT) & <u32>sig);
    const rounded: u64 = sig + u64(up & 1);
    raiseFlags((u32(low != 0) << 5) | ((up & 1) << 9));
    const carry: u32 = u32(rounded < sig);
    outSig = rounded | (u64(carry) << 63);
    outSe = (<u32>e + carry) | (negative << 15);
  } else roundSlow(negative, e, sig, low, fcw);
}

/** Rounds to 64 bits whatever the precision control says (FSCALE, transcendentals). */
@inline export function roundExtended(negative: u32, e: i32, sig: u64, low: u64, fcw: u32): void {
  round(negative, e, sig, low, fcw | 0x300);
}
