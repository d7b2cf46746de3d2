/**
 * F2XM1 FYL2X FYL2XP1 FPTAN FPATAN FSIN FCOS FSINCOS (Intel SDM volume 1, 8.3.6 to 8.3.10; volume 2).
 *
 * Tables bring the argument near zero, a power series in 128-bit fixed point does the rest: results carry over 100 good bits
 * before they are rounded once by RC, so that they are the correctly rounded values but for about one case in 2^35. Sine,
 * cosine and tangent reduce by the 66-bit value of pi as the hardware does.
 */
import { CPU_FSW, CPU_FTOP } from "../../layout";
import { C1, clearExceptions, DE, IE, INTEGER_BIT, PE, raiseFlags, SF, UE, ZE } from "./core";
import {
  BIAS, classify, EMAX, FINITE, indefinite, INFINITE, isDenormal, NEGATIVE, normalE, normalSig, outSe, outSig, propagate,
  propagateOne, QNAN, result, roundExtended, ZERO,
} from "./number";
import { addRaw, rawE, rawLow, rawSig } from "./raw";
import {
  C2, commit, fcwOf, finishTo, INDEFINITE_SE, INDEFINITE_SIG, isEmpty, OPERAND_EXCEPTIONS, put, seAt, setTag, sigAt, stAt,
  underflow,
} from "./registers";
import {
  angles, ATAN_TERMS, atans, atanTerms, cosineTerms, EXP_TERMS, expTerms, LOG_HALVED, LOG_TERMS, logOffsets, logReciprocals,
  logTerms, powers, SINE_TERMS, sineTerms,
} from "./tables";
import { fixedMultiply, normalise, series, setWide, shiftDown, wE, wHigh, wideDivide, wideMultiply, wLow } from "./wide";

/** Rounds the wide number. Irrational values are marked as not exact; those that happen to be exact raise PE all the same. */
function roundWide(negative: u32, exact: bool, fcw: u32): void {
  roundExtended(negative, wE + BIAS, wHigh, exact ? wLow : wLow | 1, fcw);
  if (exact) raiseFlags((outSe & 0x7fff) == 0 ? PE | UE : PE);
}

// ---- sine and cosine ----

// pi/2 with 66 bits, the unit 2^-65.
const HALF_PI_HIGH: u64 = 0x3;
const HALF_PI_LOW: u64 = 0x243f6a8885a308d3;
const HALF_PI_EXPONENT: i32 = -65;

// The argument reduced to -pi/4..pi/4: wide magnitude, sign and quadrant.
let angleHigh: u64 = 0;
let angleLow: u64 = 0;
let angleE: i32 = 0;
let angleNegative: u32 = 0;
let quadrant: u32 = 0;

/** Reduces the positive number sig * 2^(e - 63). */
function reduceAngle(sig: u64, e: i32): void {
  quadrant = 0;
  angleNegative = 0;
  if (e < -1 || (e == -1 && sig <= 0xc90fdaa22168c234)) {
    angleHigh = sig;
    angleLow = 0;
    angleE = e;
    return;
  }
  let high: u64 = 0, low: u64 = sig;
  // sig < pi/2 in these units; each step doubles and takes off pi/2 where it goes.
  for (let i = e + 2; i > 0; i--) {
    high = (high << 1) | (low >> 63);
    low <<= 1;
    quadrant <<= 1;
    if (high > HALF_PI_HIGH || (high == HALF_PI_HIGH && low >= HALF_PI_LOW)) {
      high -= HALF_PI_HIGH + u64(low < HALF_PI_LOW);
      low -= HALF_PI_LOW;
      quadrant += 1;
    }
  }
  // Nearest multiple: pi/2 minus the rest when that is smaller.
  const otherLow: u64 = HALF_PI_LOW - low;
  const otherHigh: u64 = HALF_PI_HIGH - high - u64(HALF_PI_LOW < low);
  if (otherHigh < high || (otherHigh == high && otherLow < low)) {
    high = otherHigh;
    low = otherLow;
    quadrant += 1;
    angleNegative = 1;
  }
  setWide(high, low, 127 + HALF_PI_EXPONENT);
  normalise();
  angleHigh = wHigh;
  angleLow = wLow;
  angleE = wE;
}

