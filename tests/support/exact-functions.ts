/**
 * Elementary functions to 320 bits in BigInt fixed point, slow and simple: the reference for the x87's transcendental
 * instructions, independent of any FPU. Values are numerators over 2^BITS.
 */
export const BITS = 320n;
export const ONE: bigint = 1n << BITS;

export const multiply = (a: bigint, b: bigint): bigint => (a * b) >> BITS;
export const divide = (a: bigint, b: bigint): bigint => (a << BITS) / b;

function series(first: bigint, next: (term: bigint, n: bigint) => bigint): bigint {
  let sum = 0n;
  let term = first;
  for (let n = 1n; term !== 0n && term !== -1n; n++) {
    sum += term;
    term = next(term, n);
  }
  return sum;
}

export function sine(x: bigint): bigint {
  const square = multiply(x, x);
  return series(x, (term, n) => -multiply(term, square) / (2n * n * (2n * n + 1n)));
}

export function cosine(x: bigint): bigint {
  const square = multiply(x, x);
  return series(ONE, (term, n) => -multiply(term, square) / (2n * n * (2n * n - 1n)));
}

/** e^x for small x. */
export function exponential(x: bigint): bigint {
  return series(ONE, (term, n) => multiply(term, x) / n);
}

/** ln(x) for x within a factor of two of 1, by 2 atanh((x - 1) / (x + 1)). */
export function logarithm(x: bigint): bigint {
  const s = divide(x - ONE, x + ONE);
  const square = multiply(s, s);
  let sum = 0n;
  let power = s;
  for (let n = 1n; power !== 0n && power !== -1n; n += 2n) {
    sum += power / n;
    power = multiply(power, square);
  }
  return 2n * sum;
}

export const LN2: bigint = logarithm(2n * ONE);

function squareRoot(x: bigint): bigint {
  const target = x << BITS;
  let root = x > ONE ? x : ONE;
  for (;;) {
    const better = (root + target / root) >> 1n;
    if (better >= root) return root;
    root = better;
  }
}

/** Arc tangent of 0..1: the argument is halved four times first. */
export function arcTangent(x: bigint): bigint {
  let t = x;
  for (let i = 0; i < 4; i++) t = divide(t, ONE + squareRoot(ONE + multiply(t, t)));
  const square = multiply(t, t);
  let sum = 0n;
  let power = t;
  for (let n = 1n; power !== 0n && power !== -1n; n += 2n) {
    sum += power / n;
    power = -multiply(power, square);
  }
  return sum * 16n;
}

export const PI: bigint = 4n * arcTangent(ONE);

/** A double extended number, finite and normal. */
export interface Extended {
  sig: bigint;
  se: number;
}

export function toFixed(x: Extended): bigint {
  const shift = BITS + BigInt((x.se & 0x7fff) - 0x3fff - 63);
  const magnitude = shift >= 0n ? x.sig << shift : x.sig >> -shift;
  return x.se & 0x8000 ? -magnitude : magnitude;
}

/** Nearest double extended number, ties to even. */
export function toExtended(value: bigint): Extended {
  if (value === 0n) return { sig: 0n, se: 0 };
  const magnitude = value < 0n ? -value : value;
  const cut = magnitude.toString(2).length - 64;
  let sig = cut > 0 ? magnitude >> BigInt(cut) : magnitude << BigInt(-cut);
  let exponent = 0x3fff + 63 + cut - Number(BITS);
  if (cut > 0) {
    const rest = magnitude & ((1n << BigInt(cut)) - 1n);
    const half = 1n << BigInt(cut - 1);
    if (rest > half || (rest === half && sig & 1n)) sig += 1n;
    if (sig === 1n << 64n) {
      sig >>= 1n;
      exponent += 1;
    }
  }
  return { sig, se: exponent | (value < 0n ? 0x8000 : 0) };
}
