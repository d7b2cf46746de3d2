/** Shuffles, blends, insertion and extraction of lanes, most of them steered by an immediate. SDM volume 2. */
import * as L from '../../../layout.ts';
import { type Expr, i32, type IntType, load, select, v128Zero } from '../../../../wasm/expr.ts';
import { type Int, intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import {
  binary,
  both,
  eachHalf,
  halves,
  type Immediate,
  isAvx,
  lastImmediate,
  place,
  put,
  putHalves,
  putScratch,
  source,
  without,
} from './operands.ts';
import { window } from './shifts.ts';
import {
  anyTrue,
  lane32,
  lane64,
  lanes,
  pick,
  shiftLanes,
  signBits,
  splat,
  type Vector,
  vector,
  type VectorOp,
  withLane,
} from './simd.ts';

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
  const immediate = lastImmediate(x);
  putHalves(
    x,
    eachHalf(x, halves(x, 1), (a) => shuffleDoublewords(x, a, a, immediate)),
  );
};

/** Definition that computes with an immediate, of which the upper half takes what lies `step` bits higher. */
function binaryByImmediate(
  step: number,
  compute: (x: X86, a: Vector, b: Vector, immediate: Immediate) => Vector,
): Semantics {
  return (x) => {
    const immediate = lastImmediate(x);
    const above = x.width(0) === 256 && step > 0 ? without(x, immediate, step) : immediate;
    binary((a, b, _x, half) => compute(x, a, b, half === 0 ? immediate : above))(x);
  };
}

const shufps = binaryByImmediate(0, shuffleDoublewords);

const shufpd = binaryByImmediate(2, (x, a, b, immediate) => {
  if (typeof immediate === 'number') return pick(64, a, b, [immediate & 1, 2 + ((immediate >> 1) & 1)]);
  // The same as fields for doublewords: quadword 0 is 0b0100, quadword 1 is 0b1110.
  const low = immediate.and(i32(1)).mul(i32(0x0a));
  const high = immediate.shr_u(i32(1)).and(i32(1)).mul(i32(0xa0));
  return shuffleDoublewords(x, a, b, x.let(i32(0x44).add(low).add(high)));
});

/** Shuffles the four words from `first` on; the other four stay. */
function shuffleWords(first: 0 | 4): Semantics {
  const words = [0, 1, 2, 3, 4, 5, 6, 7];
  const inside = (word: number): boolean => word >> 2 === first >> 2;
  const shuffled = (a: Vector, immediate: Immediate): Vector => {
    if (typeof immediate === 'number') {
      return pick(16, a, a, words.map((word) => (inside(word) ? first + field(immediate, word & 3) : word))); // prettier-ignore
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
    return vector('i8x16.swizzle', a, vector('i16x8.add', scaled, base));
  };
  return (x) => {
    const immediate = lastImmediate(x);
    putHalves(
      x,
      eachHalf(x, halves(x, 1), (a) => shuffled(a, immediate)),
    );
  };
}

const palignr = binaryByImmediate(0, (x, high, low, count) => {
  if (typeof count === 'number')
    return count < 16 ? window(x, low, high, count) : window(x, high, v128Zero, Math.min(count - 16, 16));
  const near = window(x, low, high, x.let(select(count.lt_u(i32(16)), count, i32(16))));
  const beyond = x.let(select(count.lt_u(i32(32)), count.sub(i32(16)), i32(16)));
  const far = window(x, high, v128Zero, x.let(select(count.lt_u(i32(16)), i32(0), beyond)));
  return select(count.lt_u(i32(16)), near, far);
});

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
  return binaryByImmediate(bits === 16 ? 0 : 128 / bits, (_x, a, b, immediate) =>
    vector('v128.bitselect', b, a, laneMask(bits, immediate)),
  );
}

/** Lanes of b where the mask, the last operand, is negative. */
function blendVariable(negative: VectorOp): Semantics {
  return (x) => {
    const masks = halves(x, x.insn.operandCount - 1);
    // INVARIANT: the mask is as wide as the sources.
    binary((a, b, _x, half) => vector('v128.bitselect', b, a, vector(negative, masks[half] as Vector, v128Zero)))(x);
  };
}

