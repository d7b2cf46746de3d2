/** F16C: conversions between half and single precision. Intel SDM volume 2, VCVTPH2PS and VCVTPS2PH. */
import { CPU_MXCSR } from "../../layout";
import { clearExceptions, DE, IE, raiseFlags, rE, roundTo, rSig } from "../fpu/core";
import {
  commit, INFINITE, MXCSR_MASK_SHIFT, MXCSR_RC_SHIFT, pending, QNAN, SNAN, unpack, unpackedDenormal, unpackedE, unpackedKind,
  unpackedNegative, unpackedSig, ZERO,
} from "../sse-float";

const HALF_BIAS: i32 = 15;
const SINGLE_BIAS: i32 = 127;
const SINGLE_QUIET: u32 = 0x400000;
const HALF_QUIET: u32 = 0x200;

/** Exact; denormal halves are ordinary singles and raise nothing, whatever DAZ says. */
function toSingle(half: u32): u32 {
  const sign = (half & 0x8000) << 16;
  const e = (half >> 10) & 31;
  const fraction = half & 0x3ff;
  if (e == 31) {
    if (fraction == 0) return sign | 0x7f800000;
    if (!(half & HALF_QUIET)) raiseFlags(IE);
    return sign | 0x7f800000 | SINGLE_QUIET | (fraction << 13);
  }
  if (e != 0) return sign | ((e + SINGLE_BIAS - HALF_BIAS) << 23) | (fraction << 13);
  if (fraction == 0) return sign;
  const n = <u32>clz(fraction) - 21; // places to the leading bit of a normal one
  return sign | ((SINGLE_BIAS - HALF_BIAS + 1 - n) << 23) | (((fraction << n) & 0x3ff) << 13);
}

/** `count` halves at `a` to singles; nonzero when an exception is pending. */
export function sseHalfToSingle(cpu: u32, dst: u32, a: u32, count: u32): i32 {
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) store<u32>(results + i * 4, toSingle(load<u16>(a + i * 2)));
  return commit(cpu, dst, count * 4);
}

/** `imm` as in the instruction: bits 0..1 the rounding mode, bit 2 = MXCSR.RC instead. FTZ does not matter. */
function toHalf(v: u32, imm: u32, mxcsr: u32): u32 {
  unpack(v, true, mxcsr);
  const sign = unpackedNegative << 15;
  if (unpackedKind == ZERO) return sign;
  if (unpackedKind == INFINITE) return sign | 0x7c00;
  if (unpackedKind >= QNAN) {
    if (unpackedKind == SNAN) raiseFlags(IE);
    return sign | 0x7c00 | HALF_QUIET | ((v >> 13) & 0x3ff);
  }
  if (unpackedDenormal) raiseFlags(DE);
  const rc = imm & 4 ? (mxcsr >> MXCSR_RC_SHIFT) & 3 : imm & 3;
  const e = unpackedE - SINGLE_BIAS + HALF_BIAS;
  roundTo(unpackedNegative, e, unpackedSig, 0, 53, rc, 31, 24, mxcsr >> MXCSR_MASK_SHIFT, false);
  return sign | (<u32>rE << 10) | <u32>((rSig << 1) >> 54);
}

/** `count` singles at `a` to halves, densely packed. */
export function sseSingleToHalf(cpu: u32, imm: u32, dst: u32, a: u32, count: u32): i32 {
  const mxcsr = load<u32>(cpu, CPU_MXCSR);
  clearExceptions();
  const results = pending(cpu);
  for (let i: u32 = 0; i < count; i++) store<u16>(results + i * 2, <u16>toHalf(load<u32>(a + i * 4), imm, mxcsr));
  return commit(cpu, dst, count * 2);
}
