/**
 * WebAssembly's vector operations by name, as far as the SSE definitions use them, and vectors of constants.
 * Opcodes: WebAssembly core specification, chapter 5.4.9.
 */
import {
  type Expr,
  type FloatType,
  laneOp,
  op,
  select,
  shuffle,
  SIMD,
  v128,
  v128Zero,
  type ValType,
} from '../../../../wasm/expr.ts';

export type Vector = Expr<'v128'>;

// prettier-ignore
const OPCODES = {
  'i8x16.swizzle': 0x0e, 'i8x16.splat': 0x0f, 'i16x8.splat': 0x10, 'i32x4.splat': 0x11, 'i64x2.splat': 0x12,
  'f32x4.splat': 0x13, 'f64x2.splat': 0x14,
  'i8x16.eq': 0x23, 'i8x16.lt_s': 0x25, 'i8x16.gt_s': 0x27, 'i8x16.le_u': 0x2a, 'i8x16.ge_u': 0x2c,
  'i16x8.eq': 0x2d, 'i16x8.lt_s': 0x2f, 'i16x8.gt_s': 0x31,
  'i32x4.eq': 0x37, 'i32x4.lt_s': 0x39, 'i32x4.lt_u': 0x3a, 'i32x4.gt_s': 0x3b,
  'f32x4.eq': 0x41, 'f32x4.ne': 0x42, 'f32x4.lt': 0x43, 'f32x4.gt': 0x44, 'f32x4.le': 0x45, 'f32x4.ge': 0x46,
  'f64x2.eq': 0x47, 'f64x2.ne': 0x48, 'f64x2.lt': 0x49, 'f64x2.gt': 0x4a, 'f64x2.le': 0x4b, 'f64x2.ge': 0x4c,
  'v128.not': 0x4d, 'v128.and': 0x4e, 'v128.andnot': 0x4f, 'v128.or': 0x50, 'v128.xor': 0x51, 'v128.bitselect': 0x52,
  'f32x4.demote_f64x2_zero': 0x5e, 'f64x2.promote_low_f32x4': 0x5f,
  'i8x16.abs': 0x60, 'i8x16.neg': 0x61, 'i8x16.narrow_i16x8_s': 0x65, 'i8x16.narrow_i16x8_u': 0x66,
  'f32x4.ceil': 0x67, 'f32x4.floor': 0x68, 'f32x4.trunc': 0x69, 'f32x4.nearest': 0x6a,
  'i8x16.add': 0x6e, 'i8x16.add_sat_s': 0x6f, 'i8x16.add_sat_u': 0x70,
  'i8x16.sub': 0x71, 'i8x16.sub_sat_s': 0x72, 'i8x16.sub_sat_u': 0x73, 'f64x2.ceil': 0x74, 'f64x2.floor': 0x75,
  'i8x16.min_s': 0x76, 'i8x16.min_u': 0x77, 'i8x16.max_s': 0x78, 'i8x16.max_u': 0x79, 'f64x2.trunc': 0x7a, 'i8x16.avgr_u': 0x7b,
  'i16x8.extadd_pairwise_i8x16_u': 0x7d, 'i32x4.extadd_pairwise_i16x8_u': 0x7f,
  'i16x8.abs': 0x80, 'i16x8.neg': 0x81, 'i16x8.q15mulr_sat_s': 0x82, 'i16x8.narrow_i32x4_s': 0x85, 'i16x8.narrow_i32x4_u': 0x86,
  'i16x8.extend_low_i8x16_s': 0x87, 'i16x8.extend_low_i8x16_u': 0x89,
  'i16x8.add': 0x8e, 'i16x8.add_sat_s': 0x8f, 'i16x8.add_sat_u': 0x90,
  'i16x8.sub': 0x91, 'i16x8.sub_sat_s': 0x92, 'i16x8.sub_sat_u': 0x93, 'f64x2.nearest': 0x94,
  'i16x8.mul': 0x95, 'i16x8.min_s': 0x96, 'i16x8.min_u': 0x97, 'i16x8.max_s': 0x98, 'i16x8.max_u': 0x99, 'i16x8.avgr_u': 0x9b,
  'i32x4.abs': 0xa0, 'i32x4.neg': 0xa1,
  'i32x4.extend_low_i16x8_s': 0xa7, 'i32x4.extend_low_i16x8_u': 0xa9, 'i32x4.extend_high_i16x8_u': 0xaa,
  'i32x4.add': 0xae, 'i32x4.sub': 0xb1, 'i32x4.mul': 0xb5,
  'i32x4.min_s': 0xb6, 'i32x4.min_u': 0xb7, 'i32x4.max_s': 0xb8, 'i32x4.max_u': 0xb9, 'i32x4.dot_i16x8_s': 0xba,
  'i32x4.extmul_low_i16x8_s': 0xbc, 'i32x4.extmul_high_i16x8_s': 0xbd,
  'i32x4.extmul_low_i16x8_u': 0xbe, 'i32x4.extmul_high_i16x8_u': 0xbf,
  'i64x2.extend_low_i32x4_s': 0xc7, 'i64x2.extend_low_i32x4_u': 0xc9, 'i64x2.add': 0xce, 'i64x2.sub': 0xd1,
  'i64x2.eq': 0xd6, 'i64x2.lt_s': 0xd8, 'i64x2.gt_s': 0xd9, 'i64x2.extmul_low_i32x4_s': 0xdc, 'i64x2.extmul_low_i32x4_u': 0xde,
  'f32x4.sqrt': 0xe3, 'f32x4.add': 0xe4, 'f32x4.sub': 0xe5, 'f32x4.mul': 0xe6, 'f32x4.div': 0xe7, 'f32x4.pmin': 0xea, 'f32x4.pmax': 0xeb,
  'f64x2.sqrt': 0xef, 'f64x2.add': 0xf0, 'f64x2.sub': 0xf1, 'f64x2.mul': 0xf2, 'f64x2.div': 0xf3, 'f64x2.pmin': 0xf6, 'f64x2.pmax': 0xf7,
  'i32x4.trunc_sat_f32x4_s': 0xf8, 'f32x4.convert_i32x4_s': 0xfa, 'i32x4.trunc_sat_f64x2_s_zero': 0xfc, 'f64x2.convert_low_i32x4_s': 0xfe,
} as const;
export type VectorOp = keyof typeof OPCODES;

