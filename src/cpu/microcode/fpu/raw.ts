/**
 * Sum, product, quotient and root of finite nonzero numbers before rounding: exact or with a jammed last bit.
 *
 * Operands are normalised (bit 63 of the significand set), exponents carry the bias of one format. Results go to rawNegative, rawE,
 * rawSig, rawLow, as roundTo() takes them. Source: IEEE 754-2008, chapter 5.4.
 */
import { divideWide, INTEGER_BIT, multiplyWide, remainder, rSig, squareRoot, wideLow } from "./core";

export let rawNegative: u32 = 0;
export let rawE: i32 = 0;
export let rawSig: u64 = 0;
export let rawLow: u64 = 0;

/** Sum; an exact zero has rawSig = 0 (its sign is the rounding mode's business). */
export function addRaw(na: u32, ea: i32, a: u64, nb: u32, eb: i32, b: u64): void {
  if (ea < eb || (ea == eb && a < b)) {
    const te = ea; ea = eb; eb = te;
    const ts = a; a = b; b = ts;
    const tn = na; na = nb; nb = tn;
  }
  rawNegative = na;
  const shift: u32 = ea - eb;
  let low: u64 = 0;
  if (shift != 0) {
    if (shift < 64) {
      low = b << (64 - shift);
      b >>= shift;
    } else if (shift < 128) {
      // Only what lies below all of `a`: the order of magnitude and a jammed bit are enough.
      low = shift == 64 ? b : (b >> (shift - 64)) | u64((b << (128 - shift)) != 0);
      b = 0;
    } else {
      low = 1;
      b = 0;
    }
  }
  if (na == nb) {
    let sum: u64 = a + b;
    if (sum < a) {
      low = (low >> 1) | (low & 1) | (sum << 63);
      sum = (sum >> 1) | INTEGER_BIT;
      ea += 1;
    }
    rawE = ea;
    rawSig = sum;
    rawLow = low;
    return;
  }
  let high: u64 = a - b - u64(low != 0);
  low = 0 - low;
  if (high == 0) {
    // Then the shift was at most 1 and `low` holds all there is.
    high = low;
    low = 0;
    ea -= 64;
    if (high == 0) {
      rawSig = 0;
      rawLow = 0;
      rawE = 0;
      return;
    }
  }
  const n: u32 = <u32>clz(high);
  if (n != 0) {
    high = (high << n) | (low >> (64 - n));
    low <<= n;
    ea -= n;
  }
  rawE = ea;
  rawSig = high;
  rawLow = low;
}

export function multiplyRaw(ea: i32, a: u64, eb: i32, b: u64, bias: i32): void {
  let high: u64 = multiplyWide(a, b);
  let low: u64 = wideLow;
  let e = ea + eb - bias + 1;
  if (!(high >> 63)) {
    high = (high << 1) | (low >> 63);
    low <<= 1;
    e -= 1;
  }
  rawE = e;
  rawSig = high;
  rawLow = low;
}

export function divideRaw(ea: i32, a: u64, eb: i32, b: u64, bias: i32): void {
  let e = ea - eb + bias;
  let high: u64 = a;
  let low: u64 = 0;
  if (a >= b) {
    high = a >> 1;
    low = a << 63;
  } else {
    e -= 1;
  }
  const q = divideWide(high, low, b);
  rawE = e;
  rawSig = q;
  const rest: u64 = remainder;
  // The next bits: over, at or under one half of the last place.
  if (rest == 0) rawLow = 0;
  else {
    const twice: u64 = rest << 1;
    if ((rest >> 63) != 0 || twice > b) rawLow = 0xc000000000000000;
    else rawLow = twice == b ? INTEGER_BIT : 0x4000000000000000;
  }
}

export function squareRootRaw(ea: i32, a: u64, bias: i32): void {
  const unbiased = ea - bias;
  rawLow = squareRoot(a, (unbiased & 1) != 0);
  rawSig = rSig;
  rawE = (unbiased >> 1) + bias;
}
