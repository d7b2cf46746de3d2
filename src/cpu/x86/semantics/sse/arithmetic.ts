/** ADD SUB MUL DIV SQRT MIN MAX of both precisions, packed and scalar; horizontal and alternating forms. SDM volume 2. */
import { type Expr, i32, select } from '../../../../wasm/expr.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { put, putScratch, quickOr, scratch, source } from './operands.ts';
import {
  bothNumbers,
  compareFloats,
  defaultMode,
  defaultModeOrFlushing,
  denormalLanes,
  type Float,
  floatOp,
  floatType,
  isFinite,
  isNormal,
  nanLanes,
  notDenormal,
  notFiniteLanes,
  notNormalLanes,
  type Precision,
  zero,
  zeroLanes,
} from './ordinary.ts';
import { anyTrue, lanes, pick, splat, type Vector, vector } from './simd.ts';

type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt' | 'min' | 'max' | 'addsub';
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

// ---- scalars ----

interface Attempt {
  readonly result: Float;
  /** Nothing but PE, already raised, can have come up. */
  readonly sure: Expr<'i32'>;
  /** The same for rarer cases, looked at when `sure` does not hold. */
  readonly alsoSure?: Expr<'i32'>;
}

function attempt(x: X86, bits: Precision, operation: Operation, a: Float, b: Float): Attempt {
  const ordinary = x.let(notDenormal(a).and(notDenormal(b)));
  if (operation === 'min' || operation === 'max') {
    const first = compareFloats(operation === 'min' ? 'lt' : 'gt', a, b);
    return { result: select(first, a, b), sure: bothNumbers(a, b).and(ordinary) };
  }
  if (operation === 'sqrt') {
    const sure = defaultModeOrFlushing(x).and(ordinary);
    return { result: b.float('sqrt'), sure: sure.and(compareFloats('ge', b, zero(bits))) };
  }
  if (operation === 'addsub') throw new RangeError('addsub is packed only');
  const result = x.let(a.float(operation, b));
  if (operation === 'add' || operation === 'sub') {
    // A denormal sum is exact, but FTZ would make it zero.
    const sure = x.let(ordinary.and(isFinite(bits, result)));
    const flushing = defaultModeOrFlushing(x).and(notDenormal(result));
    return { result, sure: defaultMode(x).and(sure), alsoSure: flushing.and(sure) };
  }
  const operands = x.let(defaultModeOrFlushing(x).and(ordinary));
  // A zero that comes from a zero.
  let zeroOperand = compareFloats('eq', a, zero(bits));
  if (operation === 'mul') zeroOperand = zeroOperand.or(compareFloats('eq', b, zero(bits)));
  const exactZero = compareFloats('eq', result, zero(bits)).and(zeroOperand);
  return { result, sure: operands.and(isNormal(bits, result)), alsoSure: operands.and(exactZero) };
}

function scalar(bits: Precision, operation: Operation): Semantics {
  return (x) => {
    const b = x.readFloat(1, floatType(bits));
    const a = operation === 'sqrt' ? b : x.readFloat(0, floatType(bits));
    const { result, sure, alsoSure } = attempt(x, bits, operation, a, b);
    const exact = (): void => {
      x.f.store(bits, scratch(x), a);
      x.f.store(bits, scratch(x, 16), b);
      x.microOrFault(`sseF${bits}Packed`, i32(CODE[operation]), scratch(x), scratch(x), scratch(x, 16), i32(1));
    };
    const value = quickOr(x, sure, result, () => {
      if (alsoSure === undefined) exact();
      else x.f.if(alsoSure, () => x.f.store(bits, scratch(x), result), exact);
    });
    x.writeFloat(0, value);
  };
}

// ---- vectors ----

interface Doubts {
  /** The mode that must hold, if one must. */
  readonly mode?: Expr<'i32'>;
  /** Lanes in which the result may differ from what SSE gives, or flags may come up. */
  readonly lanes: Vector;
}