/** Square of the angle as a fixed fraction, to wHigh:wLow. */
@inline function squareAngle(): void {
  fixedMultiply(angleHigh, angleLow, angleHigh, angleLow);
  shiftDown(-2 * (angleE + 1));
}

/** 1 - wHigh:wLow; one is as near as fits. */
@inline function complement(): void {
  if ((wHigh | wLow) == 0) setWide(u64.MAX_VALUE, u64.MAX_VALUE, wE);
  else setWide(wLow == 0 ? 0 - wHigh : ~wHigh, 0 - wLow, wE);
}

/** Sine of the reduced angle (without its sign) as a wide number. */
function sineWide(): void {
  squareAngle();
  const zh = wHigh, zl = wLow;
  series(sineTerms, SINE_TERMS, zh, zl, true);
  fixedMultiply(wHigh, wLow, zh, zl);
  complement();
  wideMultiply(angleHigh, angleLow, angleE, wHigh, wLow, -1);
}

function cosineWide(): void {
  squareAngle();
  const zh = wHigh, zl = wLow;
  series(cosineTerms, SINE_TERMS, zh, zl, true);
  fixedMultiply(wHigh, wLow, zh, zl);
  complement();
  wE = -1;
}

/** Sine (cosine = 0) or cosine (1) of what was reduced; `negative` is the sign of the argument. */
function trigonometric(cosine: u32, negative: u32, fcw: u32): void {
  const q = quadrant + cosine;
  let sign = (q >> 1) & 1;
  if (q & 1) cosineWide();
  else {
    sineWide();
    sign ^= angleNegative;
  }
  if (!cosine) sign ^= negative;
  roundWide(sign, false, fcw);
}

/** C2 as given (the argument was out of range); C1 cleared when it was. */
@inline function setC2(cpu: u32, outOfRange: bool): void {
  const fsw: u32 = load<u16>(cpu, CPU_FSW);
  store<u16>(cpu, <u16>(outOfRange ? (fsw | C2) & ~C1 : fsw & ~C2), CPU_FSW);
}

/** Out of the range -2^63..2^63 of the trigonometric instructions. */
@inline function tooLarge(kind: u32, se: u32): bool { return kind == FINITE && (se & 0x7fff) >= <u32>(BIAS + 63); }

/** FSIN (cosine = 0), FCOS (1). */
export function fpuSine(cpu: u32, cosine: u32): void {
  setC2(cpu, false);
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at);
  const kind = classify(sig, se);
  if (tooLarge(kind, se)) {
    setC2(cpu, true);
    return;
  }
  if (kind >= QNAN) propagateOne(kind, sig, se);
  else if (kind == INFINITE) indefinite();
  else if (kind == ZERO) result(cosine ? INTEGER_BIT : 0, cosine ? <u32>BIAS : se);
  else {
    if (isDenormal(sig, se)) raiseFlags(DE);
    reduceAngle(normalSig, normalE - BIAS);
    trigonometric(cosine, se >> 15, fcwOf(cpu));
  }
  finishTo(cpu, 0, outSig, outSe, 0);
}

/** Replaces ST0 by (sig, se) and pushes the result in outSig, outSe on top of it; a full stack makes both indefinite. */
function replaceAndPush(cpu: u32, sig: u64, se: u32): void {
  if ((commit(cpu) & OPERAND_EXCEPTIONS) != 0) return;
  put(stAt(cpu, 0), sig, se);
  const top: u32 = (load<u32>(cpu, CPU_FTOP) - 1) & 7;
  store<u32>(cpu, top, CPU_FTOP);
  setTag(cpu, 0);
  put(stAt(cpu, 0), outSig, outSe);
}

