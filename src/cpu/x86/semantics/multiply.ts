/** MUL, IMUL, DIV, IDIV. SDM volume 2. 128-by-64 division is microcode (divide.ts). */
import * as L from '../../layout.ts';
import { type Expr, i32, i64 } from '../../../wasm/expr.ts';
import { type Int, intType, RAX, RDX, type Semantics, type SemanticsTable, type X86 } from './context.ts';

/** High 64 bits of the unsigned product, from 32-bit halves. Arguments must be reusable. */
export function highProduct(x: X86, a: Expr<'i64'>, b: Expr<'i64'>): Expr<'i64'> {
  const mask = i64(0xffffffff);
  const [a0, a1, b0, b1] = [x.let(a.and(mask)), x.let(a.shr_u(i64(32))), x.let(b.and(mask)), x.let(b.shr_u(i64(32)))];
  const low = x.let(a0.mul(b0));
  const middle = x.let(a1.mul(b0).add(low.shr_u(i64(32))));
  const other = x.let(a0.mul(b1).add(middle.and(mask)));
  return x.let(
    a1
      .mul(b1)
      .add(middle.shr_u(i64(32)))
      .add(other.shr_u(i64(32))),
  );
}

/** The same for signed factors. */
export function highProductSigned(x: X86, a: Expr<'i64'>, b: Expr<'i64'>): Expr<'i64'> {
  const unsigned = highProduct(x, a, b);
  return x.let(unsigned.sub(a.shr_s(i64(63)).and(b)).sub(b.shr_s(i64(63)).and(a)));
}

function overflowFlags(x: X86, bits: number, low: Int, overflow: Expr<'i32'>): void {
  const carry = x.forFlags(overflow);
  x.flags.put({ bits, result: low, cf: carry, of: carry });
}

/** rDX:rAX (AX for bytes) = rAX * operand 0. */
function wideMultiply(signed: boolean): Semantics {
  return (x) => {
    const bits = x.width(0);
    const b = x.read(0);
    const a = x.reg(RAX, bits);
    if (bits === 64) {
      const [a64, b64] = [a.toI64(), b.toI64()];
      const low = x.let(a64.mul(b64));
      const high = signed ? highProductSigned(x, a64, b64) : highProduct(x, a64, b64);
      x.setReg(RAX, 64, low);
      x.setReg(RDX, 64, high);
      overflowFlags(x, 64, low, high.ne(signed ? low.shr_s(i64(63)) : i64(0)));
      return;
    }
    const extend = (v: Int): Expr<'i64'> => (signed ? v.toI64().signExtend(bits) : v.toI64());
    const product = x.let(extend(a).mul(extend(b)));
    const low = x.let(product.toI32());
    if (bits === 8) {
      x.setReg(RAX, 16, low);
    } else {
      x.setReg(RAX, bits, low);
      x.setReg(RDX, bits, product.shr_u(i64(bits)).toI32());
    }
    overflowFlags(x, bits, low, signed ? product.ne(product.signExtend(bits)) : product.shr_u(i64(bits)).ne(i64(0)));
  };
}

/** Two and three operand IMUL: operand 0 = second to last * last. */
const imul: Semantics = (x) => {
  const bits = x.width(0);
  const [left, right] = x.insn.operandCount === 3 ? [x.read(1), x.read(2)] : [x.read(0), x.read(1)];
  if (bits === 64) {
    const [a, b] = [left.toI64(), x.let(right.toI64())];
    const low = x.let(a.mul(b));
    x.write(0, low);
    overflowFlags(x, 64, low, x.microPure('i32', 'imulOverflow', a, b));
    return;
  }
  const product = x.let(left.toI64().signExtend(bits).mul(right.toI64().signExtend(bits)));
  const low = x.let(product.toI32());
  x.write(0, low);
  overflowFlags(x, bits, low, product.ne(product.signExtend(bits)));
};

