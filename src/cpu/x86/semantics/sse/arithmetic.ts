/** ADD SUB MUL DIV SQRT MIN MAX of both precisions, packed and scalar; horizontal and alternating forms. SDM volume 2. */
import * as L from '../../../layout.ts';
import { type Expr, i32 } from '../../../../wasm/expr.ts';
import type { Local } from '../../../../wasm/function-builder.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { putWork, takeWork, together, work } from './exact.ts';
import { both, eachHalf, type Half, type Halves, halves, place, putHalves, putScalar } from './operands.ts';
import {
  aboveBound,
  allLanes,
  cleanness,
  type Cleanness,
  common,
  compareFloats,
  type Float,
  floatOp,
  floatType,
  isDenormal,
  isOrdinaryResult,
  isPlain,
  least,
  movedOperand,
  movedResult,
  notDenormal,
  notDenormalIn,
  numberLanes,
  ordinaryResults,
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
    const [first, second] = [place(x, 0), place(x, 1)];
    const b = x.readFloat(second, floatType(bits));
    const a = operation === 'sqrt' ? b : x.readFloat(first, floatType(bits));
    const doubts: Expr<'i32'>[] = [];
    const operands: Cleanness[] = [];
    const operand = (i: number, number: Float): void => {
      const known = cleanness(x, i, bits, false, 0, () => notDenormal(number));
      if (known === undefined) doubts.push(isDenormal(number));
      else operands.push(known);
    };
    operand(second, b);
    if (operation !== 'sqrt') operand(first, a);
    const value = variable(x, scalarResult(operation, a, b));
    const exact = (): void => {
      x.f.set(value, x.micro(floatType(bits), `sseF${bits}Op`, i32(CODE[operation]), a, b));
      if (!chooses(operation)) x.refreshFloatBounds();
      x.settleOdd(x.state32(L.CPU_SSE_ODD), () => putScalar(x, value.get));
    };
    if (chooses(operation)) {
      doubts.push(compareFloats('ne', a, a), compareFloats('ne', b, b));
      unless(x, operands, doubts, undefined, [], exact);
    } else {
      const zeros = exactZero(x, bits, operation, a, b, value.get);
      unless(x, operands, doubts, isOrdinaryResult(x, bits, value.get), zeros, exact);
    }
    const others = x.holdsNoDenormal(first, bits, true);
    x.noteNoDenormal(second, bits, false);
    putScalar(x, value.get);
    x.noteNoDenormal(0, bits, others);
  };
}

// ---- vectors ----

