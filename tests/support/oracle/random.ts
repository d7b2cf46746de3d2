/**
 * Seeded random numbers and the operand values that break instructions: edges of every width, special floating point values.
 *
 * Generator: sfc32 (Chris Doty-Humphrey's small fast counter, public domain), fine for tests and equal everywhere.
 */

export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = 0x9e3779b9 | 0;
    this.#c = 0x243f6a88 | 0;
    for (let i = 0; i < 15; i++) this.u32();
  }

  u32(): number {
    const t = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  /** 0..n-1. */
  below(n: number): number {
    return Math.floor((this.u32() / 0x100000000) * n);
  }

  /** True once in n times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T; // INVARIANT: lists of choices are never empty
  }

  fill(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32() >>> 24;
  }
}

/** A stable number for a name: every form has its own sequence, whatever else runs. */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Puts a 64-bit integer worth trying at `index` of a view on 64-bit numbers as halves. */
export function edgeInteger(random: Random, halves: Uint32Array, index: number): void {
  let low = 0;
  let high = 0;
  switch (random.below(8)) {
    case 0: {
      const small = random.pick([0, 0, 1, 2, -1, -1, -2, 3, 5, 7, 8, 15, 16, 31, 32, 63, 64, 127, 255]);
      low = small;
      high = small < 0 ? -1 : 0;
      break;
    }
    case 1: {
      // The extremes of a width, zero- or sign-extended.
      const [a, b] = random.pick([
        [0x7f, 0],
        [0x80, 0],
        [0xff, 0],
        [-0x80, -1],
        [0x7fff, 0],
        [0x8000, 0],
        [0xffff, 0],
        [-0x8000, -1],
        [0x7fffffff, 0],
        [0x80000000, 0],
        [0xffffffff, 0],
        [0x80000000, -1],
        [-1, 0x7fffffff],
        [0, 0x80000000],
        [0, 1],
        [-1, -1],
      ] as const);
      low = a;
      high = b;
      break;
    }
    case 2: {
      // A power of two, or one beside it.
      const bit = random.below(64);
      const delta = random.pick([0, 0, 1, -1]);
      low = bit < 32 ? 1 << bit : 0;
      high = bit < 32 ? 0 : 1 << (bit - 32);
      const sum = (low >>> 0) + delta;
      low = sum;
      if (sum < 0) high--;
      if (sum > 0xffffffff) high++;
      break;
    }
    case 3:
      low = random.u32();
      high = low >> 31;
      break;
    case 4:
      low = random.u32();
      break;
    default:
      low = random.u32();
      high = random.u32();
      // Each width should see its own edges now and then.
      if (random.oneIn(4)) low = (low & ~0xffff) | random.pick([0, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff]);
  }
  halves[index * 2] = low;
  halves[index * 2 + 1] = high;
}

export const F32_EDGES: readonly number[] = [
  0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x80800000, 0x00800001, 0x3f800000, 0xbf800000,
  0x3f7fffff, 0x3f800001, 0x3f000000, 0x3fc00000, 0xbfc00000, 0x40200000, 0x7f7fffff, 0xff7fffff, 0x7f800000,
  0xff800000, 0x7fc00000, 0xffc00000, 0x7fa00000, 0x7f800001, 0xff800001, 0x7fffffff, 0x4f000000, 0xcf000000,
  0x4effffff, 0x4f7fffff, 0x4f800000, 0x5f000000, 0xdf000000, 0x5effffff, 0x5f800000, 0x4b000000, 0x4b7fffff,
  0xcb000000, 0x4affffff, 0x33800000, 0x34000000, 0x43000000, 0x47000000, 0xc7000100,
];

export function edgeF32(random: Random): number {
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2:
      return random.pick(F32_EDGES) >>> 0;
    case 3:
      return random.u32();
    case 4:
      return ((random.u32() & 0x80000000) | (random.below(16) << 23) | (random.u32() & 0x7fffff)) >>> 0; // small, with denormals
    case 5:
      return ((random.u32() & 0x80000000) | ((127 + random.below(64)) << 23) | (random.u32() & 0x7fffff)) >>> 0;
    default: {
      const fraction = random.oneIn(2) ? random.u32() & 0x7fffff : (random.below(8) << 20) | random.below(2);
      return ((random.u32() & 0x80000000) | ((120 + random.below(16)) << 23) | fraction) >>> 0;
    }
  }
}

export const F64_EDGES: readonly (readonly [number, number])[] = [
  [0, 0],
  [0, 0x80000000],
  [1, 0],
  [1, 0x80000000],
  [0xffffffff, 0x000fffff],
  [0xffffffff, 0x800fffff],
  [0, 0x00100000],
  [0, 0x80100000],
  [0, 0x3ff00000],
  [0, 0xbff00000],
  [1, 0x3ff00000],
  [0xffffffff, 0x3fefffff],
  [0, 0x3fe00000],
  [0, 0x3ff80000],
  [0, 0x40040000],
  [0, 0xbfe00000],
  [0xffffffff, 0x7fefffff],
  [0xffffffff, 0xffefffff],
  [0, 0x7ff00000],
  [0, 0xfff00000],
  [0, 0x7ff80000],
  [0, 0xfff80000],
  [1, 0x7ff00000],
  [0, 0x7ff40000],
  [1, 0xfff00000],
  [0xffffffff, 0x7fffffff],
  [0, 0x41e00000], // 2^31
  [0xffc00000, 0x41dfffff],
  [0xffe00000, 0x41dfffff],
  [0, 0xc1e00000],
  [0x00100000, 0xc1e00000],
  [0x00200000, 0xc1e00000],
  [0, 0x41f00000], // 2^32
  [0, 0x43e00000], // 2^63
  [0xffffffff, 0x43dfffff],
  [0, 0xc3e00000],
  [1, 0xc3e00000],
  [0, 0x43f00000], // 2^64
  [0, 0x43300000], // 2^52
  [0xffffffff, 0x433fffff],
  [0, 0x47f00000], // above the largest single
  [0xe0000000, 0x47efffff], // the largest single
  [0xf0000000, 0x47efffff],
  [0, 0x38100000], // the smallest normal single
  [0, 0x380fffff],
  [0, 0x36a00000], // the smallest denormal single
  [0, 0x36900000],
  [1, 0x36900000],
];