function setQuotient(x: X86, bits: number, quotient: Expr<'i64'>, remainder: Expr<'i64'>): void {
  const type = intType(bits);
  if (bits === 8) {
    x.setReg(
      RAX,
      16,
      quotient
        .toI32()
        .and(i32(0xff))
        .or(remainder.toI32().shl(i32(8))),
    );
    return;
  }
  x.setReg(RAX, bits, quotient.toInt(type));
  x.setReg(RDX, bits, remainder.toInt(type));
}

/** The dividend of 8 to 32-bit divisions, as i64: AX, or rDX:rAX. Not sign-extended but for 32 bits, where it fills i64. */
function dividend(x: X86, bits: number): Expr<'i64'> {
  if (bits === 8) return x.reg(RAX, 16).toI64();
  return x.let(
    x
      .reg(RAX, bits)
      .toI64()
      .or(x.reg(RDX, bits).toI64().shl(i64(bits))),
  );
}

const div: Semantics = (x) => {
  const bits = x.width(0);
  const divisor = x.let(x.read(0).toI64());
  x.raiseIf(divisor.eqz(), L.EXC_DE);
  if (bits === 64) {
    divide128(x, 'div128', divisor, x.reg64(RDX).eqz(), (a) => [a.div_u(divisor), a.rem_u(divisor)]);
    return;
  }
  const n = dividend(x, bits);
  const quotient = x.let(n.div_u(divisor));
  x.raiseIf(quotient.shr_u(i64(bits)).ne(i64(0)), L.EXC_DE);
  setQuotient(x, bits, quotient, x.let(n.rem_u(divisor)));
};

const idiv: Semantics = (x) => {
  const bits = x.width(0);
  const divisor = x.let(x.read(0).toI64().signExtend(bits));
  x.raiseIf(divisor.eqz(), L.EXC_DE);
  if (bits === 64) {
    // Within 64 bits, unless it is the one division of those that overflows (and traps in WebAssembly).
    const small = x.reg64(RDX).eq(x.reg64(RAX).shr_s(i64(63)));
    const safe = small.and(divisor.ne(i64(-1)));
    divide128(x, 'idiv128', divisor, safe, (a) => [a.div_s(divisor), a.rem_s(divisor)]);
    return;
  }
  const n = x.let(dividend(x, bits).signExtend(bits * 2));
  // The smallest dividend by -1 would trap.
  if (bits === 32) x.raiseIf(divisor.eq(i64(-1)).and(n.eq(i64(-(2n ** 63n)))), L.EXC_DE);
  const quotient = x.let(n.div_s(divisor));
  x.raiseIf(quotient.signExtend(bits).ne(quotient), L.EXC_DE);
  setQuotient(x, bits, quotient, x.let(n.rem_s(divisor)));
};

/** rDX:rAX by `divisor`: in WebAssembly's own 64 bits when `small` holds, else by microcode, which may raise #DE. */
function divide128(
  x: X86,
  microcode: string,
  divisor: Expr<'i64'>,
  small: Expr<'i32'>,
  narrow: (a: Expr<'i64'>) => readonly [Expr<'i64'>, Expr<'i64'>],
): void {
  const low = x.reg64(RAX);
  const high = x.reg64(RDX);
  const quotient = x.f.temporary('i64');
  const remainder = x.f.temporary('i64');
  const [q, r] = narrow(low);
  x.f.if(
    small,
    () => {
      x.f.set(quotient, q);
      x.f.set(remainder, r);
    },
    () => {
      x.microOrFault(microcode, high, low, divisor);
      x.f.set(quotient, x.state64(L.CPU_SCRATCH));
      x.f.set(remainder, x.state64(L.CPU_SCRATCH + 8));
    },
  );
  setQuotient(x, 64, quotient.get, remainder.get);
}

export const multiply: SemanticsTable = {
  MUL: wideMultiply(false),
  IMUL_wide: wideMultiply(true),
  IMUL: imul,
  DIV: div,
  IDIV: idiv,
};
