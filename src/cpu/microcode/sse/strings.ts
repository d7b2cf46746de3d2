/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: comparison of two short strings. Intel SDM volume 2, chapter 4.1.
 *
 * Strings are at host addresses, 16 bytes each. Bits of the immediate: 0 = words, 1 = signed, 2..3 aggregation, 4..5 polarity.
 */

const EQUAL_ANY: u32 = 0;
const RANGES: u32 = 1;
const EQUAL_EACH: u32 = 2;

/** Flags as RFLAGS bits above the mask in a result. */
const FLAGS_SHIFT: u32 = 16;
const CF: u32 = 0x001;
const ZF: u32 = 0x040;
const SF: u32 = 0x080;
const OF: u32 = 0x800;

@inline function ones(count: u32): u32 { return (<u32>1 << count) - 1; }

/** One bit for each element of `b` that equals element `j` at `a`. */
@inline function equalTo(a: u32, j: u32, b: v128, words: bool): u32 {
  if (words) return <u32>i16x8.bitmask(i16x8.eq(b, i16x8.splat(load<i16>(a + (j << 1)))));
  return <u32>i8x16.bitmask(i8x16.eq(b, i8x16.splat(load<i8>(a + j))));
}

/** One bit for each element of `b` between elements `j` and `j + 1` at `a`. */
function inRange(a: u32, j: u32, b: v128, words: bool, signed: bool): u32 {
  if (words) {
    const low = i16x8.splat(load<i16>(a + (j << 1))), high = i16x8.splat(load<i16>(a + (j << 1) + 2));
    if (signed) return <u32>i16x8.bitmask(v128.and(i16x8.ge_s(b, low), i16x8.le_s(b, high)));
    return <u32>i16x8.bitmask(v128.and(i16x8.ge_u(b, low), i16x8.le_u(b, high)));
  }
  const low = i8x16.splat(load<i8>(a + j)), high = i8x16.splat(load<i8>(a + j + 1));
  if (signed) return <u32>i8x16.bitmask(v128.and(i8x16.ge_s(b, low), i8x16.le_s(b, high)));
  return <u32>i8x16.bitmask(v128.and(i8x16.ge_u(b, low), i8x16.le_u(b, high)));
}

/** The aggregated comparison; `la` and `lb` valid elements of `count`. */
function aggregate(imm: u32, a: u32, la: u32, b: u32, lb: u32, count: u32): u32 {
  const words: bool = (imm & 1) != 0;
  const vb = v128.load(b);
  const validB = ones(lb);
  const operation = (imm >> 2) & 3;
  let result: u32 = 0;
  if (operation == EQUAL_ANY) {
    for (let j: u32 = 0; j < la; j++) result |= equalTo(a, j, vb, words);
    return result & validB;
  }
  if (operation == RANGES) {
    for (let j: u32 = 0; j + 1 < la; j += 2) result |= inRange(a, j, vb, words, (imm & 2) != 0);
    return result & validB;
  }
  if (operation == EQUAL_EACH) {
    const va = v128.load(a);
    const equal: u32 = words ? <u32>i16x8.bitmask(i16x8.eq(va, vb)) : <u32>i8x16.bitmask(i8x16.eq(va, vb));
    const validA = ones(la);
    return (equal & validA & validB) | (ones(count) & ~(validA | validB));
  }
  // Equal ordered: a is sought in b; what lies beyond the register counts as found.
  result = ones(count);
  for (let j: u32 = 0; j < la; j++) {
    const found = (equalTo(a, j, vb, words) & validB) | ~ones(count);
    result &= <u32>(<i32>found >> j);
  }
  return result;
}

/** The mask (IntRes2) in the low 16 bits, and CF ZF SF OF above. */
function compare(imm: u32, a: u32, la: u32, b: u32, lb: u32, count: u32): u32 {
  let mask = aggregate(imm, a, la, b, lb, count);
  if (imm & 0x10) mask ^= imm & 0x20 ? ones(lb) : ones(count);
  let flags: u32 = mask != 0 ? CF : 0;
  if (lb < count) flags |= ZF;
  if (la < count) flags |= SF;
  if (mask & 1) flags |= OF;
  return mask | (flags << FLAGS_SHIFT);
}

/** Elements before the first that is zero. */
function implicitLength(at: u32, words: bool, count: u32): u32 {
  const v = v128.load(at);
  const zeros: u32 = words ? <u32>i16x8.bitmask(i16x8.eq(v, i16x8.splat(0))) : <u32>i8x16.bitmask(i8x16.eq(v, i8x16.splat(0)));
  return zeros != 0 ? <u32>ctz(zeros) : count;
}

@inline function elements(imm: u32): u32 { return imm & 1 ? 8 : 16; }

/** PCMPISTRx of the strings at `a` (first operand) and `b`. */
export function sseCompareImplicit(cpu: u32, imm: u32, a: u32, b: u32): u32 {
  const count = elements(imm);
  const words: bool = (imm & 1) != 0;
  return compare(imm, a, implicitLength(a, words, count), b, implicitLength(b, words, count), count);
}

/** Magnitude of a length, at most `count`. */
function explicitLength(length: i64, count: u32): u32 {
  if (length > <i64>count || length < -<i64>count) return count;
  return <u32>(length < 0 ? -length : length);
}

/** PCMPESTRx; lengths sign-extended from their register's width. */
export function sseCompareExplicit(cpu: u32, imm: u32, a: u32, la: i64, b: u32, lb: i64): u32 {
  const count = elements(imm);
  return compare(imm, a, explicitLength(la, count), b, explicitLength(lb, count), count);
}
