/**
 * What all of the exact floating point is built on: 128-bit products and quotients, rounding to any of the formats.
 *
 * A finite nonzero number on its way is (sign, e, sig, lo): a normalised 64-bit significand `sig` (bit 63 set), the bits
 * below it `lo` (any bit below the first 64 may be jammed into bit 0), and an exponent biased as in the target format.
 * Results come back in the globals rSig and rE; exception flags gather in `exc`, in their places in FSW, plus C1.
 * Source: IEEE 754-2008; Intel SDM volume 1, chapters 4.8, 4.9 and 8.5.
 */

export const IE: u32 = 0x01;
export const DE: u32 = 0x02;
export const ZE: u32 = 0x04;
export const OE: u32 = 0x08;
export const UE: u32 = 0x10;
export const PE: u32 = 0x20;
/** Stack fault, and the direction of rounding: only for x87. */
export const SF: u32 = 0x40;
export const C1: u32 = 0x200;

export const RC_NEAREST: u32 = 0;
export const RC_DOWN: u32 = 1;
export const RC_UP: u32 = 2;
export const RC_ZERO: u32 = 3;

export const INTEGER_BIT: u64 = 0x8000000000000000;
export const QUIET_BIT: u64 = 0x4000000000000000;

/** Flags of the operation under way. */
export let exc: u32 = 0;
/** Result: significand, and biased exponent without sign. */
export let rSig: u64 = 0;
export let rE: i32 = 0;
/** High or low half of the last 128-bit product; remainder of the last division. */
export let wideLow: u64 = 0;
export let remainder: u64 = 0;

@inline export function clearExceptions(): void { exc = 0; }
@inline export function raiseFlags(flags: u32): void { exc |= flags; }
@inline export function dropFlags(flags: u32): void { exc &= ~flags; }

/** High half of a * b; the low half goes to wideLow. */
@inline export function multiplyWide(a: u64, b: u64): u64 {
  const al: u64 = a & 0xffffffff, ah: u64 = a >> 32;
  const bl: u64 = b & 0xffffffff, bh: u64 = b >> 32;
  const low: u64 = al * bl;
  const mid: u64 = ah * bl + (low >> 32);
  const mid2: u64 = al * bh + (mid & 0xffffffff);
  wideLow = (mid2 << 32) | (low & 0xffffffff);
  return ah * bh + (mid >> 32) + (mid2 >> 32);
}

/** High half of a * b alone. */
@inline export function multiplyHigh(a: u64, b: u64): u64 {
  const al: u64 = a & 0xffffffff, ah: u64 = a >> 32;
  const bl: u64 = b & 0xffffffff, bh: u64 = b >> 32;
  const mid: u64 = ah * bl + ((al * bl) >> 32);
  const mid2: u64 = al * bh + (mid & 0xffffffff);
  return ah * bh + (mid >> 32) + (mid2 >> 32);
}

/** (high:low) / d for d with bit 63 set and high < d: two steps of 32 bits (Knuth's algorithm D). The rest goes to `remainder`. */
export function divideWide(high: u64, low: u64, d: u64): u64 {
  const dh: u64 = d >> 32, dl: u64 = d & 0xffffffff;
  let q1: u64 = high / dh;
  let r: u64 = high - q1 * dh;
  let next: u64 = low >> 32;
  while (q1 > 0xffffffff || q1 * dl > ((r << 32) | next)) {
    q1 -= 1;
    r += dh;
    if (r > 0xffffffff) break;
  }
  const rest: u64 = ((high << 32) | next) - q1 * d;
  let q0: u64 = rest / dh;
  r = rest - q0 * dh;
  next = low & 0xffffffff;
  while (q0 > 0xffffffff || q0 * dl > ((r << 32) | next)) {
    q0 -= 1;
    r += dh;
    if (r > 0xffffffff) break;
  }
  remainder = ((rest << 32) | next) - q0 * d;
  return (q1 << 32) | q0;
}

/** Whether magnitude grows: `frac` is what is cut off, as a fraction of 2^64 of the last place kept. */
@inline function roundsUp(negative: u32, odd: bool, frac: u64, rc: u32): bool {
  if (rc == RC_NEAREST) return frac > INTEGER_BIT || (frac == INTEGER_BIT && odd);
  if (rc == RC_ZERO) return false;
  return frac != 0 && (rc == RC_DOWN) == (negative != 0);
}

/**
 * Rounds to 64 - drop bits in a format with exponents 1..emax-1 (0 = denormal, emax = infinity), flags into `exc`.
 * An unmasked overflow or underflow gives the number with its exponent moved by `wrap`, as the x87 stores it.
 * A denormal result has rE = 0 and a significand without bit 63; rE = emax is infinity.
 * @param mask exception masks in the places of the flags
 */
