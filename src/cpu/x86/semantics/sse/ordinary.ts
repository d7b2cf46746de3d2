/**
 * When plain WebAssembly arithmetic gives what SSE gives, flags included: the tests that guard every fast path.
 *
 * WebAssembly rounds to nearest and knows neither exception flags nor NaN payloads. So a fast path needs MXCSR in its default
 * state with PE already raised (after which an inexact result changes nothing), operands that are no denormal, and a result
 * that is a normal number: NaNs and infinities among the operands show in the result. The state of MXCSR costs nothing: the bound
 * that results are held against is one that none meets while it is another (microcode/mxcsr.ts). FTZ and DAZ matter to
 * denormal numbers alone, which never pass. Everything else goes to the exact microcode (sse-float.ts there).
 */
import * as L from '../../../layout.ts';
import { type Expr, f32Bits, f64, type FloatType, i32, i64, type IntType } from '../../../../wasm/expr.ts';
import type { Local } from '../../../../wasm/function-builder.ts';
import type { Int, Precision, X86 } from '../context.ts';
import { shiftLanes, signBits, splat, type Vector, vector, type VectorOp } from './simd.ts';

export type { Precision } from '../context.ts';

const MXCSR_DAZ = 0x0040;
const MXCSR_FTZ = 0x8000;
/** PE raised, all exceptions masked, round to nearest, neither FTZ nor DAZ; the other flags do not matter. */
const DEFAULT_MXCSR = 0x1fa0;
const DEFAULT_MXCSR_MASK = 0xffe0;

/** PE raised, all masked, round to nearest, neither FTZ nor DAZ. */
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

// ---- scalars ----

/** The number's bits without the sign, once to the left. */
function shifted(number: Float): Int {
  const value = number.reinterpret<IntType>(number.type === 'f64' ? 'i64' : 'i32');
  return value.shl(constant(value, 1n));
}

function constant(value: Int, bits: bigint): Int {
  return value.type === 'i64' ? i64(bits) : i32(Number(BigInt.asIntN(32, bits)));
}

function leastShifted(number: Float): bigint {
  return 2n * FORMAT[number.type === 'f64' ? 64 : 32].least;
}

export function isDenormal(number: Float): Expr<'i32'> {
  const value = shifted(number);
  return value.sub(constant(value, 1n)).lt_u(constant(value, leastShifted(number) - 1n));
}

/** Zero, normal, infinite or NaN. */
export function notDenormal(number: Float): Expr<'i32'> {
  const value = shifted(number);
  return value.sub(constant(value, 1n)).ge_u(constant(value, leastShifted(number) - 1n));
}

/** A normal number that was not tiny before rounding either, and MXCSR is in its default mode. */
export function isOrdinaryResult(x: X86, bits: Precision, number: Float): Expr<'i32'> {
  const value = shifted(number);
  return value.sub(constant(value, leastShifted(number) + 1n)).lt_u(x.floatBound(bits));
}

/** MXCSR is in its default mode, FTZ and DAZ apart. */
export function isPlain(x: X86, bits: Precision): Expr<'i32'> {
  return x.floatBound(bits).eqz().eqz();
}

/** Whether an operand holds no denormal number: 'known', or what a flag says, which becomes `clean` where it is zero. */
export type Cleanness = 'known' | { readonly flag: Local<'i32'>; readonly clean: Expr<'i32'> } | undefined;

/** What is known of register operand `i`; `clean` tells when nothing is. */
export function cleanness(
  x: X86,
  i: number,
  bits: Precision,
  all: boolean,
  half: 0 | 1,
  clean: () => Expr<'i32'>,
): Cleanness {
  if (x.holdsNoDenormal(i, bits, all, half)) return 'known';
  const flag = x.denormalFlag(i, bits, all, half);
  return flag === undefined ? undefined : { flag, clean: clean() };
}

/**
 * `result` holds what plain arithmetic gives. It stays so when all `operands` are clean, no `doubts` hold and `sure` does, or one of
 * `alsoSure`; else `exact` sets it anew.
 */
export function unless(
  x: X86,
  operands: readonly Cleanness[],
  doubts: readonly Expr<'i32'>[],
  sure: Expr<'i32'> | undefined,
  alsoSure: readonly Expr<'i32'>[],
  exact: () => void,
): void {
  const flagged = operands.flatMap((operand) => (typeof operand === 'object' ? [operand] : []));
  if (flagged.length === 0 && doubts.length === 0 && sure === undefined) return;
  x.f.block((done) => {
    x.f.block((doubtful) => {
      for (const { flag, clean } of flagged) {
        const look = (): void => {
          x.f.set(flag, clean);
          x.f.branchIf(doubtful, flag.get.eqz(), false);
        };
        x.f.if(flag.get.eqz(), look, undefined, false);
      }
      for (const doubt of doubts) x.f.branchIf(doubtful, doubt, false);
      if (sure === undefined) x.f.branch(done);
      else x.f.branchIf(done, sure, true);
      for (const also of alsoSure) x.f.branchIf(done, also);
    });
    exact();
  });
}

