/**
 * FMA: a * b + c rounded once, in three orders of operands, scalar and packed. SDM volume 2, VFMADD132PD and its kin.
 *
 * Where the engine's relaxed multiply-add is fused it is the fast path. Else singles go by doubles: their product is exact there,
 * and the rounded sum rounds to the right single unless it lies exactly between two. The rest is exact microcode.
 */
import { type Expr, type FloatType, i32, i64, load, op } from '../../../../wasm/expr.ts';
import type { Local } from '../../../../wasm/function-builder.ts';
import { fusesMultiplyAdd, relaxedMultiplyAdd } from '../../../../wasm/relaxed.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { putWork, takeWork, together, work } from './exact.ts';
import { type Half, halves, put, putHalves } from './operands.ts';
import {
  aboveBound,
  allLanes,
  cleanness,
  type Cleanness,
  common,
  compareFloats,
  type Float,
  floatOp,
  floatType,
  isDenormal,
  isOrdinaryResult,
  isPlain,
  least,
  movedOperand,
  movedResult,
  notDenormal,
  notDenormalIn,
  ordinaryResults,
  type Precision,
  unless,
  variable,
  zero,
  zeroLanes,
} from './ordinary.ts';
import { lanes, lowFloat, pick, splat, splatFloat, type Vector, vector, withFloatLane } from './simd.ts';

const DEMOTE = 0xb6;
const PROMOTE = 0xbb;

/** Operands that are multiplied, and the one that is added. */
type Order = '132' | '213' | '231';
const ORDERS: Readonly<Record<Order, readonly [number, number, number]>> = {
  '132': [0, 2, 1],
  '213': [1, 0, 2],
  '231': [1, 2, 0],
};

/** What is negated: the product, the addend; the addend in even lanes or in odd ones. */
interface Signs {
  readonly product: boolean;
  readonly addend: boolean | 'even' | 'odd';
}

/** `kind` of the microcode (sse/fused.ts there). */
function code({ product, addend }: Signs): number {
  const negated = addend === true || addend === 'even' ? 2 : 0;
  return (product ? 1 : 0) | negated | (typeof addend === 'string' ? 4 : 0);
}

// ---- scalars ----

/** The sum, and where it may have been rounded wrongly. Undefined when only microcode can do it. */
function scalarSum(
  x: X86,
  bits: Precision,
  { product, addend }: Signs,
  a: Float,
  b: Float,
  c: Float,
): { value: Float; doubt?: Expr<'i32'> } | undefined {
  const added = addend === true ? c.float('neg') : c;
  if (fusesMultiplyAdd()) {
    const sum = relaxedMultiplyAdd(bits, product, splatFloat(a), splatFloat(b), splatFloat(added));
    return { value: lowFloat(a.type, sum) };
  }
  if (bits === 64) return undefined;
  const wide = (value: Float): Expr<'f64'> => op('f64', PROMOTE, value);
  const exact = wide(a).float('mul', wide(product ? b.float('neg') : b));
  const sum = x.let(exact.float('add', wide(added)));
  const between = sum.reinterpret('i64').and(i64(0x1fffffff)).eq(i64(0x10000000));
  return { value: op<FloatType>('f32', DEMOTE, sum), doubt: between };
}

function scalar(bits: Precision, order: Order, signs: Signs): Semantics {
  const [i, j, k] = ORDERS[order];
  const type = floatType(bits);
  return (x) => {
    const read = (n: number): Float => x.readFloat(n, type);
    const third = read(2);
    const operands = [read(0), read(1), third];
    // INVARIANT: i, j and k are 0..2.
    const [a, b, c] = [operands[i]!, operands[j]!, operands[k]!];
    const quick = scalarSum(x, bits, signs, a, b, c);
    const value = variable(x, quick === undefined ? zero(bits) : quick.value);
    const finish = (): void => put(x, 0, withFloatLane(x.readVector(0), 0, value.get));
    const exact = (): void => {
      [a, b, c].forEach((operand, n) => x.f.store(bits, work(x, n), operand));
      const where = [work(x, 0), work(x, 0), work(x, 1), work(x, 2)];
      const odd = x.micro('i32', `sseF${bits}Fused`, i32(code(signs)), ...where, i32(1));
      x.f.set(value, load(type, bits, work(x, 0)));
      x.refreshFloatBounds();
      x.settleOdd(odd, finish);
    };
    if (quick === undefined) {
      exact();
    } else {
      const doubts: Expr<'i32'>[] = quick.doubt === undefined ? [] : [quick.doubt];
      const flagged: Cleanness[] = [];
      [a, b, c].forEach((operand, n) => {
        // INVARIANT: n is 0..2.
        const known = cleanness(x, [i, j, k][n]!, bits, false, 0, () => notDenormal(operand));
        if (known === undefined) doubts.push(isDenormal(operand));
        else flagged.push(known);
      });
      const zeroes = compareFloats('eq', value.get, zero(bits)).and(isPlain(x, bits));
      const zeroProduct = compareFloats('eq', a, zero(bits)).or(compareFloats('eq', b, zero(bits)));
      unless(x, flagged, doubts, isOrdinaryResult(x, bits, value.get), [zeroes.and(zeroProduct)], exact);
    }
    const others = x.holdsNoDenormal(0, bits, true);
    finish();
    x.noteNoDenormal(0, bits, others);
  };
}

// ---- vectors ----

/** Sign bits of the lanes in which the addend is negated. */
function signMask(bits: Precision, addend: boolean | 'even' | 'odd'): Vector | undefined {
  if (addend === false) return undefined;
  const sign = 1n << BigInt(bits - 1);
  const negated = (lane: number): boolean => addend === true || (addend === 'even') === (lane % 2 === 0);
  return lanes(
    bits,
    Array.from({ length: 128 / bits }, (_, lane) => (negated(lane) ? sign : 0n)),
  );
}

