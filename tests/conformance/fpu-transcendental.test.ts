import { beforeAll, describe, expect, it } from 'vitest';
import { CPU_FPR, CPU_FTOP, FIRST_VCPU } from '../../src/cpu/layout.ts';
import {
  arcTangent, BITS, cosine, divide, exponential, type Extended, LN2, logarithm, multiply, ONE, PI, sine, toExtended, toFixed,
} from '../support/exact-functions.ts'; // prettier-ignore
import { compileMicrocode, type FpuMicrocode } from '../support/fpu.ts';

/** Pi as the hardware has it for reduction: 66 bits of it, here of its half. */
const HALF_PI = 0x3243f6a8885a308d3n << (BITS - 65n);
const CASES = 150;

let fpu: FpuMicrocode;
beforeAll(() => {
  fpu = compileMicrocode('src/cpu/microcode/fpu/index.ts');
}, 60_000);

let seed = 1;
function random(limit: number): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 4294967296) * limit);
}

/** A number with a random significand, exponent within `low`..`high`. */
function operand(low: number, high: number, signed = true): Extended {
  const sig =
    (1n << 63n) | (BigInt(random(0x80000000)) << 32n) | (BigInt(random(0x10000)) << 16n) | BigInt(random(0x10000));
  return { sig, se: (0x3fff + low + random(high - low + 1)) | (signed && random(2) ? 0x8000 : 0) };
}

/** ST(i) now. */
function st(i: number): Extended {
  const at = FIRST_VCPU + CPU_FPR + ((fpu.memory.getUint32(FIRST_VCPU + CPU_FTOP, true) + i) & 7) * 16;
  return { sig: fpu.memory.getBigUint64(at, true), se: fpu.memory.getUint16(at + 8, true) };
}

/** Runs one instruction with the operands loaded in order, the last in ST0. */
function run(name: string, args: readonly number[], ...operands: Extended[]): Extended {
  fpu.call('fpuInit');
  for (const { sig, se } of operands) fpu.call('fpuLoadF80', sig, se);
  fpu.call(name, ...args);
  return st(0);
}

/** Sine and cosine after the reduction that the hardware does. */
function reduced(x: bigint): { sin: bigint; cos: bigint } {
  const quarter = ((x < 0n ? -x : x) + HALF_PI / 2n) / HALF_PI;
  const rest = (x < 0n ? -x : x) - quarter * HALF_PI;
  const [s, c] = [sine(rest), cosine(rest)];
  const [sin, cos] = [
    [s, c],
    [c, -s],
    [-s, -c],
    [-c, s],
  ][Number(quarter % 4n)] as [bigint, bigint]; // INVARIANT: the remainder is 0..3
  return { sin: x < 0n ? -sin : sin, cos };
}

/** log2 of a positive number of any size, as fixed point. */
function log2(x: Extended): bigint {
  const exponent = x.se - 0x3fff;
  return BigInt(exponent) * ONE + divide(logarithm(x.sig << (BITS - 63n)), LN2);
}

describe('x87 transcendental instructions round correctly to nearest', () => {
  it.each([
    ['small arguments', -20, 1],
    ['large arguments', 2, 62],
  ])('FSIN, FCOS and FPTAN of %s', (_, low, high) => {
    for (let n = 0; n < CASES; n++) {
      const x = operand(low, high);
      const { sin, cos } = reduced(toFixed(x));
      expect(run('fpuSine', [0], x)).toEqual(toExtended(sin));
      expect(run('fpuSine', [1], x)).toEqual(toExtended(cos));
      run('fpuTangent', [], x);
      expect(st(0)).toEqual({ sig: 1n << 63n, se: 0x3fff });
      expect(st(1)).toEqual(toExtended(divide(sin, cos)));
    }
  });

  it('FSINCOS gives what FSIN and FCOS give', () => {
    const x = operand(-3, 3);
    const [sin, cos] = [run('fpuSine', [0], x), run('fpuSine', [1], x)];
    run('fpuSineCosine', [], x);
    expect([st(1), st(0)]).toEqual([sin, cos]);
  });

  it('FPATAN in all quadrants', () => {
    for (let n = 0; n < CASES; n++) {
      const [y, x] = [operand(-9, 9), operand(-9, 9)];
      const [fy, fx] = [toFixed({ ...y, se: y.se & 0x7fff }), toFixed({ ...x, se: x.se & 0x7fff })];
      let angle = fy <= fx ? arcTangent(divide(fy, fx)) : PI / 2n - arcTangent(divide(fx, fy));
      if (x.se & 0x8000) angle = PI - angle;
      expect(run('fpuArcTangent', [], y, x)).toEqual(toExtended(y.se & 0x8000 ? -angle : angle));
    }
  });

  it('F2XM1 within -1..1', () => {
    for (let n = 0; n < CASES; n++) {
      const x = operand(-25, -1);
      expect(run('fpu2xm1', [], x)).toEqual(toExtended(exponential(multiply(toFixed(x), LN2)) - ONE));
    }
    const one = { sig: 1n << 63n, se: 0x3fff };
    expect(run('fpu2xm1', [], one)).toEqual(one);
  });

  it('FYL2X for numbers of all sizes and near one', () => {
    for (let n = 0; n < CASES; n++) {
      const y = operand(-9, 9);
      const x = n % 3 === 0 ? operand(-16000, 16000, false) : operand(-1, 0, false);
      expect(run('fpuYl2x', [], y, x)).toEqual(toExtended(multiply(toFixed(y), log2(x))));
    }
  });

  it('FYL2XP1 around zero', () => {
    for (let n = 0; n < CASES; n++) {
      const [y, x] = [operand(-3, 3), operand(-25, -3)];
      expect(run('fpuYl2xp1', [], y, x)).toEqual(
        toExtended(multiply(toFixed(y), divide(logarithm(ONE + toFixed(x)), LN2))),
      );
    }
  });
});