function or(left: Vector, right: Vector): Vector {
  return vector('v128.or', left, right);
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

/** What is known of both operands. */
interface Clean {
  readonly a: Cleanness;
  readonly b: Cleanness;
}

/** Operand 0 becomes `as` op `bs`, which are lanes of the operands `sources`, in all lanes; `clean` tells of each half. */
function packedInto(
  x: X86,
  bits: Precision,
  operation: Operation,
  as: Halves,
  bs: Halves,
  clean: (half: Half, a: Vector, b: Vector) => Clean,
  sources: readonly number[],
): void {
  const flagged: Cleanness[] = [];
  const values: Local<'v128'>[] = [];
  /** What must be above the bound; lanes in which plain arithmetic will do when one looks closer. */
  let moved: Vector | undefined;
  let sure: Vector | undefined;
  as.forEach((a, i) => {
    const half: Half = i === 0 ? 0 : 1;
    // INVARIANT: the operands are equally wide.
    const b = bs[half] as Vector;
    const value = variable(x, compute(bits, operation, a, b));
    values.push(value);
    const known = clean(half, a, b);
    const look = (operand: Vector, is: Cleanness): void => {
      if (is !== undefined) flagged.push(is);
      else {
        moved = least(moved, movedOperand(x, bits, operand));
        sure = common(sure, notDenormalIn(x, bits, operand));
      }
    };
    look(b, known.b);
    if (operation !== 'sqrt' && a !== b) look(a, known.a);
    if (chooses(operation)) {
      sure = common(common(sure, numberLanes(bits, a)), numberLanes(bits, b));
    } else {
      const result = value.get;
      moved = least(moved, movedResult(x, bits, result));
      sure = common(sure, or(ordinaryResults(x, bits, result), exactZeroLanes(bits, operation, a, b, result)));
    }
  });
  const exact = (): void => {
    putWork(x, [as, bs]);
    const count = i32((128 / bits) * as.length);
    const odd = x.micro('i32', `sseF${bits}Packed`, i32(CODE[operation]), work(x, 0), work(x, 0), work(x, 1), count);
    takeWork(x, values);
    if (!chooses(operation)) x.refreshFloatBounds();
    x.settleOdd(odd, () => putHalves(x, together(values)));
  };
  // INVARIANT: there was a half.
  const closer = allLanes(sure as Vector);
  if (chooses(operation)) unless(x, flagged, [], closer, [], exact);
  else unless(x, flagged, [], aboveBound(x, bits, moved as Vector), [closer.and(isPlain(x, bits))], exact);
  as.forEach((_, half) => {
    for (const i of sources) x.noteNoDenormal(i, bits, true, half === 0 ? 0 : 1);
  });
  putHalves(x, together(values));
  as.forEach((_, half) => x.noteNoDenormal(0, bits, true, half === 0 ? 0 : 1));
}

function packed(bits: Precision, operation: Operation): Semantics {
  return (x) => {
    const second = operation === 'sqrt' ? 1 : place(x, 1);
    const first = operation === 'sqrt' ? 1 : place(x, 0);
    const bs = halves(x, second);
    const as = operation === 'sqrt' ? bs : halves(x, first);
    const known = (i: number, half: Half, value: Vector): Cleanness =>
      cleanness(x, i, bits, true, half, () => allLanes(notDenormalIn(x, bits, value)));
    packedInto(
      x,
      bits,
      operation,
      as,
      bs,
      (half, a, b) => {
        const ofB = known(second, half, b);
        return { a: first === second ? ofB : known(first, half, a), b: ofB };
      },
      [first, second],
    );
  };
}

/** Neighbouring lanes of the first source below, of the second above. */
function horizontal(bits: Precision, operation: 'add' | 'sub'): Semantics {
  const even = Array.from({ length: 128 / bits }, (_, i) => 2 * i);
  const odd = even.map((lane) => lane + 1);
  return (x) => {
    const [first, second] = [place(x, 0), place(x, 1)];
    const bs = halves(x, second);
    const as = halves(x, first);
    // INVARIANT: the operands are equally wide.
    const picked = (lanesOf: readonly number[]): Halves =>
      eachHalf(x, as, (a, half) => pick(bits, a, bs[half] as Vector, lanesOf));
    packedInto(
      x,
      bits,
      operation,
      picked(even),
      picked(odd),
      (half) => {
        const both = x.holdsNoDenormal(first, bits, true, half) && x.holdsNoDenormal(second, bits, true, half);
        const clean = both ? 'known' : undefined;
        return { a: clean, b: clean };
      },
      [first, second],
    );
  };
}

// prettier-ignore
export const arithmetic: SemanticsTable = both({
  ADDPS: packed(32, 'add'), ADDPD: packed(64, 'add'), ADDSS: scalar(32, 'add'), ADDSD: scalar(64, 'add'),
  SUBPS: packed(32, 'sub'), SUBPD: packed(64, 'sub'), SUBSS: scalar(32, 'sub'), SUBSD: scalar(64, 'sub'),
  MULPS: packed(32, 'mul'), MULPD: packed(64, 'mul'), MULSS: scalar(32, 'mul'), MULSD: scalar(64, 'mul'),
  DIVPS: packed(32, 'div'), DIVPD: packed(64, 'div'), DIVSS: scalar(32, 'div'), DIVSD: scalar(64, 'div'),
  SQRTPS: packed(32, 'sqrt'), SQRTPD: packed(64, 'sqrt'), SQRTSS: scalar(32, 'sqrt'), SQRTSD: scalar(64, 'sqrt'),
  MINPS: packed(32, 'min'), MINPD: packed(64, 'min'), MINSS: scalar(32, 'min'), MINSD: scalar(64, 'min'),
  MAXPS: packed(32, 'max'), MAXPD: packed(64, 'max'), MAXSS: scalar(32, 'max'), MAXSD: scalar(64, 'max'),
  HADDPS: horizontal(32, 'add'), HADDPD: horizontal(64, 'add'), HSUBPS: horizontal(32, 'sub'), HSUBPD: horizontal(64, 'sub'),
  ADDSUBPS: packed(32, 'addsub'), ADDSUBPD: packed(64, 'addsub'),
});
