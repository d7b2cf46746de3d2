/** PCMPESTRI PCMPESTRM PCMPISTRI PCMPISTRM. SDM volume 2, chapter 4.1; the comparison itself is microcode (sse/strings.ts). */
import { type Expr, i32, select, v128Zero } from '../../../../wasm/expr.ts';
import { RAX, RCX, RDX, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { both, byteValue, isAvx, putScratch, scratch, source } from './operands.ts';
import { laneMask } from './shuffles.ts';
import { choose, lanes, lowLane, pick, vector } from './simd.ts';

/** Calls the microcode: the mask in the low 16 bits, the flags in RFLAGS positions above. */
function comparison(x: X86, explicit: boolean, immediate: Expr<'i32'>): Expr<'i32'> {
  const b = source(x, 1);
  putScratch(x, 16, b);
  putScratch(x, 0, source(x, 0));
  if (!explicit) return x.micro('i32', 'sseCompareImplicit', immediate, scratch(x), scratch(x, 16));
  const bits = x.insn.rexW ? 64 : 32;
  const length = (register: number): Expr<'i64'> => x.reg(register, bits).toI64Signed();
  return x.micro('i32', 'sseCompareExplicit', immediate, scratch(x), length(RAX), scratch(x, 16), length(RDX));
}

/** Index of the lowest or highest bit into ECX; the number of elements when there is none. */
function index(explicit: boolean): Semantics {
  return (x) => {
    const immediate = byteValue(x, 2);
    const result = comparison(x, explicit, immediate);
    const mask = x.let(result.and(i32(0xffff)));
    const count = x.let(select(immediate.and(i32(1)), i32(8), i32(16)));
    const lowest = mask.or(i32(1).shl(count)).ctz();
    const highest = select(mask, i32(31).sub(mask.clz()), count);
    x.setReg(RCX, 32, x.let(select(immediate.and(i32(0x40)), highest, lowest)));
    x.flags.fromBits(x.let(result.shr_u(i32(16))));
  };
}

/** The mask into XMM0, as bits or as elements of ones. */
function mask(explicit: boolean): Semantics {
  return (x) => {
    const immediate = byteValue(x, 2);
    const result = comparison(x, explicit, immediate);
    const bits = x.let(result.and(i32(0xffff)));
    const places = lanes(
      8,
      Array.from({ length: 16 }, (_, i) => 1 << (i & 7)),
    );
    const spread = vector('i16x8.splat', bits);
    const copies = pick(
      8,
      spread,
      spread,
      Array.from({ length: 16 }, (_, i) => i >> 3),
    );
    const bytes = vector('i8x16.eq', vector('v128.and', copies, places), places);
    const elements = choose(immediate.and(i32(1)), laneMask(16, bits), bytes);
    x.setXmm(0, choose(immediate.and(i32(0x40)), elements, lowLane(bits)));
    if (isAvx(x)) x.setHigh(0, v128Zero);
    x.flags.fromBits(x.let(result.shr_u(i32(16))));
  };
}

// prettier-ignore
export const strings: SemanticsTable = both({
  PCMPESTRI: index(true), PCMPISTRI: index(false), PCMPESTRM: mask(true), PCMPISTRM: mask(false),
});
