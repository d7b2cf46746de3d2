/** What AVX and AVX2 add to the VEX forms of SSE: permutations, broadcasts, shifts by elements, VZEROUPPER. SDM volume 2. */
import { type Expr, i32, i64, load, select, v128Zero } from '../../../../wasm/expr.ts';
import { pickBytes } from '../../../../wasm/relaxed.ts';
import { type Semantics, type SemanticsTable, type VectorPair, type X86 } from '../context.ts';
import {
  binary,
  type Half,
  halves,
  type Immediate,
  lastImmediate,
  put,
  putHalves,
  putScratch,
  scratch,
  source,
  unary,
} from './operands.ts';
import { choose, lane64, lanes, lowLane, pick, shiftLanes, splat, type Vector, vector, withLane } from './simd.ts';

// ---- permutations ----

/** Byte indices of the doublewords whose numbers, 0..7, are in `numbers`. */
function bytesOf(x: X86, numbers: Vector): Vector {
  const spread = x.vectorConstant('low bytes spread', lanes(32, [0, 0x04040404, 0x08080808, 0x0c0c0c0c]));
  const four = pickBytes(shiftLanes('shl', 32, numbers, i32(2)), spread);
  return vector('i32x4.add', four, x.vectorConstant('bytes of a doubleword', splat(32, 0x03020100)));
}

const permuteSingles = binary((a, b, x) =>
  pickBytes(a, bytesOf(x, vector('v128.and', b, x.vectorConstant('doublewords of 3', splat(32, 3))))),
);

/** Bit 1 of a quadword chooses. */
const permuteDoubles = binary((a, b) => {
  const mask = shiftLanes('shr_s', 64, shiftLanes('shl', 64, b, i32(62)), i32(63));
  return vector('v128.bitselect', pick(64, a, a, [1, 1]), pick(64, a, a, [0, 0]), mask);
});

/** One bit of the immediate a quadword. */
const permuteDoublesImmediate: Semantics = (x) => {
  const immediate = lastImmediate(x);
  unary((a, _x, half) => {
    const first = 2 * half;
    if (typeof immediate === 'number')
      return pick(64, a, a, [(immediate >> first) & 1, (immediate >> (first + 1)) & 1]);
    const bit = (i: number): Expr<'i32'> => immediate.and(i32(1 << (first + i)));
    const quadword = (i: number): Expr<'i64'> => select(bit(i), lane64(a, 1), lane64(a, 0));
    return withLane(64, lowLane(quadword(0)), 1, quadword(1));
  })(x);
};

/** Doublewords of all 256 bits, by the numbers in operand 1. */
const permuteAll: Semantics = (x) => {
  const [low, high] = x.readVectorPair(2);
  const numbers = halves(x, 1);
  const permuted = (half: Half): Vector => {
    // INVARIANT: the operands are ymm registers.
    const at = x.let(
      bytesOf(x, vector('v128.and', numbers[half] as Vector, x.vectorConstant('doublewords of 7', splat(32, 7)))),
    );
    // An index beyond 15 gives zero.
    const above = pickBytes(high, vector('i8x16.sub', at, x.vectorConstant('bytes of 16', splat(8, 16))));
    return x.let(vector('v128.or', vector('i8x16.swizzle', low, at), above));
  };
  putHalves(x, [permuted(0), permuted(1)]);
};

/** Quadwords of all 256 bits, by the fields of the immediate. */
const permuteQuadwords: Semantics = (x) => {
  const [low, high] = x.readVectorPair(1);
  const immediate = lastImmediate(x);
  if (typeof immediate === 'number') {
    const pair = (shift: number): Vector =>
      pick(64, low, high, [(immediate >> shift) & 3, (immediate >> (shift + 2)) & 3]);
    putHalves(x, [pair(0), pair(4)]);
    return;
  }
  putScratch(x, 0, low);
  putScratch(x, 16, high);
  const quadword = (i: number): Expr<'i64'> => {
    const field = immediate.shr_u(i32(2 * i)).and(i32(3));
    return load('i64', 64, scratch(x).add(field.shl(i32(3))));
  };
  const pair = (i: number): Vector => x.let(withLane(64, lowLane(quadword(i)), 1, quadword(i + 1)));
  putHalves(x, [pair(0), pair(2)]);
};