const insertps: Semantics = (x) => {
  const immediate = lastImmediate(x);
  const from = place(x, 1);
  const known = typeof immediate === 'number';
  const bits = (shift: number, mask: number): Expr<'i32'> =>
    known ? i32((immediate >> shift) & mask) : immediate.shr_u(i32(shift)).and(i32(mask));
  let value: Expr<'i32'>;
  if (x.isMemory(from)) value = x.read(from, 32).toI32();
  else if (known) value = lane32(32, x.readVector(from), immediate >> 6);
  else value = load('i32', 32, laneAddress(x, from, 32, immediate.shr_u(i32(6))));
  const a = source(x, place(x, 0));
  const target = known ? laneMask(32, 1 << ((immediate >> 4) & 3)) : laneMask(32, i32(1).shl(bits(4, 3)));
  const inserted = vector('v128.bitselect', vector('i32x4.splat', value), a, target);
  put(x, 0, vector('v128.andnot', inserted, laneMask(32, immediate)));
};

/** Address of a lane of register operand `i` that only the record knows. */
function laneAddress(x: X86, i: number, bits: number, lane: Expr<'i32'>): Expr<'i32'> {
  return x.registerAddress(i).add(lane.and(i32(128 / bits - 1)).mul(i32(bits / 8)));
}

function insert(bits: 8 | 16 | 32 | 64): Semantics {
  return (x) => {
    const value = x.read(place(x, 1), bits);
    const lane = lastImmediate(x);
    const a = source(x, place(x, 0));
    if (typeof lane === 'number') {
      put(x, 0, withLane(bits, a, lane & (128 / bits - 1), value));
      return;
    }
    if (isAvx(x)) put(x, 0, a);
    x.f.store(bits, laneAddress(x, 0, bits, lane), value);
  };
}

/** A lane zero-extended to the register, or stored as wide as it is. */
function extract(bits: 8 | 16 | 32 | 64): Semantics {
  return (x) => {
    const lane = lastImmediate(x);
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

/** ZF: no bit of a is set in b; CF: no bit of b outside a. With `signs`, only the lanes' sign bits count. */
function test(signs?: 32 | 64): Semantics {
  return (x) => {
    const [low, high] = halves(x, 1);
    const [a, above] = halves(x, 0);
    const some = (name: 'v128.and' | 'v128.andnot'): Expr<'i32'> => {
      let bits = vector(name, low, a);
      if (high !== undefined && above !== undefined) bits = vector('v128.or', bits, vector(name, high, above));
      return signs === undefined ? anyTrue(bits) : signBits(signs, bits).ne(i32(0));
    };
    x.flags.fromBits(
      x.let(
        some('v128.andnot')
          .eqz()
          .or(some('v128.and').eqz().shl(i32(6))),
      ),
    );
  };
}

/** MPSADBW: eight sums of four absolute differences between a sliding window of a and one doubleword of b. */
const mpsadbw = binaryByImmediate(3, (x, a, b, immediate) => {
  const bits = typeof immediate === 'number' ? i32(immediate) : immediate;
  const fromA = x.let(bits.and(i32(4)));
  const fromB = x.let(bits.and(i32(3)).shl(i32(2)));
  putScratch(x, 0, a);
  putScratch(x, 16, b);
  let sum: Vector = v128Zero;
  for (let k = 0; k < 4; k++) {
    const eight = load('i64', 64, x.cpu.add(fromA), L.CPU_SCRATCH + k);
    const one = load('i32', 8, x.cpu.add(fromB), L.CPU_SCRATCH + 16 + k);
    const bytes = vector('i16x8.extend_low_i8x16_u', vector('i64x2.splat', eight));
    const difference = vector('i16x8.abs', vector('i16x8.sub', bytes, vector('i16x8.splat', one)));
    sum = k === 0 ? difference : vector('i16x8.add', sum, difference);
  }
  return sum;
});

// prettier-ignore
export const shuffles: SemanticsTable = {
  ...both({
  PSHUFD: pshufd, SHUFPS: shufps, SHUFPD: shufpd, PSHUFLW: shuffleWords(0), PSHUFHW: shuffleWords(4), PALIGNR: palignr,
  PBLENDW: blend(16), BLENDPS: blend(32), BLENDPD: blend(64),
  PBLENDVB: blendVariable('i8x16.lt_s'), BLENDVPS: blendVariable('i32x4.lt_s'), BLENDVPD: blendVariable('i64x2.lt_s'),
  INSERTPS: insertps, PINSRB: insert(8), PINSRW: insert(16), PINSRD: insert(32), PINSRQ: insert(64),
  PEXTRB: extract(8), PEXTRW: extract(16), PEXTRD: extract(32), PEXTRQ: extract(64), EXTRACTPS: extract(32),
  PTEST: test(), MPSADBW: mpsadbw,
  }),
  VPERMILPS_imm: pshufd, VPBLENDD: blend(32), VTESTPS: test(32), VTESTPD: test(64),
};