/** Stack faults of instructions that replace ST0 and push; true when one was handled. */
function pushFault(cpu: u32): bool {
  const empty = isEmpty(cpu, 0);
  if (!empty && isEmpty(cpu, 7)) return false;
  clearExceptions();
  raiseFlags(empty ? IE | SF : IE | SF | C1);
  result(INDEFINITE_SIG, INDEFINITE_SE);
  const tagged = !empty;
  if ((commit(cpu) & OPERAND_EXCEPTIONS) != 0) return true;
  if (!tagged) setTag(cpu, 0);
  replaceAndPush(cpu, INDEFINITE_SIG, INDEFINITE_SE);
  return true;
}

export function fpuSineCosine(cpu: u32): void {
  setC2(cpu, false);
  if (pushFault(cpu)) return;
  clearExceptions();
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at), fcw = fcwOf(cpu);
  const kind = classify(sig, se);
  if (tooLarge(kind, se)) {
    setC2(cpu, true);
    return;
  }
  let sineSig: u64, sineSe: u32;
  if (kind >= INFINITE) {
    if (kind == INFINITE) indefinite();
    else propagateOne(kind, sig, se);
    sineSig = outSig;
    sineSe = outSe;
  } else if (kind == ZERO) {
    sineSig = 0;
    sineSe = se;
    result(INTEGER_BIT, BIAS);
  } else {
    if (isDenormal(sig, se)) raiseFlags(DE);
    reduceAngle(normalSig, normalE - BIAS);
    trigonometric(0, se >> 15, fcw);
    sineSig = outSig;
    sineSe = outSe;
    trigonometric(1, se >> 15, fcw);
  }
  replaceAndPush(cpu, sineSig, sineSe);
}

export function fpuTangent(cpu: u32): void {
  setC2(cpu, false);
  if (pushFault(cpu)) return;
  clearExceptions();
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at);
  const kind = classify(sig, se);
  if (tooLarge(kind, se)) {
    setC2(cpu, true);
    return;
  }
  if (kind >= INFINITE) {
    if (kind == INFINITE) indefinite();
    else propagateOne(kind, sig, se);
    // The pushed "1.0" is the NaN as well.
    replaceAndPush(cpu, outSig, outSe);
    return;
  }
  if (kind == ZERO) result(0, se);
  else {
    if (isDenormal(sig, se)) raiseFlags(DE);
    reduceAngle(normalSig, normalE - BIAS);
    if (normalE < BIAS - 40) {
      // A little above the argument, however small.
      roundExtended(se >> 15, normalE, normalSig, 1, fcwOf(cpu));
    } else tangent(se >> 15, fcwOf(cpu));
  }
  const tangentSig = outSig, tangentSe = outSe;
  result(INTEGER_BIT, BIAS);
  replaceAndPush(cpu, tangentSig, tangentSe);
}

function tangent(negative: u32, fcw: u32): void {
  sineWide();
  const sh = wHigh, sl = wLow, sineE = wE;
  cosineWide();
  const odd = quadrant & 1;
  if (odd) wideDivide(wHigh, wLow, wE, sh, sl, sineE);
  else wideDivide(sh, sl, sineE, wHigh, wLow, wE);
  roundWide(negative ^ angleNegative ^ odd, false, fcw);
}

// ---- arc tangent ----

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

// ---- 2^x - 1 ----

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

// ---- logarithm ----

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
      if (ex < -7) logNearOne(nx, x, 0, ex);
      else {
        addRaw(0, 0, INTEGER_BIT, nx, ex, x);
        logWide(rawSig, rawLow, rawE);
      }
      timesLog(y, ey, ny, false, fcw);
    }
  }
  finishTo(cpu, 1, outSig, outSe, 1);
}
