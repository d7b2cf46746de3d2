/** Conversions between floats and integers and between precisions, and rounding to integral values. SDM volume 2. */
import {
  type Expr,
  f32Bits,
  f64,
  type FloatType,
  i32,
  int,
  type IntType,
  load,
  MISC,
  op,
  select,
} from '../../../../wasm/expr.ts';
import { intType, type Semantics, type SemanticsTable } from '../context.ts';
import { byteImmediate, put, putScratch, scratch, source } from './operands.ts';
import {
  compareFloats,
  defaultMode,
  denormalLanes,
  type Float,
  floatOp,
  isNormal,
  isNumber,
  nanLanes,
  notDenormal,
  type Precision,
  toBits,
  toFloat,
  zero,
} from './ordinary.ts';
import { anyTrue, choose, pick, splat, type Vector, vector } from './simd.ts';

/** Operation of WebAssembly that converts a signed integer to a float. */
const FROM_INTEGER = { f32i32: 0xb2, f32i64: 0xb4, f64i32: 0xb7, f64i64: 0xb9 } as const;
/** Truncation to a signed integer that cannot trap. */
const TRUNCATE = { i32f32: MISC + 0, i32f64: MISC + 2, i64f32: MISC + 4, i64f64: MISC + 6 } as const;
const DEMOTE = 0xb6;
const PROMOTE = 0xbb;

function floatType(bits: Precision): FloatType {
  return bits === 64 ? 'f64' : 'f32';
}
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
    const result = op<FloatType>(type, FROM_INTEGER[`${type}${value.type}`], value);
    const destination = x.registerAddress(0);
    if (bits === 64 && value.type === 'i32') {
      x.f.store(64, destination, result);
      return;
    }
    const width = value.type === 'i64' ? 64 : 32;
    x.f.if(
      defaultMode(x),
      () => x.f.store(bits, destination, result),
      () => {
        x.f.store(width, scratch(x), value);
        x.microOrFault(`sseCvtI${width}ToF${bits}`, destination, scratch(x), i32(1));
      },
    );
  };
}

/** CVTSS2SI, CVTTSD2SI and their kin. */
function toInteger(bits: Precision, truncate: boolean): Semantics {
  return (x) => {
    const value = x.read(1);
    const width = x.width(0) === 64 ? 64 : 32;
    const type = intType(width);
    const number = x.let(truncate ? toFloat(value) : toFloat(value).float('nearest'));
    const result = x.f.temporary<IntType>(type);
    const limit = floatConstant(bits, 2 ** (width - 1));
    x.f.if(
      defaultMode(x).and(compareFloats('lt', number.float('abs'), limit)),
      () => x.f.set(result, op<IntType>(type, TRUNCATE[`${type}${number.type}`], number)),
      () => {
        x.f.store(bits, scratch(x), value);
        x.microOrFault(`sseCvtF${bits}ToI${width}`, scratch(x), scratch(x), i32(1), i32(truncate ? 1 : 0));
        x.f.set(result, load<IntType>(type, width, scratch(x)));
      },
    );
    x.write(0, result.get);
  };
}

const singleToDouble: Semantics = (x) => {
  const value = x.read(1);
  const destination = x.registerAddress(0);
  const number = toFloat(value);
  x.f.if(
    isNumber(number).and(notDenormal(value)),
    () => x.f.store(64, destination, op('f64', PROMOTE, number)),
    () => {
      x.f.store(32, scratch(x), value);
      x.microOrFault('sseCvtF32ToF64', destination, scratch(x), i32(1));
    },
  );
};

const doubleToSingle: Semantics = (x) => {
  const value = x.read(1);
  const destination = x.registerAddress(0);
  const result = x.let(op('f32', DEMOTE, toFloat(value)));
  const fits = isNormal(32, result).or(compareFloats('eq', toFloat(value), zero(64)));
  x.f.if(
    defaultMode(x).and(fits),
    () => x.f.store(32, destination, result),
    () => {
      x.f.store(64, scratch(x), value);
      x.microOrFault('sseCvtF64ToF32', destination, scratch(x), i32(1));
    },
  );
};

// ---- vectors ----