/** For each half a field of the immediate chooses one of four, or zero. */
const permuteHalves: Semantics = (x) => {
  const [c, d] = x.readVectorPair(2);
  const [a, b] = x.readVectorPair(1);
  const immediate = lastImmediate(x);
  const chosen = (shift: number): Vector => {
    if (typeof immediate === 'number') {
      const field = immediate >> shift;
      // INVARIANT: the index is 0..3.
      return (field & 8) === 0 ? ([a, b, c, d][field & 3] as Vector) : v128Zero;
    }
    const bit = (i: number): Expr<'i32'> => immediate.and(i32(1 << (shift + i)));
    return choose(bit(3), v128Zero, choose(bit(1), choose(bit(0), d, c), choose(bit(0), b, a)));
  };
  putHalves(x, [chosen(0), chosen(4)]);
};

function eitherHalf(immediate: Immediate, [low, high]: VectorPair): Vector {
  if (typeof immediate === 'number') return (immediate & 1) === 0 ? low : high;
  return choose(immediate.and(i32(1)), high, low);
}

const insertHalf: Semantics = (x) => {
  const value = source(x, 2);
  const [low, high] = x.readVectorPair(1);
  const immediate = lastImmediate(x);
  putHalves(x, [eitherHalf(immediate, [value, low]), eitherHalf(immediate, [high, value])]);
};

const extractHalf: Semantics = (x) => put(x, 0, eitherHalf(lastImmediate(x), x.readVectorPair(1)));

// ---- broadcasts ----

function putEverywhere(x: X86, value: Vector): void {
  const all = x.let(value);
  putHalves(x, x.width(0) === 256 ? [all, all] : [all]);
}

function broadcast(bits: 8 | 16 | 32 | 64): Semantics {
  const operations = { 8: 'i8x16.splat', 16: 'i16x8.splat', 32: 'i32x4.splat', 64: 'i64x2.splat' } as const;
  return (x) => putEverywhere(x, vector(operations[bits], x.read(1)));
}

const broadcastHalf: Semantics = (x) => putEverywhere(x, source(x, 1));

// ---- shifts by a count for each element ----

/** Doublewords: the bits of the counts one after the other. */
function shiftEach32(kind: 'shl' | 'shr_s' | 'shr_u'): Semantics {
  return binary((value, count, x) => {
    let result = value;
    for (let bit = 0; bit < 5; bit++) {
      const mask = shiftLanes('shr_s', 32, shiftLanes('shl', 32, count, i32(31 - bit)), i32(31));
      result = x.let(vector('v128.bitselect', shiftLanes(kind, 32, result, i32(1 << bit)), result, mask));
    }
    const beyond = kind === 'shr_s' ? shiftLanes('shr_s', 32, value, i32(31)) : v128Zero;
    return vector(
      'v128.bitselect',
      result,
      beyond,
      vector('i32x4.lt_u', count, x.vectorConstant('doublewords of 32', splat(32, 32))),
    );
  });
}

function shiftEach64(kind: 'shl' | 'shr_u'): Semantics {
  return binary((value, counts) => {
    const quadword = (i: number): Expr<'i64'> => {
      const count = lane64(counts, i);
      return select(count.lt_u(i64(64)), lane64(value, i)[kind](count), i64(0));
    };
    return withLane(64, lowLane(quadword(0)), 1, quadword(1));
  });
}

// ---- state ----

const zeroUpper: Semantics = (x) => x.zeroHigh(x.is64 ? 16 : 8);

const zeroAll: Semantics = (x) => {
  const count = x.is64 ? 16 : 8;
  for (let n = 0; n < count; n++) x.setXmm(n, v128Zero);
  x.zeroHigh(count);
};

// prettier-ignore
export const avx: SemanticsTable = {
  VPERMILPS: permuteSingles, VPERMILPD: permuteDoubles, VPERMILPD_imm: permuteDoublesImmediate,
  VPERMPS: permuteAll, VPERMD: permuteAll, VPERMPD: permuteQuadwords, VPERMQ: permuteQuadwords,
  VPERM2F128: permuteHalves, VPERM2I128: permuteHalves, VINSERTF128: insertHalf, VINSERTI128: insertHalf,
  VEXTRACTF128: extractHalf, VEXTRACTI128: extractHalf,
  VBROADCASTSS: broadcast(32), VBROADCASTSD: broadcast(64), VBROADCASTF128: broadcastHalf, VBROADCASTI128: broadcastHalf,
  VPBROADCASTB: broadcast(8), VPBROADCASTW: broadcast(16), VPBROADCASTD: broadcast(32), VPBROADCASTQ: broadcast(64),
  VPSLLVD: shiftEach32('shl'), VPSRLVD: shiftEach32('shr_u'), VPSRAVD: shiftEach32('shr_s'), VPSLLVQ: shiftEach64('shl'), VPSRLVQ: shiftEach64('shr_u'),
  VZEROUPPER: zeroUpper, VZEROALL: zeroAll,
};
