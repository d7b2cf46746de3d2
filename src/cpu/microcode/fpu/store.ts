/**
 * ST0 on its way to memory: FST FSTP FIST FISTP FISTTP FBSTP (Intel SDM volume 2).
 *
 * In two steps, because the store may fault in between: fpuStore* computes the value, says in CPU_FPU_STORE whether it may be
 * written and keeps the flags; fpuStored() makes the flags visible and pops. An unmasked exception other than PE keeps the
 * memory and the stack as they were.
 */
import { CPU_FPU_IMAGE, CPU_FPU_STORE } from "../../layout";
import { C1, clearExceptions, dropFlags, exc, IE, INTEGER_BIT, OE, PE, raiseFlags, rE, roundTo, rSig, SF, UE } from "./core";
import { BIAS, classify, INFINITE, normalE, normalSig, QNAN, SNAN, UNSUPPORTED, ZERO } from "./number";
import {
  commit, fcwOf, INDEFINITE_SE, INDEFINITE_SIG, isEmpty, pops, put, seAt, setTag, sigAt, stAt, underflow,
} from "./registers";

/** Notes whether the store happens. */
@inline function decide(cpu: u32): void {
  const stopped = exc & 0x1f & ~fcwOf(cpu);
  if (stopped & (OE | UE)) dropFlags(PE | C1);
  store<u32>(cpu, u32(stopped == 0), CPU_FPU_STORE);
}

/** Second step: flags, and pops unless nothing was written. */
export function fpuStored(cpu: u32, popCount: u32): void {
  commit(cpu);
  if (load<u32>(cpu, CPU_FPU_STORE) != 0) pops(cpu, popCount);
}

/** True when ST0 is empty: the indefinite value of the format is what is to be written. */
@inline function begin(cpu: u32): bool {
  clearExceptions();
  if (!isEmpty(cpu, 0)) return false;
  raiseFlags(IE | SF);
  return true;
}

export function fpuStoreF64(cpu: u32): u64 {
  if (begin(cpu)) {
    decide(cpu);
    return 0xfff8000000000000;
  }
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at), fcw = fcwOf(cpu);
  const e: i32 = <i32>(se & 0x7fff) - 0x3c00;
  let bits: u64 = u64(se & 0x8000) << 48;
  if (!(fcw & 0xc00) && <u32>(e - 1) < 0x7fd && <i64>sig < 0) {
    const cut: u64 = sig << 53;
    let kept: u64 = sig >> 11;
    if (cut != 0) {
      raiseFlags(PE);
      if (cut > INTEGER_BIT || (cut == INTEGER_BIT && (kept & 1) != 0)) {
        raiseFlags(C1);
        kept += 1;
      }
    }
    // The integer bit of `kept` adds one to the exponent; so does a carry.
    bits |= (u64(e - 1) << 52) + kept;
  } else {
    const kind = classify(sig, se);
    if (kind == UNSUPPORTED) {
      raiseFlags(IE);
      bits = 0xfff8000000000000;
    } else if (kind >= QNAN) {
      if (kind == SNAN) raiseFlags(IE);
      bits |= 0x7ff8000000000000 | ((sig << 1) >> 12);
    } else if (kind == INFINITE) bits |= 0x7ff0000000000000;
    else if (kind != ZERO) {
      roundTo(se >> 15, normalE - 0x3c00, normalSig, 0, 11, (fcw >> 10) & 3, 0x7ff, 1536, fcw, false);
      bits |= (u64(rE) << 52) | ((rSig << 1) >> 12);
    }
  }
  decide(cpu);
  return bits;
}

export function fpuStoreF32(cpu: u32): u32 {
  if (begin(cpu)) {
    decide(cpu);
    return 0xffc00000;
  }
  const at = stAt(cpu, 0), sig = sigAt(at), se = seAt(at), fcw = fcwOf(cpu);
  let bits: u32 = (se & 0x8000) << 16;
  const kind = classify(sig, se);
  if (kind == UNSUPPORTED) {
    raiseFlags(IE);
    bits = 0xffc00000;
  } else if (kind >= QNAN) {
    if (kind == SNAN) raiseFlags(IE);
    bits |= 0x7fc00000 | <u32>((sig << 1) >> 41);
  } else if (kind == INFINITE) bits |= 0x7f800000;
  else if (kind != ZERO) {
    roundTo(se >> 15, normalE - 0x3f80, normalSig, 0, 40, (fcw >> 10) & 3, 0xff, 192, fcw, false);
    bits |= (<u32>rE << 23) | <u32>((rSig << 1) >> 41);
  }
  decide(cpu);
  return bits;
}