/** A vector operation whose result is a vector. */
export function vector(name: VectorOp, ...args: Expr[]): Vector {
  return op('v128', SIMD + OPCODES[name], ...args);
}

export type Lanes = 8 | 16 | 32 | 64;

const SHIFTS: Readonly<Record<Lanes, number>> = { 8: 0x6b, 16: 0x8b, 32: 0xab, 64: 0xcb };
/** Shifts every lane by `count`, which is taken modulo the lane's width. */
export function shiftLanes(kind: 'shl' | 'shr_s' | 'shr_u', bits: Lanes, value: Vector, count: Expr<'i32'>): Vector {
  return op('v128', SIMD + SHIFTS[bits] + { shl: 0, shr_s: 1, shr_u: 2 }[kind], value, count);
}

const BITMASK: Readonly<Record<Lanes, number>> = { 8: 0x64, 16: 0x84, 32: 0xa4, 64: 0xc4 };
/** The lanes' sign bits, lane 0 lowest. */
export function signBits(bits: Lanes, value: Vector): Expr<'i32'> {
  return op('i32', SIMD + BITMASK[bits], value);
}

/** Is any bit set? */
export function anyTrue(value: Vector): Expr<'i32'> {
  return op('i32', SIMD + 0x53, value);
}

/** Lane `lane` of 8 or 16 bits zero-extended, of 32 bits as it is. */
export function lane32(bits: 8 | 16 | 32, value: Vector, lane: number): Expr<'i32'> {
  return laneOp('i32', SIMD + (bits === 8 ? 0x16 : bits === 16 ? 0x19 : 0x1b), lane, value);
}

export function lane64(value: Vector, lane: number): Expr<'i64'> {
  return laneOp('i64', SIMD + 0x1d, lane, value);
}

const REPLACE: Readonly<Record<Lanes, number>> = { 8: 0x17, 16: 0x1a, 32: 0x1c, 64: 0x1e };
/** `value` with one lane replaced; `lane` bits beyond the lane's width do not count. */
export function withLane(bits: Lanes, value: Vector, index: number, lane: Expr): Vector {
  return laneOp('v128', SIMD + REPLACE[bits], index, value, lane);
}

const FLOAT_LANE = { f32: { extract: 0x1f, replace: 0x20 }, f64: { extract: 0x21, replace: 0x22 } } as const;

/** Lane 0 as a float. */
export function lowFloat<T extends FloatType>(type: T, value: Vector): Expr<T> {
  return laneOp(type, SIMD + FLOAT_LANE[type].extract, 0, value);
}

/** The same float in every lane. */
export function splatFloat(value: Expr<FloatType>): Vector {
  return vector(value.type === 'f64' ? 'f64x2.splat' : 'f32x4.splat', value);
}

/** `value` with lane `index` replaced. */
export function withFloatLane(value: Vector, index: number, lane: Expr<FloatType>): Vector {
  return laneOp('v128', SIMD + FLOAT_LANE[lane.type].replace, index, value, lane);
}

/** A vector with `value` in its lowest lane and zeros above. */
export function lowLane(value: Expr<Exclude<ValType, 'v128'>>): Vector {
  const { type } = value;
  // INVARIANT: the type tag says which.
  if (type === 'f32' || type === 'f64') return withFloatLane(v128Zero, 0, value as Expr<FloatType>);
  return withLane(type === 'i64' ? 64 : 32, v128Zero, 0, value);
}

/** The same lane value everywhere. */
export function splat(bits: Lanes, value: number | bigint): Vector {
  return lanes(
    bits,
    Array.from({ length: 128 / bits }, () => value),
  );
}

/** A constant from its lanes, lowest first. */
export function lanes(bits: Lanes, values: readonly (number | bigint)[]): Vector {
  const bytes: number[] = [];
  for (const value of values) {
    const wide = BigInt.asUintN(bits, BigInt(value));
    for (let i = 0; i < bits; i += 8) bytes.push(Number((wide >> BigInt(i)) & 0xffn));
  }
  return v128(bytes);
}

/** Picks lanes of `bits` from a (0..n-1) and b (n..2n-1). */
export function pick(bits: Lanes, a: Vector, b: Vector, indices: readonly number[]): Vector {
  const bytes = bits / 8;
  return shuffle(
    a,
    b,
    indices.flatMap((index) => Array.from({ length: bytes }, (_, k) => index * bytes + k)),
  );
}

/** `condition ? a : b` as vectors. */
export function choose(condition: Expr<'i32'>, a: Vector, b: Vector): Vector {
  return select(condition, a, b);
}
