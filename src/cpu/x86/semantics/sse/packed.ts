/** Packed integers, lane by lane: arithmetic, comparison, packing, extension. SDM volume 2. */
import { i32, shuffle, v128Zero } from '../../../../wasm/expr.ts';
import { pickBytes } from '../../../../wasm/relaxed.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { binary, both, putHalves, source, unary } from './operands.ts';
import { lane32, lanes, lowLane, pick, shiftLanes, splat, type Vector, vector, type VectorOp } from './simd.ts';

type Binary = (a: Vector, b: Vector, x: X86) => Vector;

function lanewise(name: VectorOp): Binary {
  return (a, b) => vector(name, a, b);
}

/** Instructions that are one vector operation on (destination, source). */
// prettier-ignore
const DIRECT: Readonly<Record<string, VectorOp>> = {
  PADDB: 'i8x16.add', PADDW: 'i16x8.add', PADDD: 'i32x4.add', PADDQ: 'i64x2.add',
  PADDSB: 'i8x16.add_sat_s', PADDSW: 'i16x8.add_sat_s', PADDUSB: 'i8x16.add_sat_u', PADDUSW: 'i16x8.add_sat_u',
  PSUBB: 'i8x16.sub', PSUBW: 'i16x8.sub', PSUBD: 'i32x4.sub', PSUBQ: 'i64x2.sub',
  PSUBSB: 'i8x16.sub_sat_s', PSUBSW: 'i16x8.sub_sat_s', PSUBUSB: 'i8x16.sub_sat_u', PSUBUSW: 'i16x8.sub_sat_u',
  PMINSB: 'i8x16.min_s', PMINUB: 'i8x16.min_u', PMINSW: 'i16x8.min_s', PMINUW: 'i16x8.min_u', PMINSD: 'i32x4.min_s', PMINUD: 'i32x4.min_u',
  PMAXSB: 'i8x16.max_s', PMAXUB: 'i8x16.max_u', PMAXSW: 'i16x8.max_s', PMAXUW: 'i16x8.max_u', PMAXSD: 'i32x4.max_s', PMAXUD: 'i32x4.max_u',
  PCMPEQB: 'i8x16.eq', PCMPEQW: 'i16x8.eq', PCMPEQD: 'i32x4.eq', PCMPEQQ: 'i64x2.eq',
  PCMPGTB: 'i8x16.gt_s', PCMPGTW: 'i16x8.gt_s', PCMPGTD: 'i32x4.gt_s', PCMPGTQ: 'i64x2.gt_s',
  PAVGB: 'i8x16.avgr_u', PAVGW: 'i16x8.avgr_u', PMULLW: 'i16x8.mul', PMULLD: 'i32x4.mul', PMADDWD: 'i32x4.dot_i16x8_s',
  PACKSSWB: 'i8x16.narrow_i16x8_s', PACKUSWB: 'i8x16.narrow_i16x8_u', PACKSSDW: 'i16x8.narrow_i32x4_s', PACKUSDW: 'i16x8.narrow_i32x4_u',
};

/** High halves of the eight products of words. */
function multiplyHigh(sign: 's' | 'u'): Binary {
  return (a, b) => {
    const low = vector(`i32x4.extmul_low_i16x8_${sign}`, a, b);
    const high = vector(`i32x4.extmul_high_i16x8_${sign}`, a, b);
    return pick(16, low, high, [1, 3, 5, 7, 9, 11, 13, 15]);
  };
}

/** Products of lanes 0 and 2. */
function multiplyEven(sign: 's' | 'u'): Binary {
  return (a, b) => vector(`i64x2.extmul_low_i32x4_${sign}`, pick(32, a, a, [0, 2, 0, 2]), pick(32, b, b, [0, 2, 0, 2]));
}

/** PMULHRSW wraps where q15mulr saturates: -1 times -1. */
const multiplyRound: Binary = (a, b, x) => {
  const least = x.vectorConstant('least word', splat(16, -32768));
  const both = vector('v128.and', vector('i16x8.eq', a, least), vector('i16x8.eq', b, least));
  return vector('v128.xor', vector('i16x8.q15mulr_sat_s', a, b), both);
};

