/** Comparisons of floats: CMPccPS and its kin, COMISS, UCOMISS and their double forms. SDM volume 2. */
import { type Expr, i32, int, load, select, v128Zero } from '../../../../wasm/expr.ts';
import type { Local } from '../../../../wasm/function-builder.ts';
import { intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { putWork, takeWork, together, work } from './exact.ts';
import {
  both,
  halves,
  type Immediate,
  isAvx,
  lastImmediate,
  place,
  putHalves,
  putScalar,
  scratch,
} from './operands.ts';
import {
  allLanes,
  common,
  compareFloats,
  type Float,
  floatOp,
  floatType,
  infinity,
  isDenormal,
  notDenormalIn,
  numberLanes,
  one,
  type Precision,
  unless,
  variable,
  zero,
} from './ordinary.ts';
import { choose, type Vector, vector } from './simd.ts';

/** Doubts that `a` and `b`, operands `i` and `j`, are neither NaNs nor denormals. */
function numberDoubts(x: X86, bits: Precision, a: Float, b: Float, i: number, j: number): Expr<'i32'>[] {
  const doubts: Expr<'i32'>[] = [];
  if (!x.holdsNoDenormal(i, bits, false)) doubts.push(isDenormal(a));
  if (!x.holdsNoDenormal(j, bits, false)) doubts.push(isDenormal(b));
  return [...doubts, compareFloats('ne', a, a), compareFloats('ne', b, b)];
}

/** Sets ZF, PF and CF; unordered is all three. */
function compareToFlags(bits: Precision, ordered: 0 | 1): Semantics {
  const type = floatType(bits);
  return (x) => {
    const b = x.readFloat(1, type);
    const a = x.readFloat(0, type);
    // What the flags follow from: the operands, or numbers in the same relation.
    const [left, right] = [variable(x, a), variable(x, b)];
    unless(x, [], numberDoubts(x, bits, a, b, 0, 1), undefined, [], () => {
      const integer = intType(bits);
      const flags = x.micro('i32', `sseComiF${bits}`, a.reinterpret(integer), b.reinterpret(integer), i32(ordered));
      x.f.if(flags.lt_s(i32(0)), () => x.leaveHere(), undefined, false);
      const greater = select(flags.eqz(), one(bits), zero(bits));
      x.f.set(left, select(flags.and(i32(4)), infinity(bits).float('sub', infinity(bits)), greater));
      x.f.set(right, select(flags.eq(i32(1)), one(bits), zero(bits)));
    });
    x.flags.floats(left.get, right.get);
  };
}

/** Truth of the predicates 0..3 for numbers that are ordered (3, unordered, is never true); +4 negates. */
function predicate<T>(
  index: number | Expr<'i32'>,
  truths: readonly [T, T, T, T],
  negated: (value: T) => T,
  choice: (condition: Expr<'i32'>, a: T, b: T) => T,
): T {
  if (typeof index === 'number') {
    // INVARIANT: index & 3 is 0..3.
    const truth = truths[(index & 3) as 0 | 1 | 2 | 3];
    return (index & 4) === 0 ? truth : negated(truth);
  }
  const kind = index.and(i32(3));
  const lower = choice(kind.eqz(), truths[0], truths[1]);
  const truth = choice(kind.lt_u(i32(2)), lower, choice(kind.eq(i32(2)), truths[2], truths[3]));
  return choice(index.and(i32(4)), negated(truth), truth);
}

/** Predicate of the immediate: legacy forms look at three bits, VEX forms at five. The lower three decide between ordered numbers. */
function predicateOf(x: X86): Immediate {
  const immediate = lastImmediate(x);
  const mask = isAvx(x) ? 31 : 7;
  return typeof immediate === 'number' ? immediate & mask : x.let(immediate.and(i32(mask)));
}

function value(index: Immediate): Expr<'i32'> {
  return typeof index === 'number' ? i32(index) : index;
}

function compareScalar(bits: Precision): Semantics {
  return (x) => {
    const [first, second] = [place(x, 0), place(x, 1)];
    const b = x.readFloat(second, floatType(bits));
    const a = x.readFloat(first, floatType(bits));
    const index = predicateOf(x);
    const truths = [compareFloats('eq', a, b), compareFloats('lt', a, b), compareFloats('le', a, b), i32(0)] as const;
    const truth = predicate(
      index,
      truths,
      (one) => one.eqz(),
      (condition, one, other) => select(condition, one, other),
    );
    const integer = intType(bits);
    const result = variable(x, int(integer, 0).sub(truth.toInt(integer)));
    unless(x, [], numberDoubts(x, bits, a, b, first, second), undefined, [], () => {
      x.f.store(bits, scratch(x), a);
      x.f.store(bits, scratch(x, 16), b);
      x.microOrFault(`sseF${bits}Compare`, value(index), scratch(x), scratch(x), scratch(x, 16), i32(1));
      x.f.set(result, load(integer, bits, scratch(x)));
    });
    putScalar(x, result.get.reinterpret(floatType(bits)));
  };
}

function comparePacked(bits: Precision): Semantics {
  return (x) => {
    const [first, second] = [place(x, 0), place(x, 1)];
    const bs = halves(x, second);
    const as = halves(x, first);
    const index = predicateOf(x);
    const results: Local<'v128'>[] = [];
    let sure: Vector | undefined;
    const require = (lanes: Vector): void => {
      sure = common(sure, lanes);
    };
    as.forEach((a, half) => {
      // INVARIANT: the operands are equally wide.
      const b = bs[half] as Vector;
      if (half > 0 || !x.holdsNoDenormal(first, bits, true)) require(notDenormalIn(x, bits, a));
      if (half > 0 || !x.holdsNoDenormal(second, bits, true)) require(notDenormalIn(x, bits, b));
      require(numberLanes(bits, a));
      require(numberLanes(bits, b));
      const truths = [
        floatOp(bits, 'eq', a, b),
        floatOp(bits, 'lt', a, b),
        floatOp(bits, 'le', a, b),
        v128Zero,
      ] as const;
      results.push(
        variable(
          x,
          predicate(index, truths, (one) => vector('v128.not', one), choose),
        ),
      );
    });
    // INVARIANT: there was a half.
    unless(x, [], [], allLanes(sure as Vector), [], () => {
      putWork(x, [as, bs]);
      const count = i32((128 / bits) * as.length);
      x.microOrFault(`sseF${bits}Compare`, value(index), work(x, 0), work(x, 0), work(x, 1), count);
      takeWork(x, results);
    });
    putHalves(x, together(results));
  };
}

// prettier-ignore
export const compare: SemanticsTable = both({
  UCOMISS: compareToFlags(32, 0), UCOMISD: compareToFlags(64, 0), COMISS: compareToFlags(32, 1), COMISD: compareToFlags(64, 1),
  CMPSS: compareScalar(32), CMPSD: compareScalar(64), CMPPS: comparePacked(32), CMPPD: comparePacked(64),
});
