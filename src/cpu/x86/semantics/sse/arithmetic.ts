/** ADD SUB MUL DIV SQRT MIN MAX of both precisions, packed and scalar; horizontal and alternating forms. SDM volume 2. */
import * as L from '../../../layout.ts';
import { type Expr, i32, load } from '../../../../wasm/expr.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { put, putScratch, scratch, source } from './operands.ts';
import {
  compareFloats,
  denormalIn,
  type Float,
  floatOp,
  floatType,
  isDenormal,
  isOrdinaryResult,
  isPlain,
  nanLanes,
  noLane,
  oddResults,
  type Precision,
  unless,
  variable,
  zero,
  zeroLanes,
} from './ordinary.ts';
import { lanes, lowFloat, pick, splatFloat, type Vector, vector } from './simd.ts';

export type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt' | 'min' | 'max' | 'addsub';
/** Operation numbers of the microcode (sse-float.ts there). */
const CODE: Readonly<Record<Operation, number>> = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  sqrt: 4,
  min: 5,
  max: 6,
  addsub: 7,
};

/** No rounding: NaNs and denormals among the operands are all that matters, and no mode does. */
function chooses(operation: Operation): operation is 'min' | 'max' {
  return operation === 'min' || operation === 'max';
}

// ---- scalars ----

function scalarResult(operation: Operation, a: Float, b: Float): Float {
  if (chooses(operation)) {
    const name = operation === 'min' ? 'pmin' : 'pmax';
    return lowFloat(a.type, floatOp(a.type === 'f64' ? 64 : 32, name, splatFloat(b), splatFloat(a)));
  }
  if (operation === 'sqrt') return b.float('sqrt');
  if (operation === 'addsub') throw new RangeError('addsub is packed only');
  return a.float(operation, b);
}

/** The result is zero for no other reason than the operands: exact. */
function exactZero(x: X86, bits: Precision, operation: Operation, a: Float, b: Float, result: Float): Expr<'i32'>[] {
  const plainZero = compareFloats('eq', result, zero(bits)).and(isPlain(x, bits));
  if (operation === 'sqrt' || operation === 'add' || operation === 'sub') return [plainZero];
  const zeroOperands = [plainZero.and(compareFloats('eq', a, zero(bits)))];
  if (operation === 'mul') zeroOperands.push(plainZero.and(compareFloats('eq', b, zero(bits))));
  return zeroOperands;
}

function scalar(bits: Precision, operation: Operation): Semantics {
  return (x) => {
    const b = x.readFloat(1, floatType(bits));
    const a = operation === 'sqrt' ? b : x.readFloat(0, floatType(bits));
    const doubts: Expr<'i32'>[] = [];
    if (!x.holdsNoDenormal(1, bits, false)) doubts.push(isDenormal(b));
    if (operation !== 'sqrt' && !x.holdsNoDenormal(0, bits, false)) doubts.push(isDenormal(a));
    const value = variable(x, scalarResult(operation, a, b));
    const exact = (): void => {
      x.f.set(value, x.micro(floatType(bits), `sseF${bits}Op`, i32(CODE[operation]), a, b));
      if (!chooses(operation)) x.refreshFloatBounds();
      x.settleOdd(x.state32(L.CPU_SSE_ODD), () => x.writeFloat(0, value.get));
    };
    if (chooses(operation)) {
      doubts.push(compareFloats('ne', a, a), compareFloats('ne', b, b));
      unless(x, doubts, undefined, [], exact);
    } else {
      unless(x, doubts, isOrdinaryResult(x, bits, value.get), exactZero(x, bits, operation, a, b, value.get), exact);
    }
    const others = x.holdsNoDenormal(0, bits, true);
    x.noteNoDenormal(1, bits, false);
    x.writeFloat(0, value.get);
    x.noteNoDenormal(0, bits, others);
  };
}

// ---- vectors ----

function or(left: Vector | undefined, right: Vector): Vector {
  return left === undefined ? right : vector('v128.or', left, right);
}

/** Lanes whose result is zero for no other reason than the operands: exact. */
function exactZeroLanes(bits: Precision, operation: Operation, a: Vector, b: Vector, result: Vector): Vector {
  const zeros = zeroLanes(bits, result);
  if (operation === 'mul') return vector('v128.and', zeros, or(zeroLanes(bits, a), zeroLanes(bits, b)));
  if (operation === 'div') return vector('v128.and', zeros, zeroLanes(bits, a));
  return zeros;
}

