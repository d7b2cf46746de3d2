/**
 * The arithmetic flags while code is being generated: stored lazily in four parts (layout.ts, CPU_FLAG_*), read on demand.
 *
 * The last operation that set all of them is remembered at build time, so that `cmp; jl` becomes one comparison.
 * CF is kept as 0 or 1. Results are kept sign-extended, so one formula serves all widths.
 */
import { type Expr, type FloatType, i32, i64, int } from '../../../wasm/expr.ts';
import type { FlagPart, Int, X86 } from './context.ts';

export const CF = 0x001;
export const PF = 0x004;
export const AF = 0x010;
export const ZF = 0x040;
export const SF = 0x080;
export const OF = 0x800;
/** The six arithmetic flags in RFLAGS. */
export const ARITHMETIC_FLAGS = 0x8d5;

interface Setter {
  readonly kind: 'sub' | 'logic';
  readonly bits: number;
  readonly a: Int;
  readonly b: Int;
  readonly result: Int;
}

/** A comparison of floats. */
interface FloatSetter {
  readonly kind: 'float';
  readonly a: Expr<FloatType>;
  readonly b: Expr<FloatType>;
}

/**
 * What one operation leaves behind, from which all four parts can be computed later: the microcode's `flagsFromLazy` takes the
 * number lazyKind(), the result and another value (the second operand; CF before INC and DEC; nothing for logic).
 */
export const LAZY_ADD = 0;
export const LAZY_SUB = 1;
export const LAZY_LOGIC = 2;
export const LAZY_INC = 3;
export const LAZY_DEC = 4;

/** Never 0. `bits`: 8, 16, 32 or 64. */
export function lazyKind(operation: number, bits: number): number {
  return operation * 4 + Math.log2(bits) - 2;
}

export class Flags {
  private readonly x: X86;
  private last: Setter | FloatSetter | undefined;

  constructor(x: X86) {
    this.x = x;
  }

  /** What is remembered, to be put back with `recall` where control comes from here alone. */
  get memory(): readonly Expr[] {
    if (this.last === undefined) return [];
    return this.last.kind === 'float' ? [this.last.a, this.last.b] : [this.last.a, this.last.b, this.last.result];
  }

  /** Runs `path` and then remembers what it did before. */
  keeping(path: () => void): void {
    const { last } = this;
    path();
    this.last = last;
  }

  /** Nothing is known of the flags any more but their stored parts. */
  forget(): void {
    this.last = undefined;
  }

  // ---- setting. `a`, `b`, `result` may carry garbage above `bits`; all must be reusable values. ----

  add(bits: number, a: Int, b: Int, result: Int): void {
    const [sa, sb, sr] = [wide(a, bits), wide(b, bits), this.x.forFlags(wide(result, bits))];
    this.last = undefined;
    this.set('res', sr);
    this.set('cf', (bits <= 16 ? sr.lt_u(sa) : result.lt_u(a)).toI64());
    this.set('ov', sa.xor(sr).and(sb.xor(sr)));
    this.set('aux', sa.xor(sb).xor(sr).and(i64(AF)));
    this.x.setLazyFlags(lazyKind(LAZY_ADD, bits), result.toI64(), b.toI64());
  }

  /** a + b + carry: `carry` is CF before, 0 or 1. */
  adc(bits: number, a: Int, b: Int, result: Int, carry: Expr<'i32'>): void {
    const [sa, sb, sr] = [
      this.x.forFlags(wide(a, bits)),
      this.x.forFlags(wide(b, bits)),
      this.x.forFlags(wide(result, bits)),
    ];
    const cf = this.x.forFlags(
      sr
        .lt_u(sa)
        .or(carry.and(sr.eq(sa)))
        .toI64(),
    );
    this.last = undefined;
    this.set('res', sr);
    this.set('cf', cf);
    this.set('ov', sa.xor(sr).and(sb.xor(sr)));
    this.set('aux', sa.xor(sb).xor(sr).and(i64(AF)));
  }

  sub(bits: number, a: Int, b: Int, result: Int): void {
    const [sa, sb, sr] = [wide(a, bits), wide(b, bits), this.x.forFlags(wide(result, bits))];
    this.set('res', sr);
    this.set('cf', (bits <= 16 ? sa.lt_u(sb) : a.lt_u(b)).toI64());
    this.set('ov', sa.xor(sb).and(sa.xor(sr)));
    this.set('aux', sa.xor(sb).xor(sr).and(i64(AF)));
    this.x.setLazyFlags(lazyKind(LAZY_SUB, bits), result.toI64(), b.toI64());
    this.last = { kind: 'sub', bits, a, b, result };
  }

  /** a - b - borrow. */
  sbb(bits: number, a: Int, b: Int, result: Int, borrow: Expr<'i32'>): void {
    const [sa, sb, sr] = [
      this.x.forFlags(wide(a, bits)),
      this.x.forFlags(wide(b, bits)),
      this.x.forFlags(wide(result, bits)),
    ];
    const cf = this.x.forFlags(
      sa
        .lt_u(sb)
        .or(borrow.and(sa.eq(sb)))
        .toI64(),
    );
    this.last = undefined;
    this.set('res', sr);
    this.set('cf', cf);
    this.set('ov', sa.xor(sb).and(sa.xor(sr)));
    this.set('aux', sa.xor(sb).xor(sr).and(i64(AF)));
  }

