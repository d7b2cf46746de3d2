/**
 * Shifts and rotates: SHL SHR SAR ROL ROR RCL RCR SHLD SHRD. SDM volume 2.
 *
 * Counts are masked to 5 bits (6 for 64-bit operands); a masked count of 0 leaves the flags alone. OF is defined for counts of
 * 1 only: the same formula is used for all. AF, undefined after shifts, becomes 0.
 */
import { type Expr, i32, i64, int, select } from '../../../wasm/expr.ts';
import { type Int, intType, type Semantics, type SemanticsTable, type X86 } from './context.ts';

/** The count in operand `i`, masked; a constant where the tier knows it. */
function shiftCount(x: X86, i: number): Expr<'i32'> {
  const mask = x.width(0) === 64 ? 63 : 31;
  const given = x.read(i, 8).toI32();
  return given.constant === undefined ? x.let(given.and(i32(mask))) : i32(given.constant & mask);
}

/** `count * sign + offset` in the container of `bits`. */
function counted(count: Expr<'i32'>, bits: number, sign: 1 | -1 = 1, offset = 0): Int {
  const type = intType(bits);
  if (count.constant !== undefined) return int(type, sign * count.constant + offset);
  const sized = count.toInt(type);
  if (sign === -1) return int(type, offset).sub(sized);
  return sized.add(int(type, offset));
}

/** Flags change only when the count is not 0. */
function unlessZero(x: X86, count: Expr<'i32'>, then: () => void): void {
  if (count.constant === undefined) x.flagsIf(count, then);
  else if (count.constant !== 0) then();
}

/** Sign-extended from `bits` to i64. */
function wide(value: Int, bits: number): Expr<'i64'> {
  if (bits === 64) return value.toI64();
  return value.toI32().signExtend(bits).toI64Signed();
}

function one(bits: number): Int {
  return int(intType(bits), 1);
}

function lowBit(value: Int): Expr<'i32'> {
  return value.toI32().and(i32(1));
}

/** OF of what moves right: whether the two top bits of the result differ. */
function topBitsDiffer(result: Int, bits: number): Expr<'i64'> {
  return wide(result.xor(result.shl(one(bits))), bits);
}

const shl: Semantics = (x) => {
  const bits = x.width(0);
  const count = shiftCount(x, 1);
  const { old, result } = x.modify(0, (a) => a.shl(counted(count, bits)));
  unlessZero(x, count, () => {
    // Shifted by one less, the bit that goes out is the sign.
    const before = x.forFlags(wide(old.shl(counted(count, bits, 1, -1)), bits));
    x.flags.put({ bits, result, cf: before.lt_s(i64(0)), ov: before.xor(wide(result, bits)) });
  });
};

const shr: Semantics = (x) => {
  const bits = x.width(0);
  const count = shiftCount(x, 1);
  const { old, result } = x.modify(0, (a) => a.shr_u(counted(count, bits)));
  unlessZero(x, count, () => {
    const cf = lowBit(old.shr_u(counted(count, bits, 1, -1)));
    x.flags.put({ bits, result, cf, ov: topBitsDiffer(result, bits) });
  });
};

const sar: Semantics = (x) => {
  const bits = x.width(0);
  const count = shiftCount(x, 1);
  const { old, result } = x.modify(0, (a) => a.signExtend(bits).shr_s(counted(count, bits)));
  unlessZero(x, count, () => {
    const cf = lowBit(old.signExtend(bits).shr_s(counted(count, bits, 1, -1)));
    x.flags.put({ bits, result, cf, ov: i64(0) });
  });
};

/** Rotation to the left; to the right by `sign` -1. */
function rotated(a: Int, count: Expr<'i32'>, bits: number, sign: 1 | -1): Int {
  if (bits >= 32) return sign === 1 ? a.rotl(counted(count, bits)) : a.rotr(counted(count, bits));
  const left = counted(count, 32, sign)
    .and(i32(bits - 1))
    .toI32();
  return a.shl(left).or(a.shr_u(i32(bits).sub(left)));
}

const rol: Semantics = (x) => {
  const bits = x.width(0);
  const count = shiftCount(x, 1);
  const { result } = x.modify(0, (a) => rotated(a, count, bits, 1));
  unlessZero(x, count, () => {
    x.flags.put({ cf: lowBit(result), ov: wide(result, bits).xor(result.toI64().shl(i64(63))) });
  });
};

const ror: Semantics = (x) => {
  const bits = x.width(0);
  const count = shiftCount(x, 1);
  const { result } = x.modify(0, (a) => rotated(a, count, bits, -1));
  unlessZero(x, count, () => {
    x.flags.put({ cf: wide(result, bits).lt_s(i64(0)), ov: topBitsDiffer(result, bits) });
  });
};

/** Count of a rotation through carry: modulo the operand's width + 1. */
function carryCount(x: X86, count: Expr<'i32'>): Expr<'i32'> {
  const bits = x.width(0);
  if (bits >= 32) return count;
  return count.constant === undefined ? x.let(count.rem_u(i32(bits + 1))) : i32(count.constant % (bits + 1));
}

/** Operand and carry above it, as one number. */
function withCarry(a: Int, carry: Expr<'i64'>, bits: number): Expr<'i64'> {
  return a.toI64().or(carry.shl(i64(bits)));
}

/** RCL of up to 32 bits: the new carry is above the result; further bits are garbage. */
function carriedLeft(a: Int, carry: Expr<'i64'>, count: Expr<'i32'>, bits: number): Expr<'i64'> {
  const both = withCarry(a, carry, bits);
  return both.shl(counted(count, 64).toI64()).or(both.shr_u(counted(count, 64, -1, bits + 1).toI64()));
}

