/**
 * F2XM1 (Intel SDM volume 1, 8.3.9; volume 2).
 *
 * A table brings the argument near zero, a power series in 128-bit fixed point does the rest: the result carries over 100 good bits
 * before it is rounded once by RC, so that it is the correctly rounded value but for about one case in 2^35.
 */
import { clearExceptions, DE, INTEGER_BIT, PE, raiseFlags } from "./core";
import {
  BIAS, classify, INFINITE, isDenormal, NEGATIVE, normalE, normalSig, outSe, outSig, propagateOne, QNAN, result, ZERO,
} from "./number";
import { fcwOf, finishTo, isEmpty, seAt, sigAt, stAt, underflow } from "./registers";
import { angles, EXP_TERMS, expTerms, powers } from "./tables";
import { fixedMultiply, normalise, roundWide, series, setWide, shiftDown, wE, wHigh, wideMultiply, wLow } from "./wide";

function expMinusOne(negative: u32, sig: u64, e: i32, fcw: u32): void {
  // x = index / 32 + t: in units of 2^-126 x is sig << 63 >> -e, of which the low bits may fall off for tiny x only.
  let index: i32 = 0;
  let th: u64 = sig, tl: u64 = 0, te = e;
  let tNegative = negative;
  if (e >= -6) {
    // Fixed point with 127 fraction bits, exact.
    setWide(sig, 0, 0);
    shiftDown(-e);
    const fh = wHigh;
    index = <i32>((fh + (u64(1) << 57)) >> 58);
    const base: u64 = u64(index) << 58;
    let high: u64, low: u64 = wLow;
    if (fh < base) {
      // rest = base - x
      tNegative ^= 1;
      low = 0 - wLow;
      high = base - fh - u64(wLow != 0);
    } else high = fh - base;
    if (negative) index = -index;
    if ((high | low) == 0) {
      th = 0;
    } else {
      setWide(high, low, 0);
      normalise();
      th = wHigh;
      tl = wLow;
      te = wE;
    }
  }
  if (th != 0) {
    // w = t ln 2; g = w (1 + w/2 + w^2/6 ...)
    wideMultiply(th, tl, te, load<u64>(angles, 32), load<u64>(angles, 40), -1);
    const gh = wHigh, gl = wLow, ge = wE;
    shiftDown(min<i32>(-(ge + 1), 128));
    const zh = wHigh, zl = wLow;
    series(expTerms, EXP_TERMS, zh, zl, tNegative != 0);
    fixedMultiply(wHigh, wLow, zh, zl);
    shiftDown(1);
    // 1 +- that, 127 fraction bits
    if (tNegative) {
      const low = 0 - wLow;
      setWide(INTEGER_BIT - wHigh - u64(wLow != 0), low, 0);
    } else setWide(INTEGER_BIT + wHigh, wLow, 0);
    normalise();
    wideMultiply(wHigh, wLow, wE, gh, gl, ge);
    if (index == 0) {
      roundWide(tNegative, false, fcw);
      return;
    }
  }
  // 2^(index/32) - 1 + 2^(index/32) * g with 126 fraction bits.
  const halved = index < 0;
  const at = powers + ((halved ? index + 32 : index) << 4);
  let ph: u64 = load<u64>(at), pl: u64 = load<u64>(at, 8);
  if (halved) {
    pl = (pl >> 1) | (ph << 63);
    ph >>= 1;
  }
  let high: u64 = ph - (INTEGER_BIT >> 1), low: u64 = pl;
  if (th != 0) {
    // g as a fraction of 2^128
    shiftDown(-(wE + 1));
    fixedMultiply(wHigh, wLow, ph, pl);
    if (tNegative) {
      high = high - wHigh - u64(low < wLow);
      low -= wLow;
    } else {
      low += wLow;
      high = high + wHigh + u64(low < wLow);
    }
  }
  const below = <i64>high < 0;
  if (below) {
    low = 0 - low;
    high = low == 0 ? 0 - high : ~high;
  }
  setWide(high, low, 1);
  normalise();
  roundWide(u32(below), th == 0 && (index == 32 || index == -32), fcw);
}

/** F2XM1: ST0 = 2^ST0 - 1 for -1..1; outside that the SDM leaves the result open, and ST0 stays. */
export function fpu2xm1(cpu: u32): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at);
  const kind = classify(sig, se);
  if (kind >= QNAN) propagateOne(kind, sig, se);
  else if (kind == ZERO) result(sig, se);
  else if (kind == INFINITE) {
    if (se >> 15) result(INTEGER_BIT, NEGATIVE | <u32>BIAS);
    else result(sig, se);
  } else {
    if (isDenormal(sig, se)) raiseFlags(DE);
    const e = normalE - BIAS;
    if (e > 0 || (e == 0 && normalSig != INTEGER_BIT)) {
      raiseFlags(PE);
      result(sig, se);
    } else expMinusOne(se >> 15, normalSig, e, fcwOf(cpu));
  }
  finishTo(cpu, 0, outSig, outSe, 0);
}