  /** AND, OR, XOR, TEST: CF = OF = AF = 0. */
  logic(bits: number, result: Int): void {
    this.set('res', wide(result, bits));
    this.set('cf', i64(0));
    this.set('ov', i64(0));
    this.set('aux', i64(0));
    this.x.setLazyFlags(lazyKind(LAZY_LOGIC, bits), result.toI64(), i64(0));
    this.last = { kind: 'logic', bits, a: result, b: result, result };
  }

  /** INC: CF stays. */
  inc(bits: number, result: Int): void {
    const sr = this.x.forFlags(wide(result, bits));
    this.last = undefined;
    this.set('res', sr);
    // Overflow exactly when the result is the smallest value.
    this.set(
      'ov',
      sr
        .eq(i64(-(2n ** BigInt(bits - 1))))
        .toI64()
        .shl(i64(63)),
    );
    this.set('aux', sr.and(i64(15)).eqz().toI64().shl(i64(4)));
    this.x.setLazyFlags(lazyKind(LAZY_INC, bits), result.toI64(), undefined);
  }

  /** DEC: CF stays. */
  dec(bits: number, result: Int): void {
    const sr = this.x.forFlags(wide(result, bits));
    this.last = undefined;
    this.set('res', sr);
    this.set(
      'ov',
      sr
        .eq(i64(2n ** BigInt(bits - 1) - 1n))
        .toI64()
        .shl(i64(63)),
    );
    this.set('aux', sr.and(i64(15)).eq(i64(15)).toI64().shl(i64(4)));
    this.x.setLazyFlags(lazyKind(LAZY_DEC, bits), result.toI64(), undefined);
  }

  /**
   * Sets what is given and leaves the rest: `result` decides ZF SF PF; `cf`, `of`, `af` are i32 truths of 0 or 1; `ov` is OF
   * as the sign of an i64. When `result` is given without `af`, AF becomes 0.
   */
  put(parts: {
    bits?: number;
    result?: Int;
    cf?: Expr<'i32'>;
    of?: Expr<'i32'>;
    ov?: Expr<'i64'>;
    af?: Expr<'i32'>;
  }): void {
    this.last = undefined;
    if (parts.result !== undefined) {
      this.set('res', wide(parts.result, parts.bits ?? 64));
      this.set('aux', parts.af === undefined ? i64(0) : parts.af.toI64().shl(i64(4)));
    } else if (parts.af !== undefined) {
      this.set(
        'aux',
        this.part('aux')
          .and(i64(~AF))
          .or(parts.af.toI64().shl(i64(4))),
      );
    }
    if (parts.cf !== undefined) this.set('cf', parts.cf.toI64());
    if (parts.of !== undefined) this.set('ov', parts.of.toI64().shl(i64(63)));
    if (parts.ov !== undefined) this.set('ov', parts.ov);
  }

  /** Sets all six from their bits in RFLAGS positions. */
  fromBits(bits: Expr<'i32'>): void {
    const value = this.x.let(bits);
    const zf = value.shr_u(i32(6)).and(i32(1));
    // ZF decides the stored result (0 or 1); SF and PF are corrected by the deltas in aux: bit 63 and bits 8..15.
    // Result 0 has even parity, result 1 odd: the parity delta is 1 exactly when PF == (result is 1).
    const parityDelta = value.shr_u(i32(2)).and(i32(1)).xor(zf);
    const sf = value.shr_u(i32(7)).and(i32(1));
    this.last = undefined;
    this.set('res', zf.xor(i32(1)).toI64());
    this.set('cf', value.and(i32(1)).toI64());
    this.set('ov', value.shr_u(i32(11)).and(i32(1)).toI64().shl(i64(63)));
    const aux = value.and(i32(AF)).or(parityDelta.shl(i32(8)));
    this.set('aux', aux.toI64().or(sf.toI64().shl(i64(63))));
  }

  /** COMISS and its kin: ZF PF CF say unordered, greater (none), less (CF) or equal (ZF). `a` and `b` are reusable. */
  floats(a: Expr<FloatType>, b: Expr<FloatType>): void {
    const different = a.compareFloat('lt', b).or(a.compareFloat('gt', b));
    // A result of 0 has even parity unless the delta says otherwise.
    const parityDelta = a.compareFloat('eq', b).shl(i32(8));
    this.set('res', different.toI64());
    this.set('cf', a.compareFloat('ge', b).eqz().toI64());
    this.set('ov', i64(0));
    this.set('aux', parityDelta.toI64());
    this.last = { kind: 'float', a, b };
  }

  // ---- reading: i32, 0 or 1 ----