/** A variable that begins as `value`. */
export function variable<T extends Expr['type']>(x: X86, value: Expr<T>): Local<T> {
  const local = x.f.temporary(value.type);
  x.f.set(local, value);
  return local;
}

export type Float = Expr<FloatType>;

export function floatType(bits: Precision): FloatType {
  return bits === 64 ? 'f64' : 'f32';
}

export function infinity(bits: Precision): Float {
  return bits === 64 ? f64(Infinity) : f32Bits(0x7f800000);
}
function leastNormal(bits: Precision): Float {
  return bits === 64 ? f64(2 ** -1022) : f32Bits(0x00800000);
}
export function one(bits: Precision): Float {
  return bits === 64 ? f64(1) : f32Bits(0x3f800000);
}
export function zero(bits: Precision): Float {
  return bits === 64 ? f64(0) : f32Bits(0);
}

export function compareFloats(op: 'eq' | 'ne' | 'lt' | 'gt' | 'le' | 'ge', a: Float, b: Float): Expr<'i32'> {
  return a.compareFloat(op, b);
}

/** Finite, and so large that it was not tiny before rounding. */
export function isNormal(bits: Precision, number: Float): Expr<'i32'> {
  const magnitude = number.float('abs');
  return compareFloats('gt', magnitude, leastNormal(bits)).and(compareFloats('lt', magnitude, infinity(bits)));
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

const BIAS = { 32: 1n << 31n, 64: 1n << 63n } as const;

function twice(bits: Precision, value: Vector): Vector {
  return shiftLanes('shl', bits, value, i32(1));
}

function greater(bits: Precision, a: Vector, b: Vector): Vector {
  return vector(bits === 64 ? 'i64x2.gt_s' : 'i32x4.gt_s', a, b);
}

/** A constant of all lanes, kept where it is at hand. */
function often(x: X86, bits: Precision, name: string, lane: bigint): Vector {
  return x.vectorConstant(`${name}${bits}`, splat(bits, BigInt.asUintN(bits, lane)));
}

// What must hold is written so that constants come second: there they need no register.

/** Lanes without a denormal number. */
export function notDenormalIn(x: X86, bits: Precision, value: Vector): Vector {
  const moved = vector(
    bits === 64 ? 'i64x2.add' : 'i32x4.add',
    twice(bits, value),
    often(x, bits, 'denormal+', BIAS[bits] - 1n),
  );
  return greater(bits, moved, often(x, bits, 'denormal>', BIAS[bits] + 2n * FORMAT[bits].least - 2n));
}

/** Lanes whose result is a normal number above the smallest one; none while MXCSR is not in its default mode. */
export function ordinaryResults(x: X86, bits: Precision, value: Vector): Vector {
  const moved = vector(
    bits === 64 ? 'i64x2.add' : 'i32x4.add',
    twice(bits, value),
    often(x, bits, 'result+', BIAS[bits] - 2n * FORMAT[bits].infinity),
  );
  return greater(bits, moved, x.vectorBound(bits));
}

// All that plain arithmetic must be held against, in one comparison: every number is moved so that what will not do comes lowest, the
// least of them in each lane is kept, and `aboveBound` asks whether that will do. Of lanes of 64 bits only the upper halves are
// looked at. It may say no where a closer look says yes.

/** An operand, moved: below the bound when it is denormal. */
export function movedOperand(x: X86, bits: Precision, value: Vector): Vector {
  return sum(bits, sum(bits, value, value), often(x, bits, 'denormal+', BIAS[bits] - 1n));
}

/** A result, moved: below the bound unless it is a normal number above the smallest one. */
export function movedResult(x: X86, bits: Precision, value: Vector): Vector {
  return sum(bits, sum(bits, value, value), often(x, bits, 'result+', BIAS[bits] - 2n * FORMAT[bits].infinity));
}

function sum(bits: Precision, a: Vector, b: Vector): Vector {
  return vector(bits === 64 ? 'i64x2.add' : 'i32x4.add', a, b);
}

/** The lesser of moved numbers. */
export function least(one: Vector | undefined, other: Vector): Vector {
  return one === undefined ? other : vector('i32x4.min_s', one, other);
}

/** Whether all lanes of moved numbers will do; they do not while MXCSR is not in its default mode. */
export function aboveBound(x: X86, bits: Precision, moved: Vector): Expr<'i32'> {
  const mask = vector('i32x4.gt_s', moved, x.vectorBound(bits));
  return signBits(bits, mask).eq(i32(bits === 64 ? 3 : 15));
}

/** Is a mask of lanes of 32 or 64 bits full? */
export function allLanes(mask: Vector): Expr<'i32'> {
  return signBits(32, mask).eq(i32(15));
}

/** What all of the masks have, which may be none. */
export function common(one: Vector | undefined, other: Vector): Vector {
  return one === undefined ? other : vector('v128.and', one, other);
}

export function numberLanes(bits: Precision, value: Vector): Vector {
  return vector(bits === 64 ? 'f64x2.eq' : 'f32x4.eq', value, value);
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
