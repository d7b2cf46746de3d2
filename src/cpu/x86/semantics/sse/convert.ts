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
import { intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { byteImmediate, put, putScratch, quickOr, scratch, source } from './operands.ts';
import {
  compareFloats,
  defaultMode,
  defaultModeOrFlushing,
  denormalLanes,
  type Float,
  floatOp,
  floatType,
  isNormal,
  isNumber,
  nanLanes,
  notDenormal,
  type Precision,
  zero,
} from './ordinary.ts';
import { anyTrue, choose, pick, splat, type Vector, vector } from './simd.ts';

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
    const value = x.read(1);
    const type = floatType(bits);
    const quick = op<FloatType>(type, FROM_INTEGER[`${type}${value.type}`], value);
    const width = value.type === 'i64' ? 64 : 32;
    const result =
      bits > width
        ? quick
        : quickOr(x, defaultModeOrFlushing(x), quick, () => {
            x.f.store(width, scratch(x), value);
            x.microOrFault(`sseCvtI${width}ToF${bits}`, scratch(x), scratch(x), i32(1));
          });
    x.writeFloat(0, result);
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
    const sure = defaultModeOrFlushing(x).and(compareFloats('lt', number.float('abs'), limit));
    const result = quickOr(x, sure, op<IntType>(type, TRUNCATE[`${type}${number.type}`], number), () => {
      x.f.store(bits, scratch(x), value);
      x.microOrFault(`sseCvtF${bits}ToI${width}`, scratch(x), scratch(x), i32(1), i32(truncate ? 1 : 0));
    });
    x.write(0, result);
  };
}

const singleToDouble: Semantics = (x) => {
  const value = x.readFloat(1, 'f32');
  const sure = isNumber(value).and(notDenormal(value));
  const result = quickOr(x, sure, op('f64', PROMOTE, value), () => {
    x.f.store(32, scratch(x), value);
    x.microOrFault('sseCvtF32ToF64', scratch(x), scratch(x), i32(1));
  });
  x.writeFloat(0, result);
};

const doubleToSingle: Semantics = (x) => {
  const value = x.readFloat(1, 'f64');
  const quick = x.let(op('f32', DEMOTE, value));
  const fits = isNormal(32, quick).or(compareFloats('eq', value, zero(64)));
  const result = quickOr(x, defaultModeOrFlushing(x).and(fits), quick, () => {
    x.f.store(64, scratch(x), value);
    x.microOrFault('sseCvtF64ToF32', scratch(x), scratch(x), i32(1));
  });
  x.writeFloat(0, result);
};

// ---- vectors ----

/** Calls `name(to, from, count, ...)` of the microcode with `a`, within the work space. */
function exactly(x: X86, name: string, a: Vector, count: number, ...more: Expr[]): void {
  putScratch(x, 0, a);
  x.microOrFault(name, scratch(x), scratch(x), i32(count), ...more);
}

const doublewordsToSingles: Semantics = (x) => {
  const a = source(x, 1);
  const quick = vector('f32x4.convert_i32x4_s', a);
  put(
    x,
    0,
    quickOr(x, defaultModeOrFlushing(x), quick, () => exactly(x, 'sseCvtI32ToF32', a, 4)),
  );
};

const doublewordsToDoubles: Semantics = (x) => put(x, 0, vector('f64x2.convert_low_i32x4_s', source(x, 1)));

const singlesToDoubles: Semantics = (x) => {
  const whole = source(x, 1);
  const a = x.let(pick(32, whole, whole, [0, 1, 0, 1]));
  const sure = anyTrue(vector('v128.or', denormalLanes(32, a), nanLanes(32, a))).eqz();
  const quick = vector('f64x2.promote_low_f32x4', a);
  put(
    x,
    0,
    quickOr(x, sure, quick, () => exactly(x, 'sseCvtF32ToF64', a, 2)),
  );
};

