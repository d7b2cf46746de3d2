/** BMI1, BMI2 and ADX: ANDN BEXTR BLSI BLSMSK BLSR BZHI MULX PDEP PEXT RORX SARX SHLX SHRX ADCX ADOX. SDM volume 2. Operands are 32 or 64 bits wide. */
import { type Expr, i32, i64, int, select } from '../../../wasm/expr.ts';
import { type Int, intType, RDX, type Semantics, type SemanticsTable } from './context.ts';
import { highProduct } from './multiply.ts';

const andn: Semantics = (x) => {
  const result = x.let(x.read(1).not().and(x.read(2)));
  x.write(0, result);
  x.flags.logic(x.width(0), result);
};

const bextr: Semantics = (x) => {
  const bits = x.width(0);
  const type = intType(bits);
  const source = x.read(1);
  const control = x.read(2);
  const start = x.let(control.and(int(type, 0xff)));
  const length = x.let(control.shr_u(int(type, 8)).and(int(type, 0xff)));
  const whole = int(type, bits);
  const shifted = x.let(select(start.lt_u(whole), source.shr_u(start), int(type, 0)));
  const mask = int(type, 1).shl(length).sub(int(type, 1));
  const result = x.let(select(length.lt_u(whole), shifted.and(mask), shifted));
  x.write(0, result);
  x.flags.logic(bits, result);
};

const bzhi: Semantics = (x) => {
  const bits = x.width(0);
  const type = intType(bits);
  const source = x.read(1);
  const index = x.let(x.read(2).and(int(type, 0xff)));
  const inside = x.let(index.lt_u(int(type, bits)));
  const mask = int(type, 1).shl(index).sub(int(type, 1));
  const result = x.let(select(inside, source.and(mask), source));
  x.write(0, result);
  x.flags.put({ bits, result, cf: inside.eqz(), of: i32(0) });
};

/** BLSI, BLSMSK, BLSR: `compute` from the source and the source - 1; CF tells whether the source is zero, or not. */
function lowestBit(compute: (source: Int, less: Int) => Int, carryIfZero: boolean): Semantics {
  return (x) => {
    const source = x.read(1);
    const result = x.let(compute(source, source.sub(int(source.type, 1))));
    const zero = source.eqz();
    x.write(0, result);
    x.flags.put({ bits: x.width(0), result, cf: carryIfZero ? zero : zero.eqz(), of: i32(0) });
  };
}

/** High half into operand 0, low half into operand 1; the high half wins when they are one register. */
const mulx: Semantics = (x) => {
  const bits = x.width(0);
  const factor = x.reg(RDX, bits);
  const source = x.read(2);
  if (bits === 64) {
    const [a, b] = [factor.toI64(), source.toI64()];
    const low = x.let(a.mul(b));
    const high = highProduct(x, a, b);
    x.write(1, low);
    x.write(0, high);
    return;
  }
  const product = x.let(factor.toI64().mul(source.toI64()));
  x.write(1, product.toI32());
  x.write(0, product.shr_u(i64(32)).toI32());
};

/** PDEP and PEXT: microcode/bit-fields.ts. */
function scatterGather(name: string): Semantics {
  return (x) => {
    const source = x.read(1).toI64();
    const mask = x.read(2).toI64();
    x.write(0, x.micro('i64', name, source, mask).toInt(intType(x.width(0))));
  };
}

/** Counts are taken modulo the width; no flags. */
function shiftBy(compute: (value: Int, count: Int) => Int): Semantics {
  return (x) => {
    const value = x.read(1);
    x.write(0, compute(value, x.read(2, x.width(0))));
  };
}

/** Sum with one flag as carry in and out, the others kept. */
function addWithFlag(flag: 'cf' | 'of'): Semantics {
  return (x) => {
    const a = x.read(0);
    const b = x.read(1);
    const carry: Expr<'i32'> = x.let(flag === 'cf' ? x.flags.cf() : x.flags.of());
    const sum = x.let(a.add(b).add(carry.toInt(a.type)));
    const out = x.let(sum.lt_u(a).or(carry.and(sum.eq(a))));
    x.write(0, sum);
    x.flags.put(flag === 'cf' ? { cf: out } : { of: out });
  };
}

export const bmi: SemanticsTable = {
  ANDN: andn,
  BEXTR: bextr,
  BZHI: bzhi,
  BLSI: lowestBit((source) => source.and(source.neg()), false),
  BLSMSK: lowestBit((source, less) => source.xor(less), true),
  BLSR: lowestBit((source, less) => source.and(less), true),
  MULX: mulx,
  PDEP: scatterGather('pdep'),
  PEXT: scatterGather('pext'),
  SHLX: shiftBy((value, count) => value.shl(count)),
  SHRX: shiftBy((value, count) => value.shr_u(count)),
  SARX: shiftBy((value, count) => value.shr_s(count)),
  RORX: shiftBy((value, count) => value.rotr(count)),
  ADCX: addWithFlag('cf'),
  ADOX: addWithFlag('of'),
};
