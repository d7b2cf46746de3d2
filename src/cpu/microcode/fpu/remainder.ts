/** FPREM FPREM1 FRNDINT FSCALE FXTRACT (Intel SDM volume 2). */
import { CPU_FSW, CPU_FTOP } from "../../layout";
import {
  C1, clearExceptions, DE, divideWide, exc, IE, INTEGER_BIT, PE, raiseFlags, remainder, SF, ZE,
} from "./core";
import {
  BIAS, classify, EMAX, FINITE, indefinite, INFINITE, isDenormal, NEGATIVE, normalE, normalSig, outSe, outSig, propagate,
  propagateOne, QNAN, result, roundExtended, ZERO,
} from "./number";
import {
  C0, C2, C3, commit, fcwOf, finishTo, INDEFINITE_SE, INDEFINITE_SIG, isEmpty, OPERAND_EXCEPTIONS, put, seAt, setTag, sigAt, stAt,
  underflow,
} from "./registers";

/** Exponent difference that one FPREM takes off at most when it does not come to the end. */
const PARTIAL_BITS: i32 = 63;

/** FPREM (nearest = 0) and FPREM1 (1): ST0 = ST0 rem ST1. */
export function fpuRemainder(cpu: u32, nearest: u32): void {
  store<u16>(cpu, <u16>(<u32>load<u16>(cpu, CPU_FSW) & ~C2), CPU_FSW);
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  const aAt = stAt(cpu, 0), bAt = stAt(cpu, 1);
  const aSig = sigAt(aAt), aSe = seAt(aAt), bSig = sigAt(bAt), bSe = seAt(bAt);
  const ka = classify(aSig, aSe);
  const a = normalSig, ea = normalE;
  const kb = classify(bSig, bSe);
  const b = normalSig, eb = normalE;
  const fcw = fcwOf(cpu);
  let conditions: u32 = 0;
  if (ka >= QNAN || kb >= QNAN) propagate(ka, aSig, aSe, kb, bSig, bSe);
  else if (ka == INFINITE || kb == ZERO) indefinite();
  else {
    if (isDenormal(aSig, aSe) || isDenormal(bSig, bSe)) raiseFlags(DE);
    if (ka == ZERO) result(aSig, aSe);
    else if (kb == INFINITE) roundExtended(aSe >> 15, ea, a, 0, fcw);
    else {
      const d = ea - eb;
      let q: u64 = 0, rest: u64 = a, e = ea, negative = aSe >> 15;
      if (d >= 0) {
        const partial = d >= 64;
        const n: u32 = partial ? partialBits(d) : d;
        // a * 2^n divided by b
        let whole: u64 = 0;
        if (a >= b) {
          whole = 1;
          rest = a - b;
        }
        if (n != 0) {
          q = divideWide(rest >> (64 - n), rest << n, b);
          rest = remainder;
        }
        q |= whole << n;
        e = ea - n;
        if (partial) conditions = C2;
      }
      if (nearest && !conditions && d >= -1) {
        // Rest against b / 2, at the scale of b: for d = -1 the rest is a / 2.
        let up: bool;
        if (d < 0) {
          up = rest > b;
          if (up) {
            // b - a with a at half its scale: (2 b - a) at the scale of a.
            rest = (b - rest) + b;
          }
        } else {
          const half: u64 = b - rest; // rest against b - rest
          up = rest > half || (rest == half && (q & 1) != 0);
          if (up) rest = half;
        }
        if (up) {
          q += 1;
          negative ^= 1;
        }
      }
      if (!conditions) conditions = ((q & 4) != 0 ? C0 : 0) | ((q & 2) != 0 ? C3 : 0) | ((q & 1) != 0 ? C1 : 0);
      if (rest == 0) result(0, aSe & NEGATIVE);
      else {
        const z: i32 = <i32>clz(rest);
        roundExtended(negative, e - z, rest << z, 0, fcw);
      }
    }
  }
  if ((commit(cpu) & OPERAND_EXCEPTIONS) != 0) return;
  // A NaN leaves C0 and C3 alone.
  if (ka < QNAN && kb < QNAN && !(exc & IE)) {
    store<u16>(cpu, <u16>((<u32>load<u16>(cpu, CPU_FSW) & ~(C0 | C1 | C2 | C3)) | conditions), CPU_FSW);
  }
  put(aAt, outSig, outSe);
}

/** How many bits of quotient a partial remainder takes off. */
@inline function partialBits(d: i32): u32 { return <u32>min<i32>(PARTIAL_BITS, 32 + (d & 31)); }

