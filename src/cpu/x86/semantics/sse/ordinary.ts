/**
 * When plain WebAssembly arithmetic gives what SSE gives, flags included: the tests that guard every fast path.
 *
 * WebAssembly rounds to nearest and knows neither exception flags nor NaN payloads. So a fast path needs MXCSR in its default
 * state with PE already raised (after which an inexact result changes nothing), operands that are no NaN and no denormal, and
 * a result that neither overflowed nor may have been tiny. Everything else goes to the exact microcode (sse-float.ts there).
 */
import * as L from '../../../layout.ts';
import { type Expr, f32Bits, f64, type FloatType, i32, i64, type IntType } from '../../../../wasm/expr.ts';
import type { Int, X86 } from '../context.ts';
import { splat, type Vector, vector, type VectorOp } from './simd.ts';

export type Precision = 32 | 64;

const MXCSR_DAZ = 0x0040;
const MXCSR_FTZ = 0x8000;
/** PE raised, all exceptions masked, round to nearest, neither FTZ nor DAZ; the other flags do not matter. */
const DEFAULT_MXCSR = 0x1fa0;
const DEFAULT_MXCSR_MASK = 0xffe0;

export function defaultMode(x: X86): Expr<'i32'> {
  return x.state32(L.CPU_MXCSR).and(i32(DEFAULT_MXCSR_MASK)).eq(i32(DEFAULT_MXCSR));
}

/** The same whatever FTZ and DAZ are: enough where neither operands nor results can be denormal. */
export function defaultModeOrFlushing(x: X86): Expr<'i32'> {
  return x
    .state32(L.CPU_MXCSR)
    .and(i32(DEFAULT_MXCSR_MASK & ~(MXCSR_FTZ | MXCSR_DAZ)))
    .eq(i32(DEFAULT_MXCSR));
}

/** Bits of a format: sign, infinity, smallest normal number. */
const FORMAT = {
  32: { sign: 0x80000000n, infinity: 0x7f800000n, least: 0x00800000n },
  64: { sign: 0x8000000000000000n, infinity: 0x7ff0000000000000n, least: 0x0010000000000000n },
} as const;

// ---- scalars: `value` is the number's bits, `number` the number ----

function constant(value: Int, bits: bigint): Int {
  return value.type === 'i64' ? i64(bits) : i32(Number(BigInt.asIntN(32, bits)));
}

/** Zero, normal, infinite or NaN. */
export function notDenormal(number: Float): Expr<'i32'> {
  const { least } = FORMAT[number.type === 'f64' ? 64 : 32];
  const value = number.reinterpret<IntType>(number.type === 'f64' ? 'i64' : 'i32');
  return value
    .shl(constant(value, 1n))
    .sub(constant(value, 1n))
    .ge_u(constant(value, 2n * least - 1n));
}

export type Float = Expr<FloatType>;

export function floatType(bits: Precision): FloatType {
  return bits === 64 ? 'f64' : 'f32';
}

export function infinity(bits: Precision): Float {
  return bits === 64 ? f64(Infinity) : f32Bits(0x7f800000);
}
function least(bits: Precision): Float {
  return bits === 64 ? f64(2 ** -1022) : f32Bits(0x00800000);
}
export function zero(bits: Precision): Float {
  return bits === 64 ? f64(0) : f32Bits(0);
}

export function compareFloats(op: 'eq' | 'ne' | 'lt' | 'gt' | 'le' | 'ge', a: Float, b: Float): Expr<'i32'> {
  return a.compareFloat(op, b);
}

export function isFinite(bits: Precision, number: Float): Expr<'i32'> {
  return compareFloats('lt', number.float('abs'), infinity(bits));
}

/** Finite, and so large that it was not tiny before rounding. */
export function isNormal(bits: Precision, number: Float): Expr<'i32'> {
  const magnitude = number.float('abs');
  return compareFloats('gt', magnitude, least(bits)).and(compareFloats('lt', magnitude, infinity(bits)));
}

export function isNumber(number: Float): Expr<'i32'> {
  return compareFloats('eq', number, number);
}

/** Neither is a NaN. */
export function bothNumbers(a: Float, b: Float): Expr<'i32'> {
  return compareFloats('le', a, b).or(compareFloats('gt', a, b));
}

// ---- vectors: masks of the lanes that are not ordinary ----

function magnitude(bits: Precision, value: Vector): Vector {
  return vector('v128.and', value, splat(bits, FORMAT[bits].sign - 1n));
}
function add(bits: Precision, a: Vector, constantLane: bigint): Vector {
  return vector(bits === 64 ? 'i64x2.add' : 'i32x4.add', a, splat(bits, constantLane));
}

export function denormalLanes(bits: Precision, value: Vector): Vector {
  const { sign, least: smallest } = FORMAT[bits];
  // Denormals become the smallest signed numbers; zero becomes the largest.
  const moved = add(bits, magnitude(bits, value), sign - 1n);
  return vector(bits === 64 ? 'i64x2.lt_s' : 'i32x4.lt_s', moved, splat(bits, sign + smallest - 1n));
}

export function nanLanes(bits: Precision, value: Vector): Vector {
  return vector(bits === 64 ? 'f64x2.ne' : 'f32x4.ne', value, value);
}

/** Infinities and NaNs. */
export function notFiniteLanes(bits: Precision, value: Vector): Vector {
  return vector(
    bits === 64 ? 'i64x2.gt_s' : 'i32x4.gt_s',
    magnitude(bits, value),
    splat(bits, FORMAT[bits].infinity - 1n),
  );
}

/** All but finite numbers above the smallest normal one. */
export function notNormalLanes(bits: Precision, value: Vector): Vector {
  const { sign, infinity: infinite, least: smallest } = FORMAT[bits];
  const moved = add(bits, magnitude(bits, value), sign - smallest - 1n);
  return vector(bits === 64 ? 'i64x2.gt_s' : 'i32x4.gt_s', moved, splat(bits, sign + infinite - 1n - smallest - 1n));
}

export function zeroLanes(bits: Precision, value: Vector): Vector {
  return vector(bits === 64 ? 'f64x2.eq' : 'f32x4.eq', value, splat(bits, 0));
}

/** Vector operation `name` of a precision. */
export function floatOp(bits: Precision, name: FloatVectorOp, ...args: Vector[]): Vector {
  const full: VectorOp = bits === 64 ? `f64x2.${name}` : `f32x4.${name}`;
  return vector(full, ...args);
}
export type FloatVectorOp =
  | 'add'
  | 'sub'
  | 'mul'
  | 'div'
  | 'sqrt'
  | 'pmin'
  | 'pmax'
  | 'eq'
  | 'ne'
  | 'lt'
  | 'gt'
  | 'le'
  | 'ge'
  | 'ceil'
  | 'floor'
  | 'trunc'
  | 'nearest';
