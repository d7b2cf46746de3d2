/** Conversions between floats and integers and between precisions, and rounding to integral values. SDM volume 2. */
import {
  type Expr,
  f32Bits,
  f64,
  type FloatType,
  i32,
  int,
  type IntType,
  MISC,
  op,
  select,
} from '../../../../wasm/expr.ts';
import type { Local } from '../../../../wasm/function-builder.ts';
import { intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { putWork, takeWork, together, work } from './exact.ts';
import {
  both,
  eachHalf,
  type Halves,
  halves,
  lastImmediate,
  place,
  put,
  putHalves,
  putScalar,
  quickOr,
  scratch,
  source,
} from './operands.ts';
import {
  allLanes,
  compareFloats,
  defaultMode,
  type Float,
  floatOp,
  floatType,
  isNormal,
  isNumber,
  isPlain,
  notDenormal,
  notDenormalIn,
  numberLanes,
  type Precision,
  unless,
  variable,
  zero,
} from './ordinary.ts';
import { choose, pick, splat, type Vector, vector } from './simd.ts';

/** Operation of WebAssembly that converts a signed integer to a float. */
const FROM_INTEGER = { f32i32: 0xb2, f32i64: 0xb4, f64i32: 0xb7, f64i64: 0xb9 } as const;
/** Truncation to a signed integer that cannot trap. */
const TRUNCATE = { i32f32: MISC + 0, i32f64: MISC + 2, i64f32: MISC + 4, i64f64: MISC + 6 } as const;
const DEMOTE = 0xb6;
const PROMOTE = 0xbb;

function floatConstant(bits: Precision, value: number): Float {
  if (bits === 64) return f64(value);
  return f32Bits(new DataView(new Float32Array([value]).buffer).getInt32(0, true));
}

// ---- scalars ----

/** CVTSI2SS, CVTSI2SD. From 32 bits to a double everything is exact. */
function fromInteger(bits: Precision): Semantics {
  return (x) => {
    const value = x.read(place(x, 1));
    const type = floatType(bits);
    const quick = op<FloatType>(type, FROM_INTEGER[`${type}${value.type}`], value);
    const width = value.type === 'i64' ? 64 : 32;
    const result =
      bits > width
        ? quick
        : quickOr(x, isPlain(x, bits), quick, () => {
            x.f.store(width, scratch(x), value);
            x.microOrFault(`sseCvtI${width}ToF${bits}`, scratch(x), scratch(x), i32(1));
            x.refreshFloatBounds();
          });
    putScalar(x, result);
  };
}

/** CVTSS2SI, CVTTSD2SI and their kin. */
function toInteger(bits: Precision, truncate: boolean): Semantics {
  return (x) => {
    const value = x.readFloat(1, floatType(bits));
    const width = x.width(0) === 64 ? 64 : 32;
    const type = intType(width);
    const number = truncate ? value : x.let(value.float('nearest'));
    const limit = floatConstant(bits, 2 ** (width - 1));
    const sure = isPlain(x, bits).and(compareFloats('lt', number.float('abs'), limit));
    const result = quickOr(x, sure, op<IntType>(type, TRUNCATE[`${type}${number.type}`], number), () => {
      x.f.store(bits, scratch(x), value);
      x.microOrFault(`sseCvtF${bits}ToI${width}`, scratch(x), scratch(x), i32(1), i32(truncate ? 1 : 0));
      x.refreshFloatBounds();
    });
    x.write(0, result);
  };
}

const singleToDouble: Semantics = (x) => {
  const value = x.readFloat(place(x, 1), 'f32');
  const sure = isNumber(value).and(notDenormal(value));
  const result = quickOr(x, sure, op('f64', PROMOTE, value), () => {
    x.f.store(32, scratch(x), value);
    x.microOrFault('sseCvtF32ToF64', scratch(x), scratch(x), i32(1));
  });
  putScalar(x, result);
};

const doubleToSingle: Semantics = (x) => {
  const value = x.readFloat(place(x, 1), 'f64');
  const quick = x.let(op('f32', DEMOTE, value));
  const fits = isNormal(32, quick).or(compareFloats('eq', value, zero(64)));
  const result = quickOr(x, isPlain(x, 32).and(fits), quick, () => {
    x.f.store(64, scratch(x), value);
    x.microOrFault('sseCvtF64ToF32', scratch(x), scratch(x), i32(1));
    x.refreshFloatBounds();
  });
  putScalar(x, result);
};

// ---- vectors: `results` holds what plain arithmetic gives ----

/** Unless `sure` holds, `name(to, from, count, ...)` of the microcode makes the results of all lanes of `from`. */
function exactlyUnless(
  x: X86,
  sure: Expr<'i32'>,
  results: readonly Local<'v128'>[],
  from: Halves,
  name: string,
  count: number,
  ...more: Expr[]
): void {
  unless(x, [], [], sure, [], () => {
    putWork(x, [from]);
    x.microOrFault(name, work(x, 0), work(x, 0), i32(count), ...more);
    x.refreshFloatBounds();
    takeWork(x, results);
  });
  putHalves(x, together(results));
}

function variables(x: X86, from: Halves, compute: (value: Vector) => Vector): Local<'v128'>[] {
  return from.map((value) => variable(x, compute(value)));
}

function inAll(masks: readonly Vector[]): Vector {
  return masks.reduce((all, mask) => vector('v128.and', all, mask));
}

const doublewordsToSingles: Semantics = (x) => {
  const a = halves(x, 1);
  const quick = variables(x, a, (value) => vector('f32x4.convert_i32x4_s', value));
  exactlyUnless(x, isPlain(x, 32), quick, a, 'sseCvtI32ToF32', 4 * a.length);
};

/** The upper two of four lanes of 32 bits, in the lower places. */
function upper(value: Vector): Vector {
  return pick(64, value, value, [1, 1]);
}

/** The lower two lanes of operand 1, or all four, each made twice as wide. */
function widened(x: X86, widen: (value: Vector) => Vector): { from: Vector; quick: Local<'v128'>[]; count: number } {
  const from = source(x, 1);
  const quick = [variable(x, widen(from))];
  if (x.width(0) === 256) quick.push(variable(x, widen(upper(from))));
  return { from, quick, count: 2 * quick.length };
}

const doublewordsToDoubles: Semantics = (x) => {
  const { quick } = widened(x, (value) => vector('f64x2.convert_low_i32x4_s', value));
  putHalves(x, together(quick));
};

const singlesToDoubles: Semantics = (x) => {
  const { from, quick, count } = widened(x, (value) => vector('f64x2.promote_low_f32x4', value));
  const looked = count === 2 ? x.let(pick(32, from, from, [0, 1, 0, 1])) : from;
  const sure = allLanes(vector('v128.and', notDenormalIn(x, 32, looked), numberLanes(32, looked)));
  exactlyUnless(x, sure, quick, [from], 'sseCvtF32ToF64', count);
};

/** Lanes whose magnitude is below `limit`. */
function below(bits: Precision, a: Vector, limit: number): Vector {
  const magnitude = vector('v128.and', a, splat(bits, (1n << BigInt(bits - 1)) - 1n));
  return floatOp(bits, 'lt', magnitude, floatLanes(bits, limit));
}
function floatLanes(bits: Precision, value: number): Vector {
  const view = new DataView(new ArrayBuffer(8));
  if (bits === 64) view.setFloat64(0, value);
  else view.setFloat32(0, value);
  return splat(bits, bits === 64 ? view.getBigUint64(0) : view.getUint32(0));
}

/** Doubles of this magnitude round to infinity as singles. */
const SINGLE_OVERFLOW = 2 ** 128 - 2 ** 103;
const SINGLE_LEAST = 2 ** -126;

/** Two results of each half of operand 1 side by side in one vector, zeros above. `narrow` clears its upper lanes. */
function narrowed(
  x: X86,
  from: Halves,
  sureLanes: readonly Vector[],
  narrow: (value: Vector) => Vector,
  name: string,
  ...more: Expr[]
): void {
  const [low, high] = from;
  const quick = high === undefined ? narrow(low) : pick(64, narrow(low), narrow(high), [0, 2]);
  const result = variable(x, quick);
  const sure = isPlain(x, 64).and(allLanes(inAll(sureLanes)));
  unless(x, [], [], sure, [], () => {
    putWork(x, [from]);
    x.microOrFault(name, work(x, 0), work(x, 0), i32(2 * from.length), ...more);
    x.refreshFloatBounds();
    if (high === undefined) x.f.store(64, work(x, 0), int('i64', 0), 8);
    takeWork(x, [result]);
  });
  put(x, 0, result.get);
}

const doublesToSingles: Semantics = (x) => {
  const a = halves(x, 1);
  const sureLanes = a.flatMap((value) => {
    const magnitude = vector('v128.and', value, splat(64, 0x7fffffffffffffffn));
    const small = floatOp(64, 'le', magnitude, floatLanes(64, SINGLE_LEAST));
    const large = vector('v128.or', vector('v128.not', small), floatOp(64, 'eq', value, splat(64, 0)));
    return [below(64, value, SINGLE_OVERFLOW), large];
  });
  narrowed(x, a, sureLanes, (value) => vector('f32x4.demote_f64x2_zero', value), 'sseCvtF64ToF32');
};

/** CVTPS2DQ, CVTTPD2DQ and their kin. */
function toDoublewords(bits: Precision, truncate: boolean): Semantics {
  return (x) => {
    const a = halves(x, 1);
    const values = truncate ? a : eachHalf(x, a, (value) => floatOp(bits, 'nearest', value));
    const sureLanes = values.map((value) => below(bits, value, 2 ** 31));
    const name = `sseCvtF${bits}ToI32`;
    const how = i32(truncate ? 1 : 0);
    if (bits === 64) {
      const rounding = (value: Vector): Vector => (truncate ? value : floatOp(bits, 'nearest', value));
      const narrow = (value: Vector): Vector => vector('i32x4.trunc_sat_f64x2_s_zero', rounding(value));
      narrowed(x, a, sureLanes, narrow, name, how);
      return;
    }
    const quick = variables(x, values, (value) => vector('i32x4.trunc_sat_f32x4_s', value));
    exactlyUnless(x, isPlain(x, 32).and(allLanes(inAll(sureLanes))), quick, a, name, 4 * a.length, how);
  };
}

// ---- rounding to integral values ----

/** WebAssembly's operations in the order of the rounding control field. */
const ROUNDINGS = ['nearest', 'floor', 'ceil', 'trunc'] as const;

/** `value` rounded as bits 0..2 of the immediate say, while MXCSR.RC is round to nearest. */
function rounded<T>(
  immediate: number | Expr<'i32'>,
  round: (how: (typeof ROUNDINGS)[number]) => T,
  choice: (condition: Expr<'i32'>, a: T, b: T) => T,
): T {
  if (typeof immediate === 'number')
    return round((immediate & 4) === 0 ? (ROUNDINGS[immediate & 3] ?? 'nearest') : 'nearest');
  const nearest = immediate.and(i32(7));
  const directed = choice(
    nearest.eq(i32(1)),
    round('floor'),
    choice(nearest.eq(i32(2)), round('ceil'), round('trunc')),
  );
  return choice(immediate.and(i32(4)).or(nearest.eqz()), round('nearest'), directed);
}

function roundScalar(bits: Precision): Semantics {
  return (x) => {
    const value = x.readFloat(place(x, 1), floatType(bits));
    const immediate = lastImmediate(x);
    const quick = rounded(
      immediate,
      (how) => value.float(how),
      (condition, a, b) => select(condition, a, b),
    );
    const result = quickOr(x, defaultMode(x).and(isNumber(value)), quick, () => {
      x.f.store(bits, scratch(x), value);
      const mode = typeof immediate === 'number' ? i32(immediate) : immediate;
      x.microOrFault(`sseF${bits}Round`, mode, scratch(x), scratch(x), i32(1));
    });
    putScalar(x, result);
  };
}

function roundPacked(bits: Precision): Semantics {
  return (x) => {
    const a = halves(x, 1);
    const immediate = lastImmediate(x);
    const quick = variables(x, a, (value) => rounded(immediate, (how) => floatOp(bits, how, value), choose));
    const sure = defaultMode(x).and(allLanes(inAll(a.map((value) => numberLanes(bits, value)))));
    const mode = typeof immediate === 'number' ? i32(immediate) : immediate;
    unless(x, [], [], sure, [], () => {
      putWork(x, [a]);
      x.microOrFault(`sseF${bits}Round`, mode, work(x, 0), work(x, 0), i32((128 / bits) * a.length));
      x.refreshFloatBounds();
      takeWork(x, quick);
    });
    putHalves(x, together(quick));
  };
}

// prettier-ignore
export const convert: SemanticsTable = both({
  CVTSI2SS: fromInteger(32), CVTSI2SD: fromInteger(64),
  CVTSS2SI: toInteger(32, false), CVTSD2SI: toInteger(64, false), CVTTSS2SI: toInteger(32, true), CVTTSD2SI: toInteger(64, true),
  CVTSS2SD: singleToDouble, CVTSD2SS: doubleToSingle, CVTPS2PD: singlesToDoubles, CVTPD2PS: doublesToSingles,
  CVTDQ2PS: doublewordsToSingles, CVTDQ2PD: doublewordsToDoubles,
  CVTPS2DQ: toDoublewords(32, false), CVTPD2DQ: toDoublewords(64, false), CVTTPS2DQ: toDoublewords(32, true), CVTTPD2DQ: toDoublewords(64, true),
  ROUNDSS: roundScalar(32), ROUNDSD: roundScalar(64), ROUNDPS: roundPacked(32), ROUNDPD: roundPacked(64),
});