export function roundTo(
  negative: u32, e: i32, sig: u64, lo: u64, drop: u32, rc: u32, emax: i32, wrap: i32, mask: u32, flushToZero: bool,
): void {
  let tiny = false;
  if (e < 1) {
    // Tiny unless rounding with an unbounded exponent reaches the smallest normal number.
    tiny = true;
    if (e == 0) {
      const all: u64 = (u64.MAX_VALUE >> drop) << drop;
      if ((sig & all) == all) {
        const cut: u64 = drop == 0 ? lo : ((sig << (64 - drop)) | u64(lo != 0));
        if (roundsUp(negative, true, cut, rc)) tiny = false;
      }
    }
    if (tiny && !(mask & UE)) {
      exc |= UE;
      e += wrap;
      if (e < 1 && emax < 0x7fff) e = 1; // a conversion: no result is stored, PE tells of the significand
      if (e < 1) {
        // Beyond what wrapping reaches (FSCALE): zero, inexact.
        exc |= PE;
        rE = 0;
        rSig = 0;
        return;
      }
      tiny = false;
    } else {
      if (tiny && flushToZero) {
        exc |= UE | PE;
        rE = 0;
        rSig = 0;
        return;
      }
      const shift = 1 - e;
      if (shift < 64) {
        lo = (sig << (64 - shift)) | (lo >> shift) | u64((lo << (64 - shift)) != 0);
        sig >>= shift;
      } else {
        lo = shift == 64 ? sig | u64(lo != 0) : 1;
        sig = 0;
      }
      e = 0;
    }
  }
  let frac: u64 = lo;
  let unit: u64 = 1;
  if (drop != 0) {
    unit = u64(1) << drop;
    frac = (sig << (64 - drop)) | u64(lo != 0);
    sig = (sig >> drop) << drop;
  }
  if (frac != 0) {
    exc |= tiny ? UE | PE : PE;
    if (roundsUp(negative, (sig & unit) != 0, frac, rc)) {
      exc |= C1;
      sig += unit;
      if (sig == 0) {
        sig = INTEGER_BIT;
        e += 1;
      }
    }
  }
  if (e == 0 && (sig & INTEGER_BIT) != 0) e = 1;
  if (e >= emax) {
    exc |= OE;
    if (!(mask & OE)) {
      e -= wrap;
      rE = e;
      rSig = sig;
      if (e >= emax && emax == 0x7fff) {
        // Beyond what wrapping reaches: infinity whatever the rounding.
        exc |= PE | C1;
        rE = emax;
        rSig = INTEGER_BIT;
      }
      return;
    }
    exc |= PE;
    if (rc == RC_NEAREST || (rc != RC_ZERO && (rc == RC_DOWN) == (negative != 0))) {
      exc |= C1;
      rE = emax;
      rSig = INTEGER_BIT;
    } else {
      exc &= ~C1;
      rE = emax - 1;
      rSig = (u64.MAX_VALUE >> drop) << drop;
    }
    return;
  }
  rE = e;
  rSig = sig;
}

/** Square root of sig * 2^63 (odd = 0) or sig * 2^64 (odd = 1): 64 bits into rSig; returns what stands for the bits below. */
export function squareRoot(sig: u64, odd: bool): u64 {
  const high: u64 = odd ? sig : sig >> 1;
  const low: u64 = odd ? 0 : sig << 63;
  // Root of the upper half from floating point, corrected to the exact floor.
  let s1: u64 = <u64>sqrt<f64>(<f64>high);
  if (s1 > 0xffffffff) s1 = 0xffffffff;
  while (s1 * s1 > high) s1 -= 1;
  while (s1 < 0xffffffff && (s1 + 1) * (s1 + 1) <= high) s1 += 1;
  const r1: u64 = high - s1 * s1; // at most 2 * s1: 33 bits
  // Next 32 bits by dividing the rest by 2 * s1 (Zimmermann's recursive square root), halved so that 64 bits hold it.
  const digits: u64 = low >> 32;
  const half: u64 = (r1 << 31) | (digits >> 1);
  let q: u64 = half / s1;
  let u: u64 = ((half - q * s1) << 1) | (digits & 1);
  if (q > 0xffffffff) {
    q -= 1;
    u += s1 << 1;
  }
  let root: u64 = (s1 << 32) | q;
  // The rest is u * 2^32 + (low & 0xffffffff) - q^2, as a signed number of 128 bits.
  const a: u64 = (u << 32) | (low & 0xffffffff);
  const square: u64 = q * q;
  let restHigh: i64 = <i64>(u >> 32) - <i64>(a < square);
  let rest: u64 = a - square;
  while (restHigh < 0) {
    // root^2 was too large: rest += 2 * root - 1
    root -= 1;
    const add: u64 = (root << 1) | 1;
    const sum: u64 = rest + add;
    restHigh += <i64>((root >> 63) + u64(sum < rest));
    rest = sum;
  }
  rSig = root;
  if (restHigh == 0 && rest == 0) return 0;
  return restHigh > 0 || rest > root ? 0xc000000000000000 : 0x4000000000000000;
}
