/** Shuffles, blends, insertion and extraction of lanes, most of them steered by an immediate. SDM volume 2. */
import * as L from '../../../layout.ts';
import { type Expr, i32, type IntType, load, select, v128Zero } from '../../../../wasm/expr.ts';
import { type Int, intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { byteImmediate, byteValue, put, source } from './operands.ts';
import { window } from './shifts.ts';
import {
  anyTrue,
  lane32,
  lane64,
  lanes,
  pick,
  shiftLanes,
  splat,
  type Vector,
  vector,
  type VectorOp,
  withLane,
} from './simd.ts';

type Immediate = number | Expr<'i32'>;

/** Two-bit field `i` of an immediate known now. */
function field(immediate: number, i: number): number {
  return (immediate >> (2 * i)) & 3;
}

/** Byte indices that pick doublewords as the four fields of the immediate say. */
function doublewordIndices(x: X86, immediate: Expr<'i32'>): Vector {
  const fields = shiftLanes(
    'shr_u',
    32,
    vector('i32x4.mul', vector('i32x4.splat', immediate), lanes(32, [64, 16, 4, 1])),
    i32(6),
  );
  const scaled = vector('i32x4.mul', vector('v128.and', fields, splat(32, 3)), splat(32, 0x04040404));
  return x.let(vector('i32x4.add', scaled, splat(32, 0x03020100)));
}

/** Doublewords of a (results 0 and 1) and b (results 2 and 3), by the fields of the immediate. */
function shuffleDoublewords(x: X86, a: Vector, b: Vector, immediate: Immediate): Vector {
  if (typeof immediate === 'number') {
    return pick(32, a, b, [field(immediate, 0), field(immediate, 1), 4 + field(immediate, 2), 4 + field(immediate, 3)]);
  }
  const indices = doublewordIndices(x, immediate);
  if (a === b) return vector('i8x16.swizzle', a, indices);
  return pick(64, vector('i8x16.swizzle', a, indices), vector('i8x16.swizzle', b, indices), [0, 3]);
}

const pshufd: Semantics = (x) => {
  const a = source(x, 1);
  put(x, 0, shuffleDoublewords(x, a, a, byteImmediate(x, 2)));
};

const shufps: Semantics = (x) => {
  const b = source(x, 1);
  put(x, 0, shuffleDoublewords(x, source(x, 0), b, byteImmediate(x, 2)));
};

const shufpd: Semantics = (x) => {
  const b = source(x, 1);
  const a = source(x, 0);
  const immediate = byteImmediate(x, 2);
  if (typeof immediate === 'number') {
    put(x, 0, pick(64, a, b, [immediate & 1, 2 + ((immediate >> 1) & 1)]));
    return;
  }
  // The same as fields for doublewords: quadword 0 is 0b0100, quadword 1 is 0b1110.
  const low = immediate.and(i32(1)).mul(i32(0x0a));
  const high = immediate.shr_u(i32(1)).and(i32(1)).mul(i32(0xa0));
  put(x, 0, shuffleDoublewords(x, a, b, x.let(i32(0x44).add(low).add(high))));
};

/** Shuffles the four words from `first` on; the other four stay. */
function shuffleWords(first: 0 | 4): Semantics {
  return (x) => {
    const a = source(x, 1);
    const immediate = byteImmediate(x, 2);
    const words = [0, 1, 2, 3, 4, 5, 6, 7];
    const inside = (word: number): boolean => word >> 2 === first >> 2;
    if (typeof immediate === 'number') {
      put(x, 0, pick(16, a, a, words.map((word) => (inside(word) ? first + field(immediate, word & 3) : word)))); // prettier-ignore
      return;
    }
    const factors = lanes(
      16,
      words.map((word) => (inside(word) ? 64 >> (2 * (word & 3)) : 0)),
    );
    const fields = shiftLanes('shr_u', 16, vector('i16x8.mul', vector('i16x8.splat', immediate), factors), i32(6));
    const scaled = vector('i16x8.mul', vector('v128.and', fields, splat(16, 3)), splat(16, 0x0202));
    const base = lanes(
      16,
      words.map((word) => 0x0100 + 0x0202 * (inside(word) ? first : word)),
    );
    put(x, 0, vector('i8x16.swizzle', a, vector('i16x8.add', scaled, base)));
  };
}

const palignr: Semantics = (x) => {
  const low = source(x, 1);
  const high = source(x, 0);
  const count = byteImmediate(x, 2);
  if (typeof count === 'number') {
    const result = count < 16 ? window(x, low, high, count) : window(x, high, v128Zero, Math.min(count - 16, 16));
    put(x, 0, result);
    return;
  }
  const near = window(x, low, high, x.let(select(count.lt_u(i32(16)), count, i32(16))));
  const beyond = x.let(select(count.lt_u(i32(32)), count.sub(i32(16)), i32(16)));
  const far = window(x, high, v128Zero, x.let(select(count.lt_u(i32(16)), i32(0), beyond)));
  put(x, 0, select(count.lt_u(i32(16)), near, far));
};

/** All ones in the lanes whose bit is set in the immediate. */
export function laneMask(bits: 16 | 32 | 64, immediate: Immediate): Vector {
  const places = Array.from({ length: 128 / bits }, (_, i) => 1 << i);
  if (typeof immediate === 'number') return lanes(bits, places.map((place) => (immediate & place) === 0 ? 0 : -1)); // prettier-ignore
  const spread = vector(SPLAT[bits], bits === 64 ? immediate.toI64() : immediate);
  const constant = lanes(bits, places);
  return vector(EQUAL[bits], vector('v128.and', spread, constant), constant);
}
const SPLAT: Readonly<Record<16 | 32 | 64, VectorOp>> = { 16: 'i16x8.splat', 32: 'i32x4.splat', 64: 'i64x2.splat' };
const EQUAL: Readonly<Record<16 | 32 | 64, VectorOp>> = { 16: 'i16x8.eq', 32: 'i32x4.eq', 64: 'i64x2.eq' };

function blend(bits: 16 | 32 | 64): Semantics {
  return (x) => {
    const b = source(x, 1);
    put(x, 0, vector('v128.bitselect', b, source(x, 0), laneMask(bits, byteImmediate(x, 2))));
  };
}

/** Lanes of b where the mask in XMM0 is negative. */
function blendVariable(negative: VectorOp): Semantics {
  return (x) => {
    const b = source(x, 1);
    const mask = vector(negative, source(x, 2), v128Zero);
    put(x, 0, vector('v128.bitselect', b, source(x, 0), mask));
  };
}

const insertps: Semantics = (x) => {
  const immediate = byteImmediate(x, 2);
  const known = typeof immediate === 'number';
  const bits = (shift: number, mask: number): Expr<'i32'> =>
    known ? i32((immediate >> shift) & mask) : immediate.shr_u(i32(shift)).and(i32(mask));
  let value: Expr<'i32'>;
  if (x.isMemory(1)) value = x.read(1, 32).toI32();
  else if (known) value = lane32(32, x.readVector(1), immediate >> 6);
  else value = load('i32', 32, laneAddress(x, 1, 32, immediate.shr_u(i32(6))));
  const a = source(x, 0);
  const place = known ? laneMask(32, 1 << ((immediate >> 4) & 3)) : laneMask(32, i32(1).shl(bits(4, 3)));
  const inserted = vector('v128.bitselect', vector('i32x4.splat', value), a, place);
  put(x, 0, vector('v128.andnot', inserted, laneMask(32, immediate)));
};

/** Address of a lane of register operand `i` that only the record knows. */
function laneAddress(x: X86, i: number, bits: number, lane: Expr<'i32'>): Expr<'i32'> {
  return x.registerAddress(i).add(lane.and(i32(128 / bits - 1)).mul(i32(bits / 8)));
}

function insert(bits: 8 | 16 | 32 | 64): Semantics {
  return (x) => {
    const value = x.read(1, bits);
    const lane = byteImmediate(x, 2);
    if (typeof lane === 'number') put(x, 0, withLane(bits, source(x, 0), lane & (128 / bits - 1), value));
    else x.f.store(bits, laneAddress(x, 0, bits, lane), value);
  };
}

/** A lane zero-extended to the register, or stored as wide as it is. */
function extract(bits: 8 | 16 | 32 | 64): Semantics {
  return (x) => {
    const lane = byteImmediate(x, 2);
    let value: Int;
    if (typeof lane === 'number') {
      const index = lane & (128 / bits - 1);
      value = bits === 64 ? lane64(source(x, 1), index) : lane32(bits, source(x, 1), index);
    } else {
      value = load<IntType>(intType(bits), bits, laneAddress(x, 1, bits, lane));
    }
    value = x.let(value);
    if (x.isMemory(0)) x.write(0, value, bits);
    else x.write(0, value.toInt(intType(x.width(0))));
  };
}

const ptest: Semantics = (x) => {
  const b = source(x, 1);
  const a = source(x, 0);
  const zero = (value: Vector): Expr<'i32'> => anyTrue(value).eqz();
  const zf = x.let(zero(vector('v128.and', a, b)));
  const cf = x.let(zero(vector('v128.andnot', b, a)));
  x.flags.fromBits(cf.or(zf.shl(i32(6))));
};

/** MPSADBW: eight sums of four absolute differences between a sliding window of a and one doubleword of b. */
const mpsadbw: Semantics = (x) => {
  const b = source(x, 1);
  const a = source(x, 0);
  const immediate = byteValue(x, 2);
  const fromA = x.let(immediate.and(i32(4)));
  const fromB = x.let(immediate.and(i32(3)).shl(i32(2)));
  x.setState(128, L.CPU_SCRATCH, a);
  x.setState(128, L.CPU_SCRATCH + 16, b);
  let sum: Vector | undefined;
  for (let k = 0; k < 4; k++) {
    const eight = load('i64', 64, x.cpu.add(fromA), L.CPU_SCRATCH + k);
    const one = load('i32', 8, x.cpu.add(fromB), L.CPU_SCRATCH + 16 + k);
    const bytes = vector('i16x8.extend_low_i8x16_u', vector('i64x2.splat', eight));
    const difference = vector('i16x8.abs', vector('i16x8.sub', bytes, vector('i16x8.splat', one)));
    sum = sum === undefined ? difference : vector('i16x8.add', sum, difference);
  }
  if (sum !== undefined) put(x, 0, x.let(sum));
};

// prettier-ignore
export const shuffles: SemanticsTable = {
  PSHUFD: pshufd, SHUFPS: shufps, SHUFPD: shufpd, PSHUFLW: shuffleWords(0), PSHUFHW: shuffleWords(4), PALIGNR: palignr,
  PBLENDW: blend(16), BLENDPS: blend(32), BLENDPD: blend(64),
  PBLENDVB: blendVariable('i8x16.lt_s'), BLENDVPS: blendVariable('i32x4.lt_s'), BLENDVPD: blendVariable('i64x2.lt_s'),
  INSERTPS: insertps, PINSRB: insert(8), PINSRW: insert(16), PINSRD: insert(32), PINSRQ: insert(64),
  PEXTRB: extract(8), PEXTRW: extract(16), PEXTRD: extract(32), PEXTRQ: extract(64), EXTRACTPS: extract(32),
  PTEST: ptest, MPSADBW: mpsadbw,
};
