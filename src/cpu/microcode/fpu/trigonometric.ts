/**
 * FSIN FCOS FSINCOS FPTAN (Intel SDM volume 1, 8.3.7 and 8.3.8; volume 2).
 *
 * The argument is reduced by the 66-bit value of pi as the hardware does, a power series in 128-bit fixed point does the rest: results
 * carry over 100 good bits before they are rounded once by RC.
 */
import { CPU_FSW, CPU_FTOP } from "../../layout";
import { C1, clearExceptions, DE, IE, INTEGER_BIT, raiseFlags, SF } from "./core";
import {
  BIAS, classify, FINITE, indefinite, INFINITE, isDenormal, normalE, normalSig, outSe, outSig, propagateOne, QNAN, result,
  roundExtended, ZERO,
} from "./number";
import {
  C2, commit, fcwOf, finishTo, INDEFINITE_SE, INDEFINITE_SIG, isEmpty, OPERAND_EXCEPTIONS, put, seAt, setTag, sigAt, stAt,
  underflow,
} from "./registers";
import { cosineTerms, SINE_TERMS, sineTerms } from "./tables";
import {
  complement, fixedMultiply, normalise, roundWide, series, setWide, shiftDown, wE, wHigh, wideDivide, wideMultiply, wLow,
} from "./wide";

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