/** Unsigned bytes of a times signed bytes of b, neighbours added with saturation. */
const multiplyAddBytes: Binary = (a, b, x) => {
  const even = vector(
    'i16x8.mul',
    vector('v128.and', a, x.vectorConstant('low bytes', splat(16, 0xff))),
    shiftLanes('shr_s', 16, shiftLanes('shl', 16, b, i32(8)), i32(8)),
  );
  const odd = vector('i16x8.mul', shiftLanes('shr_u', 16, a, i32(8)), shiftLanes('shr_s', 16, b, i32(8)));
  return vector('i16x8.add_sat_s', even, odd);
};

const sumOfDifferences: Binary = (a, b, x) => {
  const difference = vector('v128.or', vector('i8x16.sub_sat_u', a, b), vector('i8x16.sub_sat_u', b, a));
  const pairs = vector('i16x8.extadd_pairwise_i8x16_u', difference);
  const sums = x.let(vector('i32x4.dot_i16x8_s', pairs, x.vectorConstant('words of 1', splat(16, 1))));
  const even = vector('v128.and', sums, x.vectorConstant('low doublewords', splat(64, 0xffffffff)));
  return vector('i64x2.add', even, shiftLanes('shr_u', 64, sums, i32(32)));
};

/** Operation between neighbours: those of a below, those of b above. */
function horizontal(bits: 16 | 32, name: VectorOp): Binary {
  const even = Array.from({ length: 128 / bits }, (_, i) => 2 * i);
  return (a, b) =>
    vector(
      name,
      pick(bits, a, b, even),
      pick(
        bits,
        a,
        b,
        even.map((i) => i + 1),
      ),
    );
}

function withSign(width: '8x16' | '16x8' | '32x4'): Binary {
  return (a, b) => {
    const negative = vector(`i${width}.lt_s`, b, v128Zero);
    const signed = vector('v128.bitselect', vector(`i${width}.neg`, a), a, negative);
    return vector('v128.andnot', signed, vector(`i${width}.eq`, b, v128Zero));
  };
}

/** Interleaves the low or high halves of a and b. */
function interleave(bits: 8 | 16 | 32 | 64, half: 'low' | 'high'): Binary {
  const count = 128 / bits;
  const first = half === 'low' ? 0 : count / 2;
  const indices = Array.from({ length: count }, (_, i) => first + (i >> 1) + (i & 1) * count);
  return (a, b) => pick(bits, a, b, indices);
}

/** The smallest word and its index: both in one 32-bit number, so that the lowest index wins. */
function minimumPosition(a: Vector): Vector {
  const tag = (words: Vector, first: number): Vector =>
    vector('v128.or', shiftLanes('shl', 32, words, i32(16)), lanes(32, [first, first + 1, first + 2, first + 3]));
  const low = tag(vector('i32x4.extend_low_i16x8_u', a), 0);
  return vector('i32x4.min_u', low, tag(vector('i32x4.extend_high_i16x8_u', a), 4));
}

const phminposuw: Semantics = unary((a, x) => {
  let least = x.let(minimumPosition(a));
  least = x.let(vector('i32x4.min_u', least, pick(32, least, least, [2, 3, 0, 1])));
  least = x.let(vector('i32x4.min_u', least, pick(32, least, least, [1, 0, 3, 2])));
  return lowLane(lane32(32, least, 0).rotl(i32(16)));
});

function eachLane(operation: VectorOp): Semantics {
  return unary((a) => vector(operation, a));
}

/** The lowest lanes, made wider; for a ymm destination the upper half comes from the lanes behind those of the lower. */
function extend(...steps: VectorOp[]): Semantics {
  const widened = (a: Vector): Vector => steps.reduce((value, step) => vector(step, value), a);
  return (x) => {
    const a = source(x, 1);
    if (x.width(0) === 128) {
      putHalves(x, [widened(a)]);
      return;
    }
    const bytes = 16 >> steps.length;
    const rest = shuffle(
      a,
      a,
      Array.from({ length: 16 }, (_, i) => (bytes + i) & 15),
    );
    putHalves(x, [widened(a), widened(rest)]);
  };
}