export function edgeF64(random: Random, halves: Uint32Array, index: number): void {
  let low = random.u32();
  let high = random.u32();
  const sign = random.u32() & 0x80000000;
  const fraction = random.u32() & 0xfffff;
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2:
      [low, high] = random.pick(F64_EDGES);
      break;
    case 3:
      break;
    case 4:
      high = sign | (random.below(60) << 20) | fraction; // small, with denormals
      break;
    case 5:
      high = sign | ((1023 + random.below(130)) << 20) | fraction;
      break;
    default:
      high = sign | ((1008 + random.below(32)) << 20) | (random.oneIn(2) ? fraction : random.below(8) << 17);
      if (random.oneIn(2)) low = random.oneIn(2) ? 0 : 1;
      if (random.oneIn(4)) low &= 0xe0000000; // exact as a single
  }
  halves[index * 2] = low;
  halves[index * 2 + 1] = high;
}

export const F80_EDGES: readonly (readonly [number, number, number])[] = [
  // sign and exponent, significand high, low
  [0x0000, 0, 0],
  [0x8000, 0, 0],
  [0x0000, 0, 1],
  [0x8000, 0, 1],
  [0x0000, 0x7fffffff, 0xffffffff],
  [0x0000, 0x80000000, 0], // pseudo-denormal
  [0x0001, 0x80000000, 0], // the smallest normal
  [0x0001, 0x80000000, 1],
  [0x3fff, 0x80000000, 0],
  [0xbfff, 0x80000000, 0],
  [0x3fff, 0x80000000, 1],
  [0x3ffe, 0xffffffff, 0xffffffff],
  [0x3ffe, 0x80000000, 0],
  [0xbffe, 0x80000000, 0],
  [0x3fff, 0xc0000000, 0],
  [0x4000, 0xa0000000, 0],
  [0x4000, 0xc90fdaa2, 0x2168c235], // pi
  [0x7ffe, 0xffffffff, 0xffffffff],
  [0xfffe, 0xffffffff, 0xffffffff],
  [0x7fff, 0x80000000, 0],
  [0xffff, 0x80000000, 0],
  [0x7fff, 0xc0000000, 0],
  [0xffff, 0xc0000000, 0],
  [0x7fff, 0xc0000000, 0x12345678],
  [0x7fff, 0xffffffff, 0xffffffff],
  [0x7fff, 0x80000000, 1], // signalling
  [0xffff, 0xa0000000, 0], // signalling
  [0x3fff, 0x40000000, 0], // unnormal
  [0x7fff, 0, 0], // pseudo-infinity
  [0x7fff, 0x40000000, 0], // pseudo-NaN
  [0x401e, 0x80000000, 0], // 2^31
  [0xc01e, 0x80000000, 0],
  [0x403e, 0x80000000, 0], // 2^63
  [0xc03e, 0x80000000, 0],
  [0x403d, 0xffffffff, 0xffffffff],
  [0x403f, 0x80000000, 0],
  [0x400d, 0xfffe0000, 0], // 32767
  [0xc00e, 0x80000000, 0], // -32768
  [0x400d, 0xffff0000, 0], // 32767.5
  [0x403a, 0xde0b6b3a, 0x763fff00], // 10^18 - 1
  [0x403a, 0xde0b6b3a, 0x76400000], // 10^18
  [0x407e, 0xffffff00, 0], // the largest single
  [0x407e, 0xffffff80, 0],
  [0x3f81, 0x80000000, 0], // the smallest normal single
  [0x3f80, 0xffffffff, 0],
  [0x43fe, 0xffffffff, 0xfffff800], // the largest double
  [0x43fe, 0xffffffff, 0xfffffc00],
  [0x3c01, 0x80000000, 0], // the smallest normal double
  [0x3c00, 0xffffffff, 0xfffff800],
  [0x3bcd, 0x80000000, 0], // the smallest denormal double
  [0x3bcc, 0x80000000, 0],
];

/** Writes an 80-bit value's ten bytes at `offset`. */
export function edgeF80(random: Random, view: DataView, offset: number): void {
  let low = random.u32();
  let high = random.u32() | 0x80000000;
  const sign = random.u32() & 0x8000;
  let exponent = sign | random.below(0x8000);
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2:
      [exponent, high, low] = random.pick(F80_EDGES);
      break;
    case 3:
      break;
    case 4:
      exponent = sign | random.pick([0, 1, 2, 0x3c00, 0x3f80, 0x43ff, 0x407f, 0x7ffe, random.below(70)]);
      if ((exponent & 0x7fff) === 0) high &= 0x7fffffff;
      break;
    case 5:
      exponent = sign | (0x3fff + random.below(72));
      break;
    default:
      exponent = sign | (0x3ff8 + random.below(16));
      if (random.oneIn(2)) [low, high] = [random.pick([0, 0, 1, 0x400, 0x800]), 0x80000000 | (random.below(8) << 28)];
      if (random.oneIn(4)) [low, high] = [0, high & 0xffffff00];
  }
  view.setUint32(offset, low, true);
  view.setUint32(offset + 4, high, true);
  view.setUint16(offset + 8, exponent, true);
}