const doublewordsToSingles: Semantics = (x) => {
  const a = source(x, 1);
  const destination = x.registerAddress(0);
  x.f.if(
    defaultMode(x),
    () => x.f.store(128, destination, vector('f32x4.convert_i32x4_s', a)),
    () => {
      putScratch(x, 0, a);
      x.microOrFault('sseCvtI32ToF32', destination, scratch(x), i32(4));
    },
  );
};

const doublewordsToDoubles: Semantics = (x) => put(x, 0, vector('f64x2.convert_low_i32x4_s', source(x, 1)));

const singlesToDoubles: Semantics = (x) => {
  const whole = source(x, 1);
  const a = x.let(pick(32, whole, whole, [0, 1, 0, 1]));
  const destination = x.registerAddress(0);
  x.f.if(
    anyTrue(vector('v128.or', denormalLanes(32, a), nanLanes(32, a))).eqz(),
    () => x.f.store(128, destination, vector('f64x2.promote_low_f32x4', a)),
    () => {
      putScratch(x, 0, a);
      x.microOrFault('sseCvtF32ToF64', destination, scratch(x), i32(2));
    },
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

const doublesToSingles: Semantics = (x) => {
  const a = source(x, 1);
  const destination = x.registerAddress(0);
  const magnitude = vector('v128.and', a, splat(64, 0x7fffffffffffffffn));
  const tiny = vector(
    'v128.andnot',
    floatOp(64, 'le', magnitude, floatLanes(64, SINGLE_LEAST)),
    floatOp(64, 'eq', a, splat(64, 0)),
  );
  x.f.if(
    defaultMode(x)
      .and(allBelow(64, a, SINGLE_OVERFLOW))
      .and(anyTrue(tiny).eqz()),
    () => x.f.store(128, destination, vector('f32x4.demote_f64x2_zero', a)),
    () => {
      putScratch(x, 0, a);
      x.microOrFault('sseCvtF64ToF32', destination, scratch(x), i32(2));
      x.f.store(64, destination, int('i64', 0), 8);
    },
  );
};

/** CVTPS2DQ, CVTTPD2DQ and their kin. */
function toDoublewords(bits: Precision, truncate: boolean): Semantics {
  return (x) => {
    const a = source(x, 1);
    const rounded = truncate ? a : x.let(floatOp(bits, 'nearest', a));
    const destination = x.registerAddress(0);
    x.f.if(
      defaultMode(x).and(allBelow(bits, rounded, 2 ** 31)),
      () =>
        x.f.store(
          128,
          destination,
          vector(bits === 64 ? 'i32x4.trunc_sat_f64x2_s_zero' : 'i32x4.trunc_sat_f32x4_s', rounded),
        ),
      () => {
        putScratch(x, 0, a);
        x.microOrFault(`sseCvtF${bits}ToI32`, destination, scratch(x), i32(128 / bits), i32(truncate ? 1 : 0));
        if (bits === 64) x.f.store(64, destination, int('i64', 0), 8);
      },
    );
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
    const value = x.read(1);
    const number = toFloat(value);
    const immediate = byteImmediate(x, 2);
    const destination = x.registerAddress(0);
    x.f.if(
      defaultMode(x).and(isNumber(number)),
      () => x.f.store(bits, destination, toBits(rounded(immediate, (how) => number.float(how), (c, a, b) => select(c, a, b)))), // prettier-ignore
      () => {
        x.f.store(bits, scratch(x), value);
        const mode = typeof immediate === 'number' ? i32(immediate) : immediate;
        x.microOrFault(`sseF${bits}Round`, mode, destination, scratch(x), i32(1));
      },
    );
  };
}

function roundPacked(bits: Precision): Semantics {
  return (x) => {
    const a = source(x, 1);
    const immediate = byteImmediate(x, 2);
    const destination = x.registerAddress(0);
    x.f.if(
      defaultMode(x).and(anyTrue(nanLanes(bits, a)).eqz()),
      () =>
        x.f.store(
          128,
          destination,
          rounded(immediate, (how) => floatOp(bits, how, a), choose),
        ),
      () => {
        putScratch(x, 0, a);
        const mode = typeof immediate === 'number' ? i32(immediate) : immediate;
        x.microOrFault(`sseF${bits}Round`, mode, destination, scratch(x), i32(128 / bits));
      },
    );
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
