/**
 * x87 arithmetic in generated code for the common case: normal operands, 64-bit precision, rounding to nearest, PE masked, a normal
 * result. Everything else is left to the microcode (src/cpu/microcode/fpu), which starts from the same operands. SDM volume 1,
 * chapters 4.8 and 8.1.5.
 */
import * as L from '../../layout.ts';
import { type Expr, i32, i64, i64Halves, load, select } from '../../../wasm/expr.ts';
import type { Label } from '../../../wasm/function-builder.ts';
import type { X86 } from './context.ts';

const FSW_C1 = 0x200;
const BIAS = 0x3fff;
const TOP_BIT = i64Halves(0, 0x80000000);

/** A double extended number: significand, and sign with exponent. */
export interface Extended {
  readonly sig: Expr<'i64'>;
  readonly se: Expr<'i32'>;
}

/** Leaves for `rare` unless precision, rounding and the mask of PE are the common ones. */
export function requireCommonMode(x: X86, rare: Label): void {
  x.f.branchIf(rare, x.x87Unusual(), false);
}

/** The register at `slot` (less CPU_FPR). */
export function extendedAt(x: X86, slot: Expr<'i32'>): Extended {
  return { sig: x.let(load('i64', 64, slot, L.CPU_FPR)), se: x.let(load('i32', 16, slot, L.CPU_FPR + 8)) };
}

export function putExtended(x: X86, slot: Expr<'i32'>, { sig, se }: Extended): void {
  x.f.store(64, slot, sig, L.CPU_FPR);
  x.f.store(16, slot, se, L.CPU_FPR + 8);
}

/** A real of 32 or 64 bits as an extended one; leaves for `rare` unless it is normal. */
export function extendedFrom(x: X86, bits: Expr<'i64'>, width: 32 | 64, rare: Label): Extended {
  const fraction = width === 64 ? 52 : 23;
  const largest = width === 64 ? 0x7ff : 0xff;
  const exponent = x.let(bits.shr_u(i64(fraction)).toI32().and(i32(largest)));
  x.f.branchIf(rare, exponent.sub(i32(1)).ge_u(i32(largest - 1)), false);
  const sign = bits
    .shr_u(i64(width - 16))
    .toI32()
    .and(i32(0x8000));
  return {
    sig: x.let(bits.shl(i64(63 - fraction)).or(TOP_BIT)),
    se: x.let(sign.or(exponent.add(i32(BIAS - (largest >> 1))))),
  };
}

/** Leaves for `rare` unless `a` is normal. */
export function requireNormal(x: X86, a: Extended, rare: Label): void {
  const exponent = a.se.and(i32(0x7fff));
  x.f.branchIf(rare, exponent.sub(i32(1)).ge_u(i32(0x7ffe)), false);
  x.f.branchIf(rare, a.sig.ge_s(i64(0)), false);
}

/** A number before rounding: what is below the significand, as a fraction of 2^64 of its last place, perhaps jammed. */
interface Unrounded {
  readonly sign: Expr<'i32'>;
  readonly exponent: Expr<'i32'>;
  readonly sig: Expr<'i64'>;
  readonly low: Expr<'i64'>;
}

