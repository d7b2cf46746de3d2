/**
 * FYL2X, FYL2XP1 (Intel SDM volume 1, 8.3.9; volume 2).
 *
 * A table brings the argument near zero, a power series in 128-bit fixed point does the rest: the result carries over 100 good bits
 * before it is rounded once by RC, so that it is the correctly rounded value but for about one case in 2^35.
 */
import { clearExceptions, DE, INTEGER_BIT, PE, raiseFlags, ZE } from "./core";
import {
  BIAS, classify, EMAX, FINITE, indefinite, INFINITE, isDenormal, NEGATIVE, normalE, normalSig, outSe, outSig, propagate, QNAN,
  result, ZERO,
} from "./number";
import { addRaw, rawE, rawLow, rawSig } from "./raw";
import { fcwOf, finishTo, isEmpty, seAt, sigAt, stAt, underflow } from "./registers";
import { LOG_HALVED, LOG_TERMS, logOffsets, logReciprocals, logTerms } from "./tables";
import { normalise, roundWide, series, setWide, shiftDown, wE, wHigh, wideMultiply, wLow } from "./wide";

let logNegative: u32 = 0;

/** log2(1 + r) for |r| up to 1/64, r wide with sign: a wide magnitude; the sign is that of r. */
function logNearOne(negative: u32, rh: u64, rl: u64, re: i32): void {
  setWide(rh, rl, re);
  shiftDown(min<i32>(-(re + 1), 128));
  series(logTerms, LOG_TERMS, wHigh, wLow, !negative);
  wE = 0;
  normalise();
  wideMultiply(wHigh, wLow, wE, rh, rl, re);
  logNegative = negative;
}

/** log2 of (high:low) * 2^(e - 127): magnitude wide, sign in logNegative. Zero (for 1) has wHigh = 0. True when exact. */
function logWide(high: u64, low: u64, e: i32): bool {
  const j: u32 = <u32>(high >> 57) & 63;
  let k = e;
  const c: u64 = load<u16>(logReciprocals + (j << 1));
  // r = m c / 256 - 1 with 119 fraction bits, m = 1..2 (or half of that)
  let mh: u64 = high >> 8, ml: u64 = (low >> 8) | (high << 56);
  if (j >= LOG_HALVED) {
    k += 1;
    ml = (ml >> 1) | (mh << 63);
    mh >>= 1;
  }
  // m has 119 fraction bits now; times c gives 127 with the division by 256 understood.
  const carry: u64 = ((ml >> 32) * c + (((ml & 0xffffffff) * c) >> 32)) >> 32;
  let rl: u64 = ml * c;
  let rh: u64 = mh * c + carry - INTEGER_BIT;
  const negative = <u32>(rh >> 63);
  if (negative) {
    rl = 0 - rl;
    rh = rl == 0 ? 0 - rh : ~rh;
  }
  const none = (rh | rl) == 0;
  if (none) setWide(0, 0, 0);
  else {
    setWide(rh, rl, 0);
    normalise();
    logNearOne(negative, wHigh, wLow, wE);
    if (k == 0 && c == 256) return false;
  }
  // Sum with 112 fraction bits: top bit is worth 2^15.
  if (!none) shiftDown(15 - wE);
  const offset = logOffsets + (j << 4);
  let sh: u64 = load<u64>(offset) + (<u64>k << 48), sl: u64 = load<u64>(offset, 8);
  if (none || !negative) {
    sl += wLow;
    sh = sh + wHigh + u64(sl < wLow);
  } else {
    sh = sh - wHigh - u64(sl < wLow);
    sl -= wLow;
  }
  logNegative = <u32>(sh >> 63);
  if (logNegative) {
    sl = 0 - sl;
    sh = sl == 0 ? 0 - sh : ~sh;
  }
  setWide(sh, sl, 15);
  normalise();
  return none && c == 256;
}

/** y times the logarithm in wHigh:wLow. */
function timesLog(y: u64, ey: i32, ny: u32, exact: bool, fcw: u32): void {
  if (wHigh == 0) {
    result(0, ny << 15);
    return;
  }
  wideMultiply(wHigh, wLow, wE, y, 0, ey);
  roundWide(ny ^ logNegative, exact, fcw);
}

/** FYL2X: ST1 = ST1 * log2(ST0), pop. */
export function fpuYl2x(cpu: u32): void {
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
  const denormal: u32 = isDenormal(xSig, xSe) || isDenormal(ySig, ySe) ? DE : 0;
  if (kx >= QNAN || ky >= QNAN) propagate(kx, xSig, xSe, ky, ySig, ySe);
  else if (nx && kx != ZERO) indefinite();
  else if (kx == ZERO) {
    if (ky == ZERO) indefinite();
    else {
      if (ky == FINITE) raiseFlags(ZE);
      else raiseFlags(denormal);
      result(INTEGER_BIT, (<u32>EMAX | (ny << 15)) ^ NEGATIVE);
    }
  } else if (kx == INFINITE) {
    if (ky == ZERO) indefinite();
    else {
      raiseFlags(denormal);
      result(INTEGER_BIT, <u32>EMAX | (ny << 15));
    }
  } else {
    const below: u32 = u32(ex < 0);
    const one = ex == 0 && x == INTEGER_BIT;
    if (ky == INFINITE) {
      if (one) indefinite();
      else {
        raiseFlags(denormal);
        result(INTEGER_BIT, <u32>EMAX | ((ny ^ below) << 15));
      }
    } else {
      raiseFlags(denormal);
      if (ky == ZERO || one) result(0, (ny ^ below) << 15);
      else {
        const exact = logWide(x, 0, ex);
        timesLog(y, ey, ny, exact, fcw);
      }
    }
  }
  finishTo(cpu, 1, outSig, outSe, 1);
}

/** FYL2XP1: ST1 = ST1 * log2(ST0 + 1), pop. */
export function fpuYl2xp1(cpu: u32): void {
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
  const denormal: u32 = isDenormal(xSig, xSe) || isDenormal(ySig, ySe) ? DE : 0;
  if (kx >= QNAN || ky >= QNAN) propagate(kx, xSig, xSe, ky, ySig, ySe);
  else if (nx && kx == INFINITE) indefinite();
  else if ((kx == ZERO && ky == INFINITE) || (kx == INFINITE && ky == ZERO)) indefinite();
  else {
    raiseFlags(denormal);
    if (kx == INFINITE || ky == INFINITE) result(INTEGER_BIT, <u32>EMAX | ((nx ^ ny) << 15));
    else if (kx == ZERO || ky == ZERO) result(0, (nx ^ ny) << 15);
    else if (nx && ex >= 0) {
      // At and below -1 the SDM leaves the result open.
      raiseFlags(PE);
      result(xSig, xSe);
    } else {
      let exact = false;
      if (ex < -7) logNearOne(nx, x, 0, ex);
      else {
        addRaw(0, 0, INTEGER_BIT, nx, ex, x);
        exact = logWide(rawSig, rawLow, rawE) && rawLow == 0;
      }
      timesLog(y, ey, ny, exact, fcw);
    }
  }
  finishTo(cpu, 1, outSig, outSe, 1);
}
