/**
 * Writes the constant tables of the x87 transcendental functions (src/cpu/microcode/fpu/tables.ts).
 *
 * All are fixed point with 128 bits, truncated from 320-bit arithmetic: run with `node scripts/fpu-tables.ts`.
 */
import { writeFileSync } from 'node:fs';

const BITS = 320n;
const ONE = 1n << BITS;

const mul = (a: bigint, b: bigint): bigint => (a * b) >> BITS;
const div = (a: bigint, b: bigint): bigint => (a << BITS) / b;

/** 2 * atanh((x - 1) / (x + 1)) = ln(x). */
function ln(x: bigint): bigint {
  const s = div(x - ONE, x + ONE);
  const square = mul(s, s);
  let term = s;
  let sum = 0n;
  for (let n = 1n; term !== 0n && n < 2000n; n += 2n) {
    sum += term / n;
    term = mul(term, square);
  }
  return 2n * sum;
}

function atan(x: bigint): bigint {
  // Halve the argument three times: atan(x) = 2 * atan(x / (1 + sqrt(1 + x^2))).
  let t = x;
  for (let i = 0; i < 3; i++) t = div(t, ONE + squareRoot(ONE + mul(t, t)));
  const square = mul(t, t);
  let sum = 0n;
  for (let n = 1n; t !== 0n; n += 2n) {
    sum += n % 4n === 1n ? t / n : -t / n;
    t = mul(t, square);
  }
  return sum * 8n;
}

function squareRoot(x: bigint): bigint {
  const target = x << BITS;
  let root = ONE * 2n;
  for (let i = 0; i < 400; i++) root = (root + target / root) >> 1n;
  return root;
}

const LN2 = ln(2n * ONE);
const PI = 4n * atan(ONE);

/** 2^(n/32) by repeated square roots. */
function powerOfTwo(n: number): bigint {
  let step = 2n * ONE;
  for (let i = 0; i < 5; i++) step = squareRoot(step);
  let value = ONE;
  for (let i = 0; i < n; i++) value = mul(value, step);
  return value;
}

/** `value` with `fraction` bits below the point, as high and low words. */
function words(value: bigint, fraction: bigint): string {
  const fixed = BigInt.asUintN(128, value >> (BITS - fraction));
  const hex = (part: bigint): string => `0x${part.toString(16).padStart(16, '0')}`;
  return `  ${hex(fixed >> 64n)}, ${hex(fixed & 0xffffffffffffffffn)},`;
}

function table(name: string, comment: string, rows: readonly string[]): string {
  return `/** ${comment} */\nexport const ${name}: u32 = <u32>memory.data<u64>([\n${rows.join('\n')}\n]);\n`;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const factorial = (n: number): bigint => (n < 2 ? 1n : BigInt(n) * factorial(n - 1));

/** Reciprocals, in 256ths, for the logarithm: interval j of the significand is [1 + j/64, 1 + (j+1)/64), halved when above sqrt 2. */
const upper = (j: number): boolean => 1 + (j + 0.5) / 64 >= Math.SQRT2;
const reciprocals = range(64).map((j) =>
  j === 0 || j === 63 ? 256 : Math.round(256 / ((1 + (j + 0.5) / 64) / (upper(j) ? 2 : 1))),
);

const SINE_TERMS = 13;
const EXP_TERMS = 12;
const LOG_TERMS = 18;
const ATAN_TERMS = 10;

const text = `/**
 * Constant tables of the transcendental functions, written by scripts/fpu-tables.ts. Each number is two words, high first.
 */
export const SINE_TERMS: i32 = ${SINE_TERMS};
export const EXP_TERMS: i32 = ${EXP_TERMS};
export const LOG_TERMS: i32 = ${LOG_TERMS};
export const ATAN_TERMS: i32 = ${ATAN_TERMS};

${table(
  'sineTerms',
  '1 / (2k + 3)!, 128 fraction bits',
  range(SINE_TERMS).map((k) => words(ONE / factorial(2 * k + 3), 128n)),
)}
${table(
  'cosineTerms',
  '1 / (2k + 2)!, 128 fraction bits',
  range(SINE_TERMS).map((k) => words(ONE / factorial(2 * k + 2), 128n)),
)}
${table(
  'expTerms',
  '1 / (k + 2)!, 128 fraction bits',
  range(EXP_TERMS).map((k) => words(ONE / factorial(k + 2), 128n)),
)}
${table(
  'powers',
  '2^(k / 32), k = 0..32, 126 fraction bits',
  range(33).map((k) => words(k === 32 ? 2n * ONE : powerOfTwo(k), 126n)),
)}
${table(
  'logTerms',
  'log2(e) / (k + 1), 127 fraction bits',
  range(LOG_TERMS).map((k) => words(div(ONE, LN2) / BigInt(k + 1), 127n)),
)}
/** In 256ths: reciprocal of the middle of [1 + j/64, 1 + (j+1)/64), of its half from the square root of 2 on. */
export const logReciprocals: u32 = <u32>memory.data<u16>([
  ${reciprocals.join(', ')},
]);
/** First interval of those that are halved. */
export const LOG_HALVED: u32 = ${range(64).findIndex(upper)};

${table(
  'logOffsets',
  '-log2 of those reciprocals, signed, 112 fraction bits',
  reciprocals.map((c) => words(-div(ln((BigInt(c) * ONE) / 256n), LN2), 112n)),
)}
${table(
  'atanTerms',
  '1 / (2k + 3), 128 fraction bits',
  range(ATAN_TERMS).map((k) => words(ONE / BigInt(2 * k + 3), 128n)),
)}
${table(
  'atans',
  'atan(k / 32), k = 0..32, 125 fraction bits',
  range(33).map((k) => words(atan((BigInt(k) * ONE) / 32n), 125n)),
)}
${table('angles', 'pi/2 and pi with 125 fraction bits; ln 2 with 128', [words(PI / 2n, 125n), words(PI, 125n), words(LN2, 128n)])}`;

writeFileSync(new URL('../src/cpu/microcode/fpu/tables.ts', import.meta.url), text);