export function fpuRoundInt(cpu: u32): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at);
  const kind = classify(sig, se);
  if (kind >= QNAN) propagateOne(kind, sig, se);
  else if (kind != FINITE || normalE >= BIAS + 63) result(sig, se);
  else {
    if (isDenormal(sig, se)) raiseFlags(DE);
    const shift: u32 = BIAS + 63 - normalE; // 1..: places behind the point
    const negative = se >> 15;
    const whole: u64 = shift < 64 ? normalSig >> shift : 0;
    const frac: u64 = shift < 64 ? normalSig << (64 - shift) : shift == 64 ? normalSig : 1;
    if (frac == 0) result(normalSig, se);
    else {
      const rc = (fcwOf(cpu) >> 10) & 3;
      let up = false;
      if (rc == 0) up = frac > INTEGER_BIT || (frac == INTEGER_BIT && (whole & 1) != 0);
      else if (rc != 3) up = (rc == 1) == (negative != 0);
      raiseFlags(up ? PE | C1 : PE);
      const rounded: u64 = whole + u64(up);
      if (rounded == 0) result(0, se & NEGATIVE);
      else {
        const z: u32 = <u32>clz(rounded);
        result(rounded << z, (se & NEGATIVE) | (BIAS + 63 - z));
      }
    }
  }
  finishTo(cpu, 0, outSig, outSe, 0);
}

/** FSCALE: ST0 times 2 to the whole part of ST1. */
export function fpuScale(cpu: u32): void {
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflow(cpu, 0, 0);
    return;
  }
  clearExceptions();
  const aAt = stAt(cpu, 0), bAt = stAt(cpu, 1);
  const aSig = sigAt(aAt), aSe = seAt(aAt), bSig = sigAt(bAt), bSe = seAt(bAt);
  const ka = classify(aSig, aSe);
  const a = normalSig, ea = normalE;
  const kb = classify(bSig, bSe);
  const b = normalSig, eb = normalE - BIAS;
  const nb = bSe >> 15;
  if (ka >= QNAN || kb >= QNAN) propagate(ka, aSig, aSe, kb, bSig, bSe);
  else if (kb == INFINITE && ((ka == INFINITE && nb != 0) || (ka == ZERO && nb == 0))) indefinite();
  else {
    if (isDenormal(aSig, aSe) || isDenormal(bSig, bSe)) raiseFlags(DE);
    if (ka != FINITE) result(aSig, aSe);
    else if (kb == INFINITE) {
      if (nb) result(0, aSe & NEGATIVE);
      else result(INTEGER_BIT, (aSe & NEGATIVE) | EMAX);
    } else {
      let n: i32 = 0;
      if (kb == FINITE && eb >= 0) n = eb > 16 ? 0x20000 : <i32>(b >> (63 - eb));
      roundExtended(aSe >> 15, nb ? ea - n : ea + n, a, 0, fcwOf(cpu));
    }
  }
  finishTo(cpu, 0, outSig, outSe, 0);
}

/** FXTRACT: exponent as a number in ST1, significand in ST0. */
export function fpuExtract(cpu: u32): void {
  const empty = isEmpty(cpu, 0);
  clearExceptions();
  let exponentSig = INDEFINITE_SIG, exponentSe = INDEFINITE_SE;
  if (empty || !isEmpty(cpu, 7)) {
    raiseFlags(empty ? IE | SF : IE | SF | C1);
    result(INDEFINITE_SIG, INDEFINITE_SE);
  } else {
    const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at);
    const kind = classify(sig, se);
    if (kind >= QNAN) {
      propagateOne(kind, sig, se);
      exponentSig = outSig;
      exponentSe = outSe;
    } else if (kind == INFINITE) {
      exponentSig = INTEGER_BIT;
      exponentSe = EMAX;
      result(sig, se);
    } else if (kind == ZERO) {
      raiseFlags(ZE);
      exponentSig = INTEGER_BIT;
      exponentSe = <u32>EMAX | NEGATIVE;
      result(sig, se);
    } else {
      if (isDenormal(sig, se)) raiseFlags(DE);
      const e = normalE - BIAS;
      if (e == 0) {
        exponentSig = 0;
        exponentSe = 0;
      } else {
        const magnitude: u64 = <u64>abs<i32>(e);
        const z: u32 = <u32>clz(magnitude);
        exponentSig = magnitude << z;
        exponentSe = (e < 0 ? NEGATIVE : 0) | (BIAS + 63 - z);
      }
      result(normalSig, (se & NEGATIVE) | BIAS);
    }
  }
  if ((commit(cpu) & OPERAND_EXCEPTIONS) != 0) return;
  put(stAt(cpu, 0), exponentSig, exponentSe);
  setTag(cpu, 0);
  store<u32>(cpu, (load<u32>(cpu, CPU_FTOP) - 1) & 7, CPU_FTOP);
  setTag(cpu, 0);
  put(stAt(cpu, 0), outSig, outSe);
}
