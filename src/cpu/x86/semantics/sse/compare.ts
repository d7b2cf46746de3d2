/** Comparisons of floats: CMPccPS and its kin, COMISS, UCOMISS and their double forms. SDM volume 2. */
import { type Expr, i32, int, select, v128Zero } from '../../../../wasm/expr.ts';
import { type Int, intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { byteImmediate, putScratch, scratch, source } from './operands.ts';
import {
  compareFloats,
  denormalLanes,
  floatOp,
  isNumber,
  nanLanes,
  notDenormal,
  type Precision,
  toFloat,
} from './ordinary.ts';
import { anyTrue, choose, type Vector, vector } from './simd.ts';

/** Neither is a NaN nor denormal: nothing is flagged, and DAZ changes nothing. */
function bothOrdinary(a: Int, b: Int): Expr<'i32'> {
  const [fa, fb] = [toFloat(a), toFloat(b)];
  return isNumber(fa).and(isNumber(fb)).and(notDenormal(a)).and(notDenormal(b));
}

/** Sets ZF, PF and CF; unordered is all three. */
function compareToFlags(bits: Precision, ordered: 0 | 1): Semantics {
  return (x) => {
    const b = x.read(1);
    const a = x.read(0);
    const [fa, fb] = [toFloat(a), toFloat(b)];
    const result = x.f.temporary('i32');
    x.f.if(
      bothOrdinary(a, b),
      () => x.f.set(result, compareFloats('lt', fa, fb).or(compareFloats('eq', fa, fb).shl(i32(6)))),
      () => {
        x.f.set(result, x.micro('i32', `sseComiF${bits}`, a, b, i32(ordered)));
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
    const b = x.read(1);
    const a = x.read(0);
    const index = predicateOf(x);
    const [fa, fb] = [toFloat(a), toFloat(b)];
    const destination = x.registerAddress(0);
    x.f.if(
      bothOrdinary(a, b),
      () => {
        const truths = [
          compareFloats('eq', fa, fb),
          compareFloats('lt', fa, fb),
          compareFloats('le', fa, fb),
          i32(0),
        ] as const;
        const truth = predicate(index, truths, (value) => value.eqz(), (condition, one, other) => select(condition, one, other)); // prettier-ignore
        const type = intType(bits);
        x.f.store(bits, destination, int(type, 0).sub(truth.toInt(type)));
      },
      () => {
        x.f.store(bits, scratch(x), b);
        const number = typeof index === 'number' ? i32(index) : index;
        x.microOrFault(`sseF${bits}Compare`, number, destination, destination, scratch(x), i32(1));
      },
    );
  };
}

function comparePacked(bits: Precision): Semantics {
  return (x) => {
    const b = source(x, 1);
    const a = source(x, 0);
    const index = predicateOf(x);
    const destination = x.registerAddress(0);
    const or = (left: Vector, right: Vector): Vector => vector('v128.or', left, right);
    const doubtful = or(or(denormalLanes(bits, a), denormalLanes(bits, b)), or(nanLanes(bits, a), nanLanes(bits, b)));
    x.f.if(
      anyTrue(doubtful).eqz(),
      () => {
        const truths = [
          floatOp(bits, 'eq', a, b),
          floatOp(bits, 'lt', a, b),
          floatOp(bits, 'le', a, b),
          v128Zero,
        ] as const;
        x.f.store(
          128,
          destination,
          predicate(index, truths, (value) => vector('v128.not', value), choose),
        );
      },
      () => {
        putScratch(x, 0, a);
        putScratch(x, 16, b);
        const number = typeof index === 'number' ? i32(index) : index;
        x.microOrFault(`sseF${bits}Compare`, number, destination, scratch(x), scratch(x, 16), i32(128 / bits));
      },
    );
  };
}

// prettier-ignore
export const compare: SemanticsTable = {
  UCOMISS: compareToFlags(32, 0), UCOMISD: compareToFlags(64, 0), COMISS: compareToFlags(32, 1), COMISD: compareToFlags(64, 1),
  CMPSS: compareScalar(32), CMPSD: compareScalar(64), CMPPS: comparePacked(32), CMPPD: comparePacked(64),
};
