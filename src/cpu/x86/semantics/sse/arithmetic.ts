/** ADD SUB MUL DIV SQRT MIN MAX of both precisions, packed and scalar; horizontal and alternating forms. SDM volume 2. */
import { type Expr, i32, select } from '../../../../wasm/expr.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { put, putScratch, quickOr, scratch, source } from './operands.ts';
import {
  bothNumbers,
  compareFloats,
  defaultMode,
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
  /** The same for a zero that comes from a zero, looked at when `sure` does not hold. */
  readonly exactZero?: Expr<'i32'>;
}

function attempt(x: X86, bits: Precision, operation: Operation, a: Float, b: Float): Attempt {
  const ordinary = notDenormal(a).and(notDenormal(b));
  if (operation === 'min' || operation === 'max') {
    const first = compareFloats(operation === 'min' ? 'lt' : 'gt', a, b);
    return { result: select(first, a, b), sure: bothNumbers(a, b).and(ordinary) };
  }
  if (operation === 'sqrt') {
    const sure = defaultMode(x).and(notDenormal(b));
    return { result: b.float('sqrt'), sure: sure.and(compareFloats('ge', b, zero(bits))) };
  }
  if (operation === 'addsub') throw new RangeError('addsub is packed only');
  const result = x.let(a.float(operation, b));
  const operands = defaultMode(x).and(ordinary);
  if (operation === 'add' || operation === 'sub') return { result, sure: operands.and(isFinite(bits, result)) };
  let zeroOperand = compareFloats('eq', a, zero(bits));
  if (operation === 'mul') zeroOperand = zeroOperand.or(compareFloats('eq', b, zero(bits)));
  const exactZero = compareFloats('eq', result, zero(bits)).and(zeroOperand).and(operands);
  return { result, sure: operands.and(isNormal(bits, result)), exactZero };
}

function scalar(bits: Precision, operation: Operation): Semantics {
  return (x) => {
    const b = x.readFloat(1, floatType(bits));
    const a = operation === 'sqrt' ? b : x.readFloat(0, floatType(bits));
    const { result, sure, exactZero } = attempt(x, bits, operation, a, b);
    const exact = (): void => {
      x.f.store(bits, scratch(x), a);
      x.f.store(bits, scratch(x, 16), b);
      x.microOrFault(`sseF${bits}Packed`, i32(CODE[operation]), scratch(x), scratch(x), scratch(x, 16), i32(1));
    };
    const value = quickOr(x, sure, result, () => {
      if (exactZero === undefined) exact();
      else x.f.if(exactZero, () => x.f.store(bits, scratch(x), result), exact);
    });
    x.writeFloat(0, value);
  };
}

// ---- vectors ----

/** Lanes in which `result` may differ from what SSE gives, or flags may come up. */
function doubtfulLanes(bits: Precision, operation: Operation, a: Vector, b: Vector, result: Vector): Vector {
  if (operation === 'sqrt') {
    return or(denormalLanes(bits, b), vector('v128.not', floatOp(bits, 'ge', b, splat(bits, 0))));
  }
  const operands = or(denormalLanes(bits, a), denormalLanes(bits, b));
  switch (operation) {
    case 'min':
    case 'max':
      return or(operands, or(nanLanes(bits, a), nanLanes(bits, b)));
    case 'mul':
    case 'div':
      return or(operands, notNormalLanes(bits, result));
    default:
      return or(operands, notFiniteLanes(bits, result));
  }
}

/** The same for a product or quotient, not counting zeros that come from a zero. */
function doubtfulBesidesZeros(bits: Precision, operation: 'mul' | 'div', a: Vector, b: Vector, result: Vector): Vector {
  const zeros = operation === 'div' ? zeroLanes(bits, a) : or(zeroLanes(bits, a), zeroLanes(bits, b));
  const exactZero = vector('v128.and', zeroLanes(bits, result), zeros);
  const operands = or(denormalLanes(bits, a), denormalLanes(bits, b));
  return or(operands, vector('v128.andnot', notNormalLanes(bits, result), exactZero));
}

function or(left: Vector, right: Vector): Vector {
  return vector('v128.or', left, right);
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
  const modeMatters = operation !== 'min' && operation !== 'max';
  const none = (doubtful: Vector): Expr<'i32'> => {
    const clear = anyTrue(doubtful).eqz();
    return modeMatters ? defaultMode(x).and(clear) : clear;
  };
  const exact = (): void => {
    putScratch(x, 0, a);
    putScratch(x, 16, b);
    const count = i32(128 / bits);
    x.microOrFault(`sseF${bits}Packed`, i32(CODE[operation]), scratch(x), scratch(x), scratch(x, 16), count);
  };
  const result = quickOr(x, none(doubtfulLanes(bits, operation, a, b, quick)), quick, () => {
    if (operation !== 'mul' && operation !== 'div') exact();
    else x.f.if(none(doubtfulBesidesZeros(bits, operation, a, b, quick)), () => putScratch(x, 0, quick), exact);
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