/** The sums of one half; `sure` is a mask of the lanes that cannot have been rounded wrongly. */
function packedSum(
  x: X86,
  bits: Precision,
  { product, addend }: Signs,
  a: Vector,
  b: Vector,
  c: Vector,
): { value: Vector; sure?: Vector } | undefined {
  const mask = signMask(bits, addend);
  const added = mask === undefined ? c : vector('v128.xor', c, mask);
  if (fusesMultiplyAdd()) return { value: relaxedMultiplyAdd(bits, product, a, b, added) };
  if (bits === 64) return undefined;
  const [one, other] = [x.let(added), x.let(product ? vector('v128.xor', b, splat(32, 0x80000000)) : b)];
  const sums = [0, 1].map((half) => {
    const wide = (value: Vector): Vector =>
      vector('f64x2.promote_low_f32x4', half === 0 ? value : pick(64, value, value, [1, 1]));
    return x.let(floatOp(64, 'add', floatOp(64, 'mul', wide(a), wide(other)), wide(one)));
  });
  // INVARIANT: there are two.
  const [low, high] = sums as [Vector, Vector];
  const between = (sum: Vector): Vector =>
    vector('i64x2.eq', vector('v128.and', sum, splat(64, 0x1fffffff)), splat(64, 0x10000000));
  const narrow = (sum: Vector): Vector => vector('f32x4.demote_f64x2_zero', sum);
  return {
    value: pick(64, narrow(low), narrow(high), [0, 2]),
    sure: vector('v128.not', vector('v128.or', between(low), between(high))),
  };
}

function packed(bits: Precision, order: Order, signs: Signs): Semantics {
  const [i, j, k] = ORDERS[order];
  return (x) => {
    const third = halves(x, 2);
    const operands = [halves(x, 0), halves(x, 1), third];
    // INVARIANT: i, j and k are 0..2.
    const [as, bs, cs] = [operands[i]!, operands[j]!, operands[k]!];
    const values: Local<'v128'>[] = [];
    const flagged: Cleanness[] = [];
    /** Lanes that were rounded right; what must be above the bound; lanes that will do when one looks closer. */
    let rounded: Vector | undefined;
    let moved: Vector | undefined;
    let sure: Vector | undefined;
    as.forEach((a, n) => {
      const half: Half = n === 0 ? 0 : 1;
      // INVARIANT: the operands are equally wide.
      const [b, c] = [bs[half] as Vector, cs[half] as Vector];
      const quick = packedSum(x, bits, signs, a, b, c);
      const value = variable(x, quick === undefined ? a : quick.value);
      values.push(value);
      if (quick === undefined) return;
      if (quick.sure !== undefined) rounded = common(rounded, quick.sure);
      [a, b, c].forEach((operand, m) => {
        const clean = notDenormalIn(x, bits, operand);
        // INVARIANT: m is 0..2.
        const known = cleanness(x, [i, j, k][m]!, bits, true, half, () => allLanes(clean));
        if (known !== undefined) flagged.push(known);
        else {
          moved = least(moved, movedOperand(x, bits, operand));
          sure = common(sure, clean);
        }
      });
      moved = least(moved, movedResult(x, bits, value.get));
      const zeroProduct = vector('v128.or', zeroLanes(bits, a), zeroLanes(bits, b));
      const exactZero = vector('v128.and', zeroLanes(bits, value.get), zeroProduct);
      sure = common(sure, vector('v128.or', ordinaryResults(x, bits, value.get), exactZero));
    });
    const exact = (): void => {
      putWork(x, [as, bs, cs]);
      const where = [work(x, 0), work(x, 0), work(x, 1), work(x, 2)];
      const count = i32((128 / bits) * as.length);
      const odd = x.micro('i32', `sseF${bits}Fused`, i32(code(signs)), ...where, count);
      takeWork(x, values);
      x.refreshFloatBounds();
      x.settleOdd(odd, () => putHalves(x, together(values)));
    };
    if (sure === undefined || moved === undefined) exact();
    else {
      const doubts = rounded === undefined ? [] : [allLanes(rounded).eqz()];
      unless(x, flagged, doubts, aboveBound(x, bits, moved), [allLanes(sure).and(isPlain(x, bits))], exact);
    }
    as.forEach((_, half) => {
      for (const n of [0, 1, 2]) x.noteNoDenormal(n, bits, true, half === 0 ? 0 : 1);
    });
    putHalves(x, together(values));
    as.forEach((_, half) => x.noteNoDenormal(0, bits, true, half === 0 ? 0 : 1));
  };
}

const KINDS: Readonly<Record<string, Signs>> = {
  MADD: { product: false, addend: false },
  MSUB: { product: false, addend: true },
  NMADD: { product: true, addend: false },
  NMSUB: { product: true, addend: true },
};
const ALTERNATING: Readonly<Record<string, Signs>> = {
  MADDSUB: { product: false, addend: 'even' },
  MSUBADD: { product: false, addend: 'odd' },
};

function table(): SemanticsTable {
  const definitions: [string, Semantics][] = [];
  for (const order of ['132', '213', '231'] as const) {
    for (const [letter, bits] of [['S', 32] as const, ['D', 64] as const]) {
      for (const [kind, signs] of Object.entries({ ...KINDS, ...ALTERNATING }))
        definitions.push([`VF${kind}${order}P${letter}`, packed(bits, order, signs)]);
      for (const [kind, signs] of Object.entries(KINDS))
        definitions.push([`VF${kind}${order}S${letter}`, scalar(bits, order, signs)]);
    }
  }
  return Object.fromEntries(definitions);
}

export const fma: SemanticsTable = table();