function compute(bits: Precision, operation: Operation, a: Vector, b: Vector): Vector {
  switch (operation) {
    case 'min':
      return floatOp(bits, 'pmin', b, a);
    case 'max':
      return floatOp(bits, 'pmax', b, a);
    case 'sqrt':
      return floatOp(bits, 'sqrt', b);
    case 'addsub': {
      // Even lanes subtract.
      const signs = lanes(
        bits,
        Array.from({ length: 128 / bits }, (_, i) => (i % 2 === 0 ? 1n << BigInt(bits - 1) : 0n)),
      );
      return floatOp(bits, 'add', a, vector('v128.xor', b, signs));
    }
    default:
      return floatOp(bits, operation, a, b);
  }
}

/** Which operands are known to hold no denormal number. */
interface Clean {
  readonly a: boolean;
  readonly b: boolean;
}

/** Register operand 0 becomes `a` op `b` in all lanes. */
function packedInto(x: X86, bits: Precision, operation: Operation, a: Vector, b: Vector, clean: Clean): void {
  const value = variable(x, compute(bits, operation, a, b));
  let operands: Vector | undefined;
  if (!clean.b) operands = denormalIn(x, bits, b);
  if (!clean.a && operation !== 'sqrt') operands = or(operands, denormalIn(x, bits, a));
  const exact = (): void => {
    putScratch(x, 0, a);
    putScratch(x, 16, b);
    const [from, count] = [scratch(x), i32(128 / bits)];
    const odd = x.micro('i32', `sseF${bits}Packed`, i32(CODE[operation]), from, from, scratch(x, 16), count);
    x.f.set(value, load('v128', 128, scratch(x)));
    if (!chooses(operation)) x.refreshFloatBounds();
    x.settleOdd(odd, () => put(x, 0, value.get));
  };
  if (chooses(operation)) {
    unless(x, [], noLane(or(or(operands, nanLanes(bits, a)), nanLanes(bits, b))), [], exact);
  } else {
    const odd = oddResults(x, bits, value.get);
    const zeros = exactZeroLanes(bits, operation, a, b, value.get);
    const lesser = noLane(or(operands, vector('v128.andnot', odd, zeros)));
    unless(x, [], noLane(or(operands, odd)), [lesser.and(isPlain(x, bits))], exact);
  }
  put(x, 0, value.get);
  x.noteNoDenormal(0, bits, true);
}

function packed(bits: Precision, operation: Operation): Semantics {
  return (x) => {
    const b = source(x, 1);
    const a = operation === 'sqrt' ? b : source(x, 0);
    packedInto(x, bits, operation, a, b, { a: x.holdsNoDenormal(0, bits, true), b: x.holdsNoDenormal(1, bits, true) });
    if (x.operand(0).reg !== x.operand(1).reg) x.noteNoDenormal(1, bits, true);
  };
}

/** Neighbouring lanes of the destination below, of the source above. */
function horizontal(bits: Precision, operation: 'add' | 'sub'): Semantics {
  const even = Array.from({ length: 128 / bits }, (_, i) => 2 * i);
  const odd = even.map((lane) => lane + 1);
  return (x) => {
    const b = source(x, 1);
    const a = source(x, 0);
    const clean = x.holdsNoDenormal(0, bits, true) && x.holdsNoDenormal(1, bits, true);
    const [first, second] = [x.let(pick(bits, a, b, even)), x.let(pick(bits, a, b, odd))];
    packedInto(x, bits, operation, first, second, { a: clean, b: clean });
  };
}

// prettier-ignore
export const arithmetic: SemanticsTable = {
  ADDPS: packed(32, 'add'), ADDPD: packed(64, 'add'), ADDSS: scalar(32, 'add'), ADDSD: scalar(64, 'add'),
  SUBPS: packed(32, 'sub'), SUBPD: packed(64, 'sub'), SUBSS: scalar(32, 'sub'), SUBSD: scalar(64, 'sub'),
  MULPS: packed(32, 'mul'), MULPD: packed(64, 'mul'), MULSS: scalar(32, 'mul'), MULSD: scalar(64, 'mul'),
  DIVPS: packed(32, 'div'), DIVPD: packed(64, 'div'), DIVSS: scalar(32, 'div'), DIVSD: scalar(64, 'div'),
  SQRTPS: packed(32, 'sqrt'), SQRTPD: packed(64, 'sqrt'), SQRTSS: scalar(32, 'sqrt'), SQRTSD: scalar(64, 'sqrt'),
  MINPS: packed(32, 'min'), MINPD: packed(64, 'min'), MINSS: scalar(32, 'min'), MINSD: scalar(64, 'min'),
  MAXPS: packed(32, 'max'), MAXPD: packed(64, 'max'), MAXSS: scalar(32, 'max'), MAXSD: scalar(64, 'max'),
  HADDPS: horizontal(32, 'add'), HADDPD: horizontal(64, 'add'), HSUBPS: horizontal(32, 'sub'), HSUBPD: horizontal(64, 'sub'),
  ADDSUBPS: packed(32, 'addsub'), ADDSUBPD: packed(64, 'addsub'),
};