/** Packed operations of two operands by mnemonic; the MMX forms of all but the packing ones work on the low half alike. */
// prettier-ignore
export const PACKED: Readonly<Record<string, Binary>> = {
  ...Object.fromEntries(Object.entries(DIRECT).map(([name, direct]) => [name, lanewise(direct)])),
  PMULHW: multiplyHigh('s'), PMULHUW: multiplyHigh('u'), PMULUDQ: multiplyEven('u'), PMULDQ: multiplyEven('s'),
  PMULHRSW: multiplyRound, PMADDUBSW: multiplyAddBytes, PSADBW: sumOfDifferences,
  PHADDW: horizontal(16, 'i16x8.add'), PHADDD: horizontal(32, 'i32x4.add'), PHADDSW: horizontal(16, 'i16x8.add_sat_s'),
  PHSUBW: horizontal(16, 'i16x8.sub'), PHSUBD: horizontal(32, 'i32x4.sub'), PHSUBSW: horizontal(16, 'i16x8.sub_sat_s'),
  PSIGNB: withSign('8x16'), PSIGNW: withSign('16x8'), PSIGND: withSign('32x4'),
  PUNPCKLBW: interleave(8, 'low'), PUNPCKLWD: interleave(16, 'low'), PUNPCKLDQ: interleave(32, 'low'), PUNPCKLQDQ: interleave(64, 'low'),
  PUNPCKHBW: interleave(8, 'high'), PUNPCKHWD: interleave(16, 'high'), PUNPCKHDQ: interleave(32, 'high'), PUNPCKHQDQ: interleave(64, 'high'),
  UNPCKLPS: interleave(32, 'low'), UNPCKHPS: interleave(32, 'high'), UNPCKLPD: interleave(64, 'low'), UNPCKHPD: interleave(64, 'high'),
  PSHUFB: (a, b, x) => pickBytes(a, vector('v128.and', b, x.vectorConstant('PSHUFB', splat(8, 0x8f)))),
};

// prettier-ignore
export const packed: SemanticsTable = both({
  ...Object.fromEntries(Object.entries(PACKED).map(([name, compute]) => [name, binary(compute)])),
  PABSB: eachLane('i8x16.abs'), PABSW: eachLane('i16x8.abs'), PABSD: eachLane('i32x4.abs'),
  PHMINPOSUW: phminposuw,
  PMOVSXBW: extend('i16x8.extend_low_i8x16_s'),
  PMOVSXBD: extend('i16x8.extend_low_i8x16_s', 'i32x4.extend_low_i16x8_s'),
  PMOVSXBQ: extend('i16x8.extend_low_i8x16_s', 'i32x4.extend_low_i16x8_s', 'i64x2.extend_low_i32x4_s'),
  PMOVSXWD: extend('i32x4.extend_low_i16x8_s'),
  PMOVSXWQ: extend('i32x4.extend_low_i16x8_s', 'i64x2.extend_low_i32x4_s'),
  PMOVSXDQ: extend('i64x2.extend_low_i32x4_s'),
  PMOVZXBW: extend('i16x8.extend_low_i8x16_u'),
  PMOVZXBD: extend('i16x8.extend_low_i8x16_u', 'i32x4.extend_low_i16x8_u'),
  PMOVZXBQ: extend('i16x8.extend_low_i8x16_u', 'i32x4.extend_low_i16x8_u', 'i64x2.extend_low_i32x4_u'),
  PMOVZXWD: extend('i32x4.extend_low_i16x8_u'),
  PMOVZXWQ: extend('i32x4.extend_low_i16x8_u', 'i64x2.extend_low_i32x4_u'),
  PMOVZXDQ: extend('i64x2.extend_low_i32x4_u'),
});
