/**
 * RCPSS RCPPS RSQRTSS RSQRTPS. The SDM bounds their relative error by 1.5 * 2^-12 and leaves the value open; here it is the
 * correctly rounded quotient. They look at no MXCSR bit and raise nothing: denormal operands count as zero, and results that
 * would be denormal become zero. SDM volume 2.
 */
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { both, place, putScalar, unary } from './operands.ts';
import { denormalLanes, floatOp, nanLanes } from './ordinary.ts';
import { lowFloat, lowLane, splat, type Vector, vector } from './simd.ts';

const SIGN = 0x80000000;
const QUIET = 0x00400000;
const ONE = 0x3f800000;
const DEFAULT_NAN = 0xffc00000;

function flushed(value: Vector): Vector {
  return vector('v128.bitselect', vector('v128.and', value, splat(32, SIGN)), value, denormalLanes(32, value));
}

function approximation(x: X86, given: Vector, squareRoot: boolean): Vector {
  const a = x.let(flushed(given));
  const divisor = squareRoot ? floatOp(32, 'sqrt', a) : a;
  let result = x.let(flushed(x.let(floatOp(32, 'div', splat(32, ONE), divisor))));
  if (squareRoot) result = vector('v128.bitselect', splat(32, DEFAULT_NAN), result, floatOp(32, 'lt', a, splat(32, 0)));
  return x.let(vector('v128.bitselect', vector('v128.or', a, splat(32, QUIET)), result, nanLanes(32, a)));
}

function packed(squareRoot: boolean): Semantics {
  return unary((a, x) => approximation(x, a, squareRoot));
}

function scalar(squareRoot: boolean): Semantics {
  return (x) => {
    const result = approximation(x, x.let(lowLane(x.readFloat(place(x, 1), 'f32'))), squareRoot);
    putScalar(x, lowFloat('f32', result));
  };
}

// prettier-ignore
export const approximate: SemanticsTable = both({
  RCPPS: packed(false), RCPSS: scalar(false), RSQRTPS: packed(true), RSQRTSS: scalar(true),
});