/** Significand and (at CPU_FPU_IMAGE, with it) sign and exponent for FSTP m80. */
export function fpuStoreF80(cpu: u32): void {
  let sig = INDEFINITE_SIG, se = INDEFINITE_SE;
  if (!begin(cpu)) {
    const at = stAt(cpu, 0);
    sig = sigAt(at);
    se = seAt(at);
  }
  store<u64>(cpu, sig, CPU_FPU_IMAGE);
  store<u64>(cpu, <u64>se, CPU_FPU_IMAGE + 8);
  decide(cpu);
}

/** Magnitude of ST0 as an integer, at most `limit` (one more when negative, if `asymmetric`); else IE. True when it fits. */
let magnitude: u64 = 0;
function integerMagnitude(sig: u64, se: u32, rc: u32, limit: u64, asymmetric: bool): bool {
  const kind = classify(sig, se);
  magnitude = 0;
  if (kind == ZERO) return true;
  if (kind >= INFINITE) {
    raiseFlags(IE);
    return false;
  }
  const negative = se >> 15;
  const shift = 63 + BIAS - normalE;
  if (shift < 0) {
    raiseFlags(IE);
    return false;
  }
  let frac: u64 = 1;
  if (shift == 0) {
    magnitude = normalSig;
    frac = 0;
  } else if (shift < 64) {
    magnitude = normalSig >> shift;
    frac = normalSig << (64 - shift);
  } else if (shift == 64) frac = normalSig;
  let up = false;
  if (rc == 0) up = frac > INTEGER_BIT || (frac == INTEGER_BIT && (magnitude & 1) != 0);
  else if (rc != 3) up = frac != 0 && (rc == 1) == (negative != 0);
  if (up && ++magnitude == 0) {
    raiseFlags(IE);
    return false;
  }
  if (magnitude > limit + u64(asymmetric && negative)) {
    raiseFlags(IE);
    return false;
  }
  if (frac != 0) raiseFlags(up ? PE | C1 : PE);
  return true;
}

/** `bits` 16, 32 or 64; the result sign-extended. `truncate`: FISTTP. */
export function fpuStoreInt(cpu: u32, bits: u32, truncate: u32): i64 {
  const least: u64 = u64(1) << (bits - 1);
  let value: i64 = <i64>(0 - least);
  if (!begin(cpu)) {
    const at = stAt(cpu, 0), se = seAt(at);
    const rc = truncate ? 3 : (fcwOf(cpu) >> 10) & 3;
    if (integerMagnitude(sigAt(at), se, rc, least - 1, true)) value = <i64>(se >> 15 ? 0 - magnitude : magnitude);
  }
  decide(cpu);
  return value;
}

/** FBSTP: ten bytes at CPU_FPU_IMAGE. */
export function fpuStoreBcd(cpu: u32): void {
  let low: u64 = 0xc000000000000000, high: u64 = 0xffff;
  if (!begin(cpu)) {
    const at = stAt(cpu, 0), se = seAt(at);
    if (integerMagnitude(sigAt(at), se, (fcwOf(cpu) >> 10) & 3, 999999999999999999, false)) {
      let rest: u64 = magnitude;
      low = 0;
      for (let i = 0; i < 64; i += 4) {
        const next: u64 = rest / 10;
        low |= (rest - next * 10) << i;
        rest = next;
      }
      const tens: u64 = rest / 10;
      high = (tens << 4) | (rest - tens * 10) | u64(se & 0x8000);
    }
  }
  store<u64>(cpu, low, CPU_FPU_IMAGE);
  store<u64>(cpu, high, CPU_FPU_IMAGE + 8);
  decide(cpu);
}

/** FSTPNCE ST(i): FSTP without stack fault; an empty ST0 is popped and not stored. */
export function fpuStoreStQuietly(cpu: u32, dst: u32): void {
  if (isEmpty(cpu, 0)) {
    clearExceptions();
    commit(cpu);
    pops(cpu, 1);
  } else fpuStoreSt(cpu, dst, 1);
}

/** FST ST(i), FSTP ST(i). */
export function fpuStoreSt(cpu: u32, dst: u32, popCount: u32): void {
  if (isEmpty(cpu, 0)) {
    underflow(cpu, dst, popCount);
    return;
  }
  clearExceptions();
  commit(cpu);
  const at = stAt(cpu, 0);
  put(stAt(cpu, dst), sigAt(at), seAt(at));
  setTag(cpu, dst);
  pops(cpu, popCount);
}