function or(left: Vector, right: Vector): Vector {
  return vector('v128.or', left, right);
}

/** `operands`: lanes with a denormal operand. */
function doubts(
  x: X86,
  bits: Precision,
  operation: Operation,
  a: Vector,
  b: Vector,
  operands: Vector,
  result: Vector,
): Doubts {
  if (operation === 'sqrt') {
    const notPositive = vector('v128.not', floatOp(bits, 'ge', b, splat(bits, 0)));
    return { mode: defaultModeOrFlushing(x), lanes: or(operands, notPositive) };
  }
  switch (operation) {
    case 'min':
    case 'max':
      return { lanes: or(operands, or(nanLanes(bits, a), nanLanes(bits, b))) };
    case 'mul':
    case 'div':
      return { mode: defaultModeOrFlushing(x), lanes: or(operands, notNormalLanes(bits, result)) };
    default:
      return { mode: defaultMode(x), lanes: or(operands, notFiniteLanes(bits, result)) };
  }
}

/** What is left of them when one looks closer: zeros that come from zeros, sums while FTZ or DAZ is set. */
function lesserDoubts(
  x: X86,
  bits: Precision,
  operation: Operation,
  a: Vector,
  b: Vector,
  operands: Vector,
  result: Vector,
): Doubts {
  const mode = defaultModeOrFlushing(x);
  if (operation === 'mul' || operation === 'div') {
    const zeros = operation === 'div' ? zeroLanes(bits, a) : or(zeroLanes(bits, a), zeroLanes(bits, b));
    const exactZero = vector('v128.and', zeroLanes(bits, result), zeros);
    return { mode, lanes: or(operands, vector('v128.andnot', notNormalLanes(bits, result), exactZero)) };
  }
  return { mode, lanes: or(operands, or(notFiniteLanes(bits, result), denormalLanes(bits, result))) };
}

function none(doubt: Doubts): Expr<'i32'> {
  const clear = anyTrue(doubt.lanes).eqz();
  return doubt.mode === undefined ? clear : doubt.mode.and(clear);
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

/** Register operand 0 becomes `a` op `b` in all lanes. */
function packedInto(x: X86, bits: Precision, operation: Operation, a: Vector, b: Vector): void {
  const quick = x.let(compute(bits, operation, a, b));
  const exact = (): void => {
    putScratch(x, 0, a);
    putScratch(x, 16, b);
    const count = i32(128 / bits);
    x.microOrFault(`sseF${bits}Packed`, i32(CODE[operation]), scratch(x), scratch(x), scratch(x, 16), count);
  };
  const single = operation === 'min' || operation === 'max' || operation === 'sqrt';
  const denormal = denormalLanes(bits, b);
  const operands = x.let(operation === 'sqrt' ? denormal : or(denormalLanes(bits, a), denormal));
  const result = quickOr(x, none(doubts(x, bits, operation, a, b, operands, quick)), quick, () => {
    if (single) exact();
    else x.f.if(none(lesserDoubts(x, bits, operation, a, b, operands, quick)), () => putScratch(x, 0, quick), exact);
  });
  put(x, 0, result);
}

function packed(bits: Precision, operation: Operation): Semantics {
  return (x) => {
    const b = source(x, 1);
    packedInto(x, bits, operation, operation === 'sqrt' ? b : source(x, 0), b);
  };
}

/** Neighbouring lanes of the destination below, of the source above. */
function horizontal(bits: Precision, operation: 'add' | 'sub'): Semantics {
  const even = Array.from({ length: 128 / bits }, (_, i) => 2 * i);
  const odd = even.map((lane) => lane + 1);
  return (x) => {
    const b = source(x, 1);
    const a = source(x, 0);
    packedInto(x, bits, operation, x.let(pick(bits, a, b, even)), x.let(pick(bits, a, b, odd)));
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