/** Are all lanes of the magnitude of `a` below `limit`? NaN is not. */
function allBelow(bits: Precision, a: Vector, limit: number): Expr<'i32'> {
  const magnitude = vector('v128.and', a, splat(bits, (1n << BigInt(bits - 1)) - 1n));
  return anyTrue(vector('v128.not', floatOp(bits, 'lt', magnitude, floatLanes(bits, limit)))).eqz();
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

/** Two results in the work space become a vector. */
function clearScratchAbove(x: X86): void {
  x.f.store(64, scratch(x, 8), int('i64', 0));
}

const doublesToSingles: Semantics = (x) => {
  const a = source(x, 1);
  const magnitude = vector('v128.and', a, splat(64, 0x7fffffffffffffffn));
  const small = floatOp(64, 'le', magnitude, floatLanes(64, SINGLE_LEAST));
  const tiny = vector('v128.andnot', small, floatOp(64, 'eq', a, splat(64, 0)));
  const sure = defaultModeOrFlushing(x)
    .and(allBelow(64, a, SINGLE_OVERFLOW))
    .and(anyTrue(tiny).eqz());
  const result = quickOr(x, sure, vector('f32x4.demote_f64x2_zero', a), () => {
    exactly(x, 'sseCvtF64ToF32', a, 2);
    clearScratchAbove(x);
  });
  put(x, 0, result);
};

/** CVTPS2DQ, CVTTPD2DQ and their kin. */
function toDoublewords(bits: Precision, truncate: boolean): Semantics {
  return (x) => {
    const a = source(x, 1);
    const rounded = truncate ? a : x.let(floatOp(bits, 'nearest', a));
    const sure = defaultModeOrFlushing(x).and(allBelow(bits, rounded, 2 ** 31));
    const quick = vector(bits === 64 ? 'i32x4.trunc_sat_f64x2_s_zero' : 'i32x4.trunc_sat_f32x4_s', rounded);
    const result = quickOr(x, sure, quick, () => {
      exactly(x, `sseCvtF${bits}ToI32`, a, 128 / bits, i32(truncate ? 1 : 0));
      if (bits === 64) clearScratchAbove(x);
    });
    put(x, 0, result);
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
    const value = x.readFloat(1, floatType(bits));
    const immediate = byteImmediate(x, 2);
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
    x.writeFloat(0, result);
  };
}

function roundPacked(bits: Precision): Semantics {
  return (x) => {
    const a = source(x, 1);
    const immediate = byteImmediate(x, 2);
    const quick = rounded(immediate, (how) => floatOp(bits, how, a), choose);
    const sure = defaultMode(x).and(anyTrue(nanLanes(bits, a)).eqz());
    const result = quickOr(x, sure, quick, () => {
      putScratch(x, 0, a);
      const mode = typeof immediate === 'number' ? i32(immediate) : immediate;
      x.microOrFault(`sseF${bits}Round`, mode, scratch(x), scratch(x), i32(128 / bits));
    });
    put(x, 0, result);
  };
}

// prettier-ignore
export const convert: SemanticsTable = {
  CVTSI2SS: fromInteger(32), CVTSI2SD: fromInteger(64),
  CVTSS2SI: toInteger(32, false), CVTSD2SI: toInteger(64, false), CVTTSS2SI: toInteger(32, true), CVTTSD2SI: toInteger(64, true),
  CVTSS2SD: singleToDouble, CVTSD2SS: doubleToSingle, CVTPS2PD: singlesToDoubles, CVTPD2PS: doublesToSingles,
  CVTDQ2PS: doublewordsToSingles, CVTDQ2PD: doublewordsToDoubles,
  CVTPS2DQ: toDoublewords(32, false), CVTPD2DQ: toDoublewords(64, false), CVTTPS2DQ: toDoublewords(32, true), CVTTPD2DQ: toDoublewords(64, true),
  ROUNDSS: roundScalar(32), ROUNDSD: roundScalar(64), ROUNDPS: roundPacked(32), ROUNDPD: roundPacked(64),
};