  cf(): Expr<'i32'> {
    return this.part('cf').toI32();
  }
  zf(): Expr<'i32'> {
    return this.part('res').eqz();
  }
  sf(): Expr<'i32'> {
    return this.part('res').xor(this.part('aux')).shr_u(i64(63)).toI32();
  }
  of(): Expr<'i32'> {
    return this.part('ov').shr_u(i64(63)).toI32();
  }
  af(): Expr<'i32'> {
    return this.part('aux').toI32().shr_u(i32(4)).and(i32(1));
  }
  pf(): Expr<'i32'> {
    const byte = this.part('res')
      .xor(this.part('aux').shr_u(i64(8)))
      .toI32()
      .and(i32(0xff));
    return byte.popcnt().and(i32(1)).xor(i32(1));
  }

  /** All six in RFLAGS positions. */
  toBits(): Expr<'i32'> {
    return this.cf()
      .or(this.pf().shl(i32(2)))
      .or(this.part('aux').toI32().and(i32(AF)))
      .or(this.zf().shl(i32(6)))
      .or(this.sf().shl(i32(7)))
      .or(this.of().shl(i32(11)));
  }

  /** Condition code 0..15 as in the low opcode bits of Jcc: O B E BE S P L LE, odd = negated. */
  condition(code: number): Expr<'i32'> {
    const { last } = this;
    const fused = last === undefined ? undefined : last.kind === 'float' ? fuseFloats(last, code) : fuse(last, code);
    if (fused !== undefined) return fused;
    const plain = this.plain(code >> 1);
    return code & 1 ? plain.eqz() : plain;
  }

  private plain(pair: number): Expr<'i32'> {
    switch (pair) {
      case 0:
        return this.of();
      case 1:
        return this.cf();
      case 2:
        return this.zf();
      case 3:
        return this.cf().or(this.zf());
      case 4:
        return this.sf();
      case 5:
        return this.pf();
      case 6:
        return this.less();
      default:
        return this.less().or(this.zf());
    }
  }

  private less(): Expr<'i32'> {
    return this.part('res').xor(this.part('aux')).xor(this.part('ov')).lt_s(i64(0));
  }

  private part(part: FlagPart): Expr<'i64'> {
    return this.x.flagPart(part);
  }
  private set(part: FlagPart, value: Expr<'i64'>): void {
    this.x.setFlagPart(part, value);
  }
}

/** Sign-extended from `bits` to i64. */
function wide(value: Int, bits: number): Expr<'i64'> {
  if (bits === 64) return value.toI64();
  if (bits === 32) return value.toI32().toI64Signed();
  return value.toI64().signExtend(bits);
}

/** The condition straight from the floats compared; undefined for those that they do not decide. */
function fuseFloats({ a, b }: FloatSetter, code: number): Expr<'i32'> | undefined {
  switch (code) {
    case 2:
      return a.compareFloat('ge', b).eqz();
    case 3:
      return a.compareFloat('ge', b);
    case 6:
      return a.compareFloat('gt', b).eqz();
    case 7:
      return a.compareFloat('gt', b);
    case 10:
      return a.compareFloat('ne', a).or(b.compareFloat('ne', b));
    case 11:
      return a.compareFloat('eq', a).and(b.compareFloat('eq', b));
    default:
      return undefined;
  }
}

/** The condition straight from the operands of the operation that set the flags; undefined where that is no gain. */
function fuse(last: Setter, code: number): Expr<'i32'> | undefined {
  const { bits } = last;
  const signed = (value: Int): Int => (bits >= 32 ? value : value.signExtend(bits));
  const unsigned = (value: Int): Int => (bits >= 32 ? value : value.zeroExtend(bits));
  const zero = int(last.result.type, 0);
  const logic = last.kind === 'logic';
  switch (code) {
    case 2:
      return logic ? i32(0) : unsigned(last.a).lt_u(unsigned(last.b));
    case 3:
      return logic ? i32(1) : unsigned(last.a).ge_u(unsigned(last.b));
    case 4:
      return logic ? unsigned(last.result).eqz() : unsigned(last.a).eq(unsigned(last.b));
    case 5:
      return logic ? unsigned(last.result).ne(zero) : unsigned(last.a).ne(unsigned(last.b));
    case 6:
      return logic ? unsigned(last.result).eqz() : unsigned(last.a).le_u(unsigned(last.b));
    case 7:
      return logic ? unsigned(last.result).ne(zero) : unsigned(last.a).gt_u(unsigned(last.b));
    case 8:
      return signed(last.result).lt_s(zero);
    case 9:
      return signed(last.result).ge_s(zero);
    case 12:
      return logic ? signed(last.result).lt_s(zero) : signed(last.a).lt_s(signed(last.b));
    case 13:
      return logic ? signed(last.result).ge_s(zero) : signed(last.a).ge_s(signed(last.b));
    case 14:
      return logic ? signed(last.result).le_s(zero) : signed(last.a).le_s(signed(last.b));
    case 15:
      return logic ? signed(last.result).gt_s(zero) : signed(last.a).gt_s(signed(last.b));
    default:
      return undefined;
  }
}
