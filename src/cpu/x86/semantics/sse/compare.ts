/** Comparisons of floats: CMPccPS and its kin, COMISS, UCOMISS and their double forms. SDM volume 2. */
import { type Expr, i32, int, select, v128Zero } from '../../../../wasm/expr.ts';
import { intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { byteImmediate, put, putScratch, quickOr, scratch, source } from './operands.ts';
import {
  bothNumbers,
  compareFloats,
  denormalLanes,
  type Float,
  floatOp,
  floatType,
  nanLanes,
  notDenormal,
  type Precision,
} from './ordinary.ts';
import { anyTrue, choose, type Vector, vector } from './simd.ts';

/** Neither is a NaN nor denormal: nothing is flagged, and DAZ changes nothing. */
function bothOrdinary(a: Float, b: Float): Expr<'i32'> {
  return bothNumbers(a, b).and(notDenormal(a)).and(notDenormal(b));
}

/** Sets ZF, PF and CF; unordered is all three. */
function compareToFlags(bits: Precision, ordered: 0 | 1): Semantics {
  return (x) => {
    const b = x.readFloat(1, floatType(bits));
    const a = x.readFloat(0, floatType(bits));
    const quick = compareFloats('lt', a, b).or(compareFloats('eq', a, b).shl(i32(6)));
    const result = x.f.temporary('i32');
    x.f.if(
      bothOrdinary(a, b),
      () => x.f.set(result, quick),
      () => {
        const integer = intType(bits);
        const [ia, ib] = [a.reinterpret(integer), b.reinterpret(integer)];
        x.f.set(result, x.micro('i32', `sseComiF${bits}`, ia, ib, i32(ordered)));
        x.f.if(result.get.lt_s(i32(0)), () => x.leaveHere());
      },
    );
    x.flags.fromBits(result.get);
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

/** Predicate of the immediate: bits above the third do not count. */
function predicateOf(x: X86): number | Expr<'i32'> {
  const immediate = byteImmediate(x, 2);
  return typeof immediate === 'number' ? immediate & 7 : x.let(immediate.and(i32(7)));
}

function compareScalar(bits: Precision): Semantics {
  return (x) => {
    const b = x.readFloat(1, floatType(bits));
    const a = x.readFloat(0, floatType(bits));
    const index = predicateOf(x);
    const truths = [compareFloats('eq', a, b), compareFloats('lt', a, b), compareFloats('le', a, b), i32(0)] as const;
    const truth = predicate(
      index,
      truths,
      (value) => value.eqz(),
      (condition, one, other) => select(condition, one, other),
    );
    const integer = intType(bits);
    const quick = int(integer, 0).sub(truth.toInt(integer));
    const result = quickOr(x, bothOrdinary(a, b), quick, () => {
      x.f.store(bits, scratch(x), a);
      x.f.store(bits, scratch(x, 16), b);
      const number = typeof index === 'number' ? i32(index) : index;
      x.microOrFault(`sseF${bits}Compare`, number, scratch(x), scratch(x), scratch(x, 16), i32(1));
    });
    x.writeFloat(0, result.reinterpret(floatType(bits)));
  };
}

function comparePacked(bits: Precision): Semantics {
  return (x) => {
    const b = source(x, 1);
    const a = source(x, 0);
    const index = predicateOf(x);
    const or = (left: Vector, right: Vector): Vector => vector('v128.or', left, right);
    const doubtful = or(or(denormalLanes(bits, a), denormalLanes(bits, b)), or(nanLanes(bits, a), nanLanes(bits, b)));
    const truths = [floatOp(bits, 'eq', a, b), floatOp(bits, 'lt', a, b), floatOp(bits, 'le', a, b), v128Zero] as const;
    const quick = predicate(index, truths, (value) => vector('v128.not', value), choose);
    const result = quickOr(x, anyTrue(doubtful).eqz(), quick, () => {
      putScratch(x, 0, a);
      putScratch(x, 16, b);
      const number = typeof index === 'number' ? i32(index) : index;
      x.microOrFault(`sseF${bits}Compare`, number, scratch(x), scratch(x), scratch(x, 16), i32(128 / bits));
    });
    put(x, 0, result);
  };
}

// prettier-ignore
export const compare: SemanticsTable = {
  UCOMISS: compareToFlags(32, 0), UCOMISD: compareToFlags(64, 0), COMISS: compareToFlags(32, 1), COMISD: compareToFlags(64, 1),
  CMPSS: compareScalar(32), CMPSD: compareScalar(64), CMPPS: comparePacked(32), CMPPD: comparePacked(64),
};
