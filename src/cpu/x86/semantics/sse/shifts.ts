/** Packed shifts by an immediate or by the low quadword of an operand, and shifts of the whole register. SDM volume 2. */
import { type Expr, i32, i64, select, shuffle, v128Zero } from '../../../../wasm/expr.ts';
import { OperandKind } from '../../decode/insn.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import {
  both,
  byteImmediate,
  eachHalf,
  halves,
  lastImmediate,
  place,
  putHalves,
  putScratch,
  scratchAt,
  source,
} from './operands.ts';
import { choose, lane64, type Lanes, shiftLanes, type Vector } from './simd.ts';

/** Count of the last operand: the immediate, or the low 64 bits, with everything above 255 as 255. */
function shiftCount(x: X86): number | Expr<'i32'> {
  const last = place(x, 1);
  if (x.operand(last).kind === OperandKind.imm) return byteImmediate(x, last);
  const value = x.let(lane64(source(x, last), 0));
  return x.let(select(value.gt_u(i64(255)), i32(255), value.toI32()));
}

/** Counts beyond the lane give zeros, or copies of the sign. */
export function shiftBy(
  kind: 'shl' | 'shr_s' | 'shr_u',
  bits: Lanes,
  value: Vector,
  count: number | Expr<'i32'>,
): Vector {
  if (typeof count === 'number') {
    if (count < bits) return shiftLanes(kind, bits, value, i32(count));
    return kind === 'shr_s' ? shiftLanes(kind, bits, value, i32(bits - 1)) : v128Zero;
  }
  if (kind === 'shr_s') return shiftLanes(kind, bits, value, select(count.lt_u(i32(bits)), count, i32(bits - 1)));
  return choose(count.lt_u(i32(bits)), shiftLanes(kind, bits, value, count), v128Zero);
}

function shift(kind: 'shl' | 'shr_s' | 'shr_u', bits: Lanes): Semantics {
  return (x) => {
    const count = shiftCount(x);
    putHalves(
      x,
      eachHalf(x, halves(x, place(x, 0)), (value) => shiftBy(kind, bits, value, count)),
    );
  };
}

/** Sixteen bytes of `low` and, above it, `high`, beginning at byte `from`, 0..16. */
export function window(x: X86, low: Vector, high: Vector, from: number | Expr<'i32'>): Vector {
  if (typeof from === 'number')
    return shuffle(
      low,
      high,
      Array.from({ length: 16 }, (_, i) => from + i),
    );
  putScratch(x, 0, low);
  putScratch(x, 16, high);
  return scratchAt(x, from);
}

const rightBytes: Semantics = (x) => {
  const count = lastImmediate(x);
  const from = typeof count === 'number' ? Math.min(count, 16) : x.let(select(count.lt_u(i32(16)), count, i32(16)));
  putHalves(
    x,
    eachHalf(x, halves(x, place(x, 0)), (value) => window(x, value, v128Zero, from)),
  );
};

const leftBytes: Semantics = (x) => {
  const count = lastImmediate(x);
  const from =
    typeof count === 'number'
      ? 16 - Math.min(count, 16)
      : x.let(select(count.lt_u(i32(16)), i32(16).sub(count), i32(0)));
  putHalves(
    x,
    eachHalf(x, halves(x, place(x, 0)), (value) => window(x, v128Zero, value, from)),
  );
};

// prettier-ignore
export const shifts: SemanticsTable = both({
  PSLLW: shift('shl', 16), PSLLD: shift('shl', 32), PSLLQ: shift('shl', 64),
  PSRLW: shift('shr_u', 16), PSRLD: shift('shr_u', 32), PSRLQ: shift('shr_u', 64),
  PSRAW: shift('shr_s', 16), PSRAD: shift('shr_s', 32),
  PSRLDQ: rightBytes, PSLLDQ: leftBytes,
});
