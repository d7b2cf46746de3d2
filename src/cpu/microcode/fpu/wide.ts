/**
 * Numbers of 128 bits for the transcendental functions: products, quotients, power series.
 *
 * Two forms. Fixed point: two words, `high:low` as a fraction of 2^128 unless said otherwise. Wide: normalised high:low (bit 127
 * set, worth 2^(e - 127)) with an unbiased exponent `e`; the sign goes separately. Results come back in wHigh, wLow, wE.
 */
import { divideWide, multiplyHigh, multiplyWide, PE, raiseFlags, remainder, UE, wideLow } from "./core";
import { BIAS, outSe, roundExtended } from "./number";

export let wHigh: u64 = 0;
export let wLow: u64 = 0;
export let wE: i32 = 0;

@inline export function setWide(high: u64, low: u64, e: i32): void {
  wHigh = high;
  wLow = low;
  wE = e;
}

/** Upper 128 bits of the product, at most 3 units too small. */
export function fixedMultiply(ah: u64, al: u64, bh: u64, bl: u64): void {
  let high: u64 = multiplyWide(ah, bh);
  let low: u64 = wideLow;
  const m1: u64 = multiplyHigh(ah, bl);
  const m2: u64 = multiplyHigh(al, bh);
  low += m1;
  high += u64(low < m1);
  low += m2;
  high += u64(low < m2);
  wHigh = high;
  wLow = low;
}

/** Shifts wHigh:wLow up until bit 127 is set; wE goes down as far. Zero stays. */
export function normalise(): void {
  if (wHigh == 0) {
    if (wLow == 0) return;
    wHigh = wLow;
    wLow = 0;
    wE -= 64;
  }
  const n: u32 = <u32>clz(wHigh);
  if (n != 0) {
    wHigh = (wHigh << n) | (wLow >> (64 - n));
    wLow <<= n;
    wE -= n;
  }
}

/** wHigh:wLow >>= n. */
export function shiftDown(n: u32): void {
  if (n == 0) return;
  if (n < 64) {
    wLow = (wLow >> n) | (wHigh << (64 - n));
    wHigh >>= n;
  } else if (n < 128) {
    wLow = wHigh >> (n - 64);
    wHigh = 0;
  } else {
    wLow = 0;
    wHigh = 0;
  }
}

/** Product of two wide numbers (their words; wE is set to ea + eb, corrected). */
export function wideMultiply(ah: u64, al: u64, ea: i32, bh: u64, bl: u64, eb: i32): void {
  fixedMultiply(ah, al, bh, bl);
  wE = ea + eb + 1;
  normalise();
}

// One step of long division: the next word of the quotient of restHigh:restLow by the divisor.
let restHigh: u64 = 0;
let restLow: u64 = 0;

function quotientWord(bh: u64, bl: u64): u64 {
  let q: u64, r: u64;
  let sure = false;
  if (restHigh >= bh) {
    q = u64.MAX_VALUE;
    r = restLow + bh;
    sure = r < bh;
  } else {
    q = divideWide(restHigh, restLow, bh);
    r = remainder;
  }
  // r:0 - q * bl must not be negative.
  let high: u64 = multiplyWide(q, bl);
  let low: u64 = wideLow;
  while (!sure && (high > r || (high == r && low != 0))) {
    q -= 1;
    high -= u64(low < bl);
    low -= bl;
    r += bh;
    sure = r < bh;
  }
  restHigh = r - high - u64(low != 0);
  restLow = 0 - low;
  return q;
}

/** Quotient of two wide numbers, cut to 128 bits. */
export function wideDivide(ah: u64, al: u64, ea: i32, bh: u64, bl: u64, eb: i32): void {
  let e = ea - eb - 1;
  restHigh = ah;
  restLow = al;
  if (ah > bh || (ah == bh && al >= bl)) {
    restLow = (al >> 1) | (ah << 63);
    restHigh = ah >> 1;
    e += 1;
  }
  const q1 = quotientWord(bh, bl);
  const q2 = quotientWord(bh, bl);
  wHigh = q1;
  wLow = q2;
  wE = e;
}

/** c0 - z * (c1 - z * (c2 - ...)), or with plus signs: coefficients at `terms`, z a fraction of 2^128. */
export function series(terms: u32, count: i32, zh: u64, zl: u64, alternating: bool): void {
  let at = terms + ((count - 1) << 4);
  let high: u64 = load<u64>(at), low: u64 = load<u64>(at, 8);
  while (at != terms) {
    at -= 16;
    fixedMultiply(high, low, zh, zl);
    const ch: u64 = load<u64>(at), cl: u64 = load<u64>(at, 8);
    if (alternating) {
      low = cl - wLow;
      high = ch - wHigh - u64(cl < wLow);
    } else {
      low = cl + wLow;
      high = ch + wHigh + u64(low < cl);
    }
  }
  wHigh = high;
  wLow = low;
}

/** 1 - wHigh:wLow; one is as near as fits. */
@inline export function complement(): void {
  if ((wHigh | wLow) == 0) setWide(u64.MAX_VALUE, u64.MAX_VALUE, wE);
  else setWide(wLow == 0 ? 0 - wHigh : ~wHigh, 0 - wLow, wE);
}

/** Rounds the wide number. Irrational values are marked as not exact; those that happen to be exact raise PE all the same. */
export function roundWide(negative: u32, exact: bool, fcw: u32): void {
  roundExtended(negative, wE + BIAS, wHigh, exact ? wLow : wLow | 1, fcw);
  if (exact) raiseFlags((outSe & 0x7fff) == 0 ? PE | UE : PE);
}
