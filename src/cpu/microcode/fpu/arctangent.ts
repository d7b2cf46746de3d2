/**
 * FPATAN (Intel SDM volume 2).
 *
 * A table brings the argument near zero, a power series in 128-bit fixed point does the rest: the result carries over 100 good bits
 * before it is rounded once by RC, so that it is the correctly rounded value but for about one case in 2^35.
 */
import { clearExceptions, DE, INTEGER_BIT, raiseFlags } from "./core";
import {
  BIAS, classify, FINITE, INFINITE, isDenormal, normalE, normalSig, outSe, outSig, propagate, QNAN, result, ZERO,
} from "./number";
import { fcwOf, finishTo, isEmpty, seAt, sigAt, stAt, underflow } from "./registers";
import { angles, ATAN_TERMS, atans, atanTerms } from "./tables";
import {
  complement, fixedMultiply, normalise, roundWide, series, setWide, shiftDown, wE, wHigh, wideDivide, wideMultiply, wLow,
} from "./wide";

/** atan(a / b) of positive numbers a <= b as a wide number. */
function arcTangentWide(aSig: u64, ea: i32, bSig: u64, eb: i32): void {
  const d = eb - ea;
  let index: u32 = 0;
  if (d < 8) {
    const ratio = <f64>aSig / <f64>bSig * <f64>(1 << (8 - d)) / 256.0;
    index = <u32>(ratio * 32.0 + 0.5);
  }
  let negative = false;
  if (index == 0) wideDivide(aSig, 0, ea, bSig, 0, eb);
  else {
    // t = (a - c b) / (b + c a) with c = index / 32; both sides times 32, aligned to b with 8 bits to spare below.
    // a and b as numbers of 72 bits:
    const bh: u64 = bSig >> 56, bl: u64 = bSig << 8;
    const ah: u64 = d >= 8 ? 0 : aSig >> (56 + d), al: u64 = aSig << (8 - d);
    const i: u64 = index;
    // 32 a
    const ah32: u64 = (ah << 5) | (al >> 59), al32: u64 = al << 5;
    const bh32: u64 = (bh << 5) | (bl >> 59), bl32: u64 = bl << 5;
    // i a, i b: the low words in halves
    const iah: u64 = ah * i + (((al >> 32) * i + (((al & 0xffffffff) * i) >> 32)) >> 32), ial: u64 = al * i;
    const ibh: u64 = bh * i + (((bl >> 32) * i + (((bl & 0xffffffff) * i) >> 32)) >> 32), ibl: u64 = bl * i;
    let nh: u64 = ah32 - ibh - u64(al32 < ibl), nl: u64 = al32 - ibl;
    if (<i64>nh < 0) {
      negative = true;
      nl = 0 - nl;
      nh = nl == 0 ? 0 - nh : ~nh;
    }
    const dl: u64 = bl32 + ial;
    const dh: u64 = bh32 + iah + u64(dl < ial);
    if ((nh | nl) == 0) {
      setWide(load<u64>(atans + (index << 4)), load<u64>(atans + (index << 4), 8), 2);
      normalise();
      return;
    }
    setWide(nh, nl, 127);
    normalise();
    const numeratorHigh = wHigh, numeratorLow = wLow, numeratorE = wE;
    setWide(dh, dl, 127);
    normalise();
    wideDivide(numeratorHigh, numeratorLow, numeratorE, wHigh, wLow, wE);
  }
  const th = wHigh, tl = wLow, te = wE;
  // t^2 as a fixed fraction; |t| is at most about 1/62.
  fixedMultiply(th, tl, th, tl);
  shiftDown(min<i32>(-2 * (te + 1), 128));
  const zh = wHigh, zl = wLow;
  series(atanTerms, ATAN_TERMS, zh, zl, true);
  fixedMultiply(wHigh, wLow, zh, zl);
  complement();
  wideMultiply(th, tl, te, wHigh, wLow, -1);
  if (index == 0) return;
  // Fixed point with 125 fraction bits: exponent 2 in the top bit.
  shiftDown(min<i32>(2 - wE, 128));
  const ch: u64 = load<u64>(atans + (index << 4)), cl: u64 = load<u64>(atans + (index << 4), 8);
  if (negative) setWide(ch - wHigh - u64(cl < wLow), cl - wLow, 2);
  else {
    const low: u64 = cl + wLow;
    setWide(ch + wHigh + u64(low < cl), low, 2);
  }
  normalise();
}

/** The angle wide plus or minus from pi/2 (which = 0) or pi (1). */
function fromAngle(which: u32, plus: bool): void {
  shiftDown(<u32>min<i32>(2 - wE, 128));
  const ch: u64 = load<u64>(angles + (which << 4)), cl: u64 = load<u64>(angles + (which << 4), 8);
  if (plus) {
    const low: u64 = cl + wLow;
    setWide(ch + wHigh + u64(low < cl), low, 2);
  } else setWide(ch - wHigh - u64(cl < wLow), cl - wLow, 2);
  normalise();
}

/** FPATAN: ST1 = atan(ST1 / ST0), pop. */
export function fpuArcTangent(cpu: u32): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflow(cpu, 1, 1);
    return;
  }
  clearExceptions();
  const xAt = stAt(cpu, 0), yAt = stAt(cpu, 1), fcw = fcwOf(cpu);
  const xSig = sigAt(xAt), xSe = seAt(xAt), ySig = sigAt(yAt), ySe = seAt(yAt);
  const kx = classify(xSig, xSe);
  const x = normalSig, ex = normalE - BIAS;
  const ky = classify(ySig, ySe);
  const y = normalSig, ey = normalE - BIAS;
  const nx = xSe >> 15, ny = ySe >> 15;
  if (kx >= QNAN || ky >= QNAN) propagate(kx, xSig, xSe, ky, ySig, ySe);
  else {
    if (isDenormal(xSig, xSe) || isDenormal(ySig, ySe)) raiseFlags(DE);
    if (ky == ZERO || (kx == INFINITE && ky == FINITE)) {
      if (!nx) result(0, ny << 15);
      else {
        setWide(load<u64>(angles, 16), load<u64>(angles, 24), 2);
        normalise();
        roundWide(ny, false, fcw);
      }
    } else if (kx == ZERO || (ky == INFINITE && kx == FINITE)) {
      setWide(load<u64>(angles), load<u64>(angles, 8), 2);
      normalise();
      roundWide(ny, false, fcw);
    } else if (kx == INFINITE) {
      // Both infinite: pi/4 or 3 pi/4.
      setWide(INTEGER_BIT, 0, 0);
      arcTangentWide(INTEGER_BIT, 0, INTEGER_BIT, 0);
      if (nx) fromAngle(1, false);
      roundWide(ny, false, fcw);
    } else {
      if (ey < ex || (ey == ex && y <= x)) {
        arcTangentWide(y, ey, x, ex);
        if (nx) fromAngle(1, false);
        // Far below the least number the exponent may be anything: roundTo copes.
      } else {
        arcTangentWide(x, ex, y, ey);
        fromAngle(0, nx != 0);
      }
      roundWide(ny, false, fcw);
    }
  }
  finishTo(cpu, 1, outSig, outSe, 1);
}