function carriedRight(a: Int, carry: Expr<'i64'>, count: Expr<'i32'>, bits: number): Expr<'i64'> {
  const both = withCarry(a, carry, bits);
  return both.shr_u(counted(count, 64).toI64()).or(both.shl(counted(count, 64, -1, bits + 1).toI64()));
}

/** 64-bit RCL by a count that is not 0. */
function carriedLeft64(a: Expr<'i64'>, carry: Expr<'i64'>, count: Expr<'i32'>): Expr<'i64'> {
  const out = a.shr_u(i64(1)).shr_u(counted(count, 64, -1, 64).toI64());
  return a
    .shl(counted(count, 64).toI64())
    .or(carry.shl(counted(count, 64, 1, -1).toI64()))
    .or(out);
}

function carriedRight64(a: Expr<'i64'>, carry: Expr<'i64'>, count: Expr<'i32'>): Expr<'i64'> {
  const out = a.shl(i64(1)).shl(counted(count, 64, -1, 64).toI64());
  return a
    .shr_u(counted(count, 64).toI64())
    .or(carry.shl(counted(count, 64, -1, 64).toI64()))
    .or(out);
}

/** `shifted`, or `a` as it was when the count is 0. */
function guarded(a: Expr<'i64'>, count: Expr<'i32'>, shifted: Expr<'i64'>): Expr<'i64'> {
  if (count.constant === 0) return a;
  return count.constant === undefined ? select(count, shifted, a) : shifted;
}

const rcl: Semantics = (x) => {
  const bits = x.width(0);
  const count = shiftCount(x, 1);
  const by = carryCount(x, count);
  const carry = x.let(x.flags.cf().toI64());
  if (bits === 64) {
    const { old, result } = x.modify(0, (a) => guarded(a.toI64(), by, carriedLeft64(a.toI64(), carry, by)));
    unlessZero(x, count, () => {
      const cf = x.forFlags(lowBit(old.toI64().shr_u(counted(by, 64, -1, 64).toI64())));
      x.flags.put({ cf, ov: result.toI64().xor(cf.toI64().shl(i64(63))) });
    });
    return;
  }
  const { old, result } = x.modify(0, (a) => carriedLeft(a, carry, by, bits).toI32());
  unlessZero(x, count, () => {
    const cf = x.forFlags(lowBit(carriedLeft(old, carry, by, bits).shr_u(i64(bits))));
    x.flags.put({ cf, ov: wide(result, bits).xor(cf.toI64().shl(i64(63))) });
  });
};

const rcr: Semantics = (x) => {
  const bits = x.width(0);
  const count = shiftCount(x, 1);
  const by = carryCount(x, count);
  const carry = x.let(x.flags.cf().toI64());
  if (bits === 64) {
    const { old, result } = x.modify(0, (a) => guarded(a.toI64(), by, carriedRight64(a.toI64(), carry, by)));
    unlessZero(x, count, () => {
      const cf = lowBit(old.toI64().shr_u(counted(by, 64, 1, -1).toI64()));
      x.flags.put({ cf, ov: topBitsDiffer(result, 64) });
    });
    return;
  }
  const { old, result } = x.modify(0, (a) => carriedRight(a, carry, by, bits).toI32());
  unlessZero(x, count, () => {
    const cf = lowBit(carriedRight(old, carry, by, bits).shr_u(i64(bits)));
    x.flags.put({ cf, ov: topBitsDiffer(result, bits) });
  });
};

/**
 * 16-bit operands are taken as destination, source, destination again, so that counts beyond 16, undefined in the SDM, go on
 * into the destination.
 */
function tripled(destination: Int, source: Int): Expr<'i64'> {
  const d = destination.toI64();
  return d
    .shl(i64(32))
    .or(source.toI64().shl(i64(16)))
    .or(d);
}

const shld: Semantics = (x) => {
  const bits = x.width(0);
  const source = x.read(1);
  const count = shiftCount(x, 2);
  const { old, result } = x.modify(0, (a) => {
    if (bits === 16) return tripled(a, source).shl(counted(count, 64).toI64()).shr_u(i64(32)).toI32();
    return a.shl(counted(count, bits)).or(source.shr_u(one(bits)).shr_u(counted(count, bits, -1, bits - 1)));
  });
  unlessZero(x, count, () => {
    const out =
      bits === 16
        ? tripled(old, source).shr_u(counted(count, 64, -1, 48).toI64())
        : old.shr_u(counted(count, bits, -1, bits));
    x.flags.put({ bits, result, cf: lowBit(out), ov: wide(old.xor(result), bits) });
  });
};

const shrd: Semantics = (x) => {
  const bits = x.width(0);
  const source = x.read(1);
  const count = shiftCount(x, 2);
  const { old, result } = x.modify(0, (a) => {
    if (bits === 16) return tripled(a, source).shr_u(counted(count, 64).toI64()).toI32();
    return a.shr_u(counted(count, bits)).or(source.shl(one(bits)).shl(counted(count, bits, -1, bits - 1)));
  });
  unlessZero(x, count, () => {
    const out = (bits === 16 ? tripled(old, source) : old).shr_u(
      counted(count, Math.max(bits, bits === 16 ? 64 : 32), 1, -1),
    );
    x.flags.put({ bits, result, cf: lowBit(out), ov: wide(old.xor(result), bits) });
  });
};

export const shift: SemanticsTable = {
  SHL: shl, SHR: shr, SAR: sar, ROL: rol, ROR: ror, RCL: rcl, RCR: rcr, SHLD: shld, SHRD: shrd,
}; // prettier-ignore