/** a + b, or a - b when `flip` is the sign bit; leaves for `rare` when one is far smaller, or the sum exactly zero. */
function sum(x: X86, a: Extended, b: Extended, rare: Label): Unrounded {
  const [ea, eb] = [x.let(a.se.and(i32(0x7fff))), x.let(b.se.and(i32(0x7fff)))];
  const swap = x.let(ea.lt_u(eb).or(ea.eq(eb).and(a.sig.lt_u(b.sig))));
  const larger = x.let(select(swap, b.sig, a.sig));
  const smaller = x.let(select(swap, a.sig, b.sig));
  const se = x.let(select(swap, b.se, a.se));
  const shift = x.let(select(swap, eb.sub(ea), ea.sub(eb)));
  x.f.branchIf(rare, shift.ge_u(i32(64)), false);
  const shift64 = x.let(shift.toI64());
  const low = x.let(smaller.shl(i64(1)).shl(i64(63).sub(shift64)));
  const high = x.let(smaller.shr_u(shift64));
  const [exponent, sig, below] = [x.f.temporary('i32'), x.f.temporary('i64'), x.f.temporary('i64')];
  const opposite = a.se.xor(b.se).and(i32(0x8000));
  x.f.if(
    opposite,
    () => {
      const difference = x.let(larger.sub(high).sub(low.ne(i64(0)).toI64()));
      x.f.branchIf(rare, difference.eqz(), false);
      const negated = x.let(i64(0).sub(low));
      const n = x.let(difference.clz());
      x.f.set(exponent, se.and(i32(0x7fff)).sub(n.toI32()));
      x.f.set(sig, difference.shl(n).or(negated.shr_u(i64(1)).shr_u(i64(63).sub(n))));
      x.f.set(below, negated.shl(n));
    },
    () => {
      const total = x.let(larger.add(high));
      const carry = x.let(total.lt_u(larger));
      const carry64 = x.let(carry.toI64());
      x.f.set(exponent, se.and(i32(0x7fff)).add(carry));
      x.f.set(sig, total.shr_u(carry64).or(carry64.shl(i64(63))));
      x.f.set(
        below,
        low
          .shr_u(carry64)
          .or(low.and(carry64))
          .or(total.and(carry64).shl(i64(63))),
      );
    },
  );
  return { sign: se.and(i32(0x8000)), exponent: exponent.get, sig: sig.get, low: below.get };
}

function product(x: X86, a: Extended, b: Extended): Unrounded {
  const low32 = i64(0xffffffff);
  const [al, ah] = [x.let(a.sig.and(low32)), x.let(a.sig.shr_u(i64(32)))];
  const [bl, bh] = [x.let(b.sig.and(low32)), x.let(b.sig.shr_u(i64(32)))];
  const lowest = x.let(al.mul(bl));
  const middle = x.let(ah.mul(bl).add(lowest.shr_u(i64(32))));
  const other = x.let(al.mul(bh).add(middle.and(low32)));
  const low = x.let(other.shl(i64(32)).or(lowest.and(low32)));
  const high = x.let(
    ah
      .mul(bh)
      .add(middle.shr_u(i64(32)))
      .add(other.shr_u(i64(32))),
  );
  const n = x.let(high.shr_u(i64(63)).xor(i64(1)));
  const exponents = a.se.and(i32(0x7fff)).add(b.se.and(i32(0x7fff)));
  return {
    sign: a.se.xor(b.se).and(i32(0x8000)),
    exponent: x.let(exponents.sub(i32(BIAS - 1)).sub(n.toI32())),
    sig: x.let(high.shl(n).or(low.shr_u(i64(63)).and(n))),
    low: x.let(low.shl(n)),
  };
}

/** Rounds to nearest, stores at `slot` and notes PE and C1; leaves for `rare` when the exponent is out of range. */
function finish(x: X86, slot: Expr<'i32'>, { sign, exponent, sig, low }: Unrounded, rare: Label): void {
  x.f.branchIf(rare, exponent.sub(i32(1)).ge_u(i32(0x7ffd)), false);
  const up = x.let(low.gt_u(TOP_BIT).or(low.eq(TOP_BIT).and(sig.toI32())).and(i32(1)));
  const rounded = x.let(sig.add(up.toI64()));
  const carry = x.let(rounded.lt_u(sig));
  const se = exponent.add(carry).or(sign);
  putExtended(x, slot, { sig: rounded.or(carry.toI64().shl(i64(63))), se });
  const flags = low
    .ne(i64(0))
    .shl(i32(5))
    .or(up.shl(i32(9)));
  x.setState(16, L.CPU_FSW, x.state('i32', 16, L.CPU_FSW).and(i32(~FSW_C1)).or(flags));
}

export type InlineOperation = 'add' | 'sub' | 'subr' | 'mul';

/** The register at `slot` becomes a op b. */
export function arithmeticInline(
  x: X86,
  operation: InlineOperation,
  slot: Expr<'i32'>,
  a: Extended,
  b: Extended,
  rare: Label,
): void {
  const negated = (value: Extended): Extended => ({ sig: value.sig, se: x.let(value.se.xor(i32(0x8000))) });
  const result =
    operation === 'mul'
      ? product(x, a, b)
      : sum(x, operation === 'subr' ? negated(a) : a, operation === 'sub' ? negated(b) : b, rare);
  finish(x, slot, result, rare);
}
