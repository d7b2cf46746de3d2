/** Operands from memory: 32- and 64-bit reals, integers and packed BCD made double extended (Intel SDM volume 2, FLD FILD FBLD). */
import { CPU_FTOP } from "../../layout";
import { clearExceptions, DE, IE, INTEGER_BIT, QUIET_BIT, raiseFlags, RC_NEAREST, RC_UP, SF } from "./core";
import { outSe, outSig, result } from "./number";
import { commit, fcwOf, INDEFINITE_SE, INDEFINITE_SIG, isEmpty, push, put, seAt, setTag, sigAt, slot, stAt } from "./registers";

// As operands of arithmetic, denormals and NaNs keep what they are, so that the operation itself sees them: a denormal
// real becomes an ordinary number here and only leaves DE behind.

/** To outSig, outSe; quiets nothing. */
export function loadF32(bits: u32): void {
  const e: u32 = (bits >> 23) & 0xff;
  const fraction: u64 = u64(bits & 0x7fffff) << 40;
  const sign: u32 = (bits >> 16) & 0x8000;
  if (e - 1 < 0xfe) result(INTEGER_BIT | fraction, sign | (e + 0x3f80));
  else if (e != 0) result(INTEGER_BIT | fraction, sign | 0x7fff);
  else if (fraction == 0) result(0, sign);
  else {
    const n: u32 = <u32>clz(fraction);
    raiseFlags(DE);
    result(fraction << n, sign | (0x3f81 - n));
  }
}

export function loadF64(bits: u64): void {
  const e: u32 = <u32>(bits >> 52) & 0x7ff;
  const fraction: u64 = (bits << 12) >> 1;
  const sign: u32 = <u32>(bits >> 48) & 0x8000;
  if (e - 1 < 0x7fe) result(INTEGER_BIT | fraction, sign | (e + 0x3c00));
  else if (e != 0) result(INTEGER_BIT | fraction, sign | 0x7fff);
  else if (fraction == 0) result(0, sign);
  else {
    const n: u32 = <u32>clz(fraction);
    raiseFlags(DE);
    result(fraction << n, sign | (0x3c01 - n));
  }
}

@inline export function loadInt(value: i64): void {
  if (value == 0) {
    result(0, 0);
    return;
  }
  const magnitude: u64 = value < 0 ? 0 - <u64>value : <u64>value;
  const n: u32 = <u32>clz(magnitude);
  result(magnitude << n, (value < 0 ? 0x8000 : 0) | (0x403e - n));
}

/** A NaN that was loaded from a smaller format is quiet afterwards. */
@inline function quietLoaded(sig: u64, se: u32): u64 {
  if ((se & 0x7fff) != 0x7fff || sig == INTEGER_BIT || (sig & QUIET_BIT) != 0) return sig;
  raiseFlags(IE);
  return sig | QUIET_BIT;
}

export function fpuLoadF32(cpu: u32, bits: u32): void {
  clearExceptions();
  loadF32(bits);
  push(cpu, quietLoaded(outSig, outSe), outSe);
}

export function fpuLoadF64(cpu: u32, bits: u64): void {
  clearExceptions();
  loadF64(bits);
  push(cpu, quietLoaded(outSig, outSe), outSe);
}

export function fpuLoadF80(cpu: u32, sig: u64, se: u32): void {
  clearExceptions();
  push(cpu, sig, se);
}

export function fpuLoadInt(cpu: u32, value: i64): void {
  clearExceptions();
  loadInt(value);
  push(cpu, outSig, outSe);
}

/** Packed BCD: 18 digits, and the sign in bit 15 of `high`. Digits above 9 give what the sum gives. */
export function fpuLoadBcd(cpu: u32, low: u64, high: u32): void {
  let value: u64 = u64((high >> 4) & 15) * 10 + u64(high & 15);
  for (let i = 60; i >= 0; i -= 4) value = value * 10 + ((low >> i) & 15);
  clearExceptions();
  if (value == 0) push(cpu, 0, high & 0x8000);
  else {
    loadInt(<i64>value);
    push(cpu, outSig, outSe | (high & 0x8000));
  }
}

/** FLD ST(i). */
export function fpuLoadSt(cpu: u32, i: u32): void {
  clearExceptions();
  if (isEmpty(cpu, i)) {
    // The empty register decides, even when the stack is full.
    raiseFlags(IE | SF);
    if (commit(cpu) != 0) return;
    const top: u32 = (load<u32>(cpu, CPU_FTOP) - 1) & 7;
    store<u32>(cpu, top, CPU_FTOP);
    setTag(cpu, 0);
    put(slot(cpu, top), INDEFINITE_SIG, INDEFINITE_SE);
    return;
  }
  const at = stAt(cpu, i);
  push(cpu, sigAt(at), seAt(at));
}

// FLD1 FLDL2T FLDL2E FLDPI FLDLG2 FLDLN2 FLDZ, as in the opcodes: significand cut to 64 bits, exponent, and whether the
// bits cut off are more than half of the last place.
const constantSigs: u32 = <u32>memory.data<u64>([
  0x8000000000000000, 0xd49a784bcd1b8afe, 0xb8aa3b295c17f0bb, 0xc90fdaa22168c234, 0x9a209a84fbcff798, 0xb17217f7d1cf79ab, 0,
]);
const constantExponents: u32 = <u32>memory.data<u16>([0x3fff, 0x4000, 0x3fff, 0x4000, 0x3ffd, 0x3ffe, 0]);
const constantUpward: u32 = <u32>memory.data<u8>([0, 0, 1, 1, 1, 1, 0]);

/** Constants by rounding control; never an exception but stack overflow. */
export function fpuLoadConstant(cpu: u32, which: u32): void {
  clearExceptions();
  let sig = load<u64>(constantSigs + (which << 3));
  const rc = (fcwOf(cpu) >> 10) & 3;
  if (which != 0 && which != 6 && (rc == RC_UP || (rc == RC_NEAREST && load<u8>(constantUpward + which) != 0))) sig += 1;
  push(cpu, sig, load<u16>(constantExponents + (which << 1)));
}
