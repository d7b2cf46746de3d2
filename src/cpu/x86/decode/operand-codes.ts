/**
 * The operand codes of the tables (SDM volume 2 appendix A.2) as small integers for the decoder.
 * The notation is described in tables/notation.ts.
 */

/** How an operand is found; the decoder switches on it. */
export const Method = {
  /** General register or memory by ModRM.mod and .rm. */
  gprOrMem: 1,
  gprReg: 2,
  gprOpcode: 3,
  gprVvvv: 4,
  xmmOrMem: 5,
  xmmReg: 6,
  mmxOrMem: 7,
  mmxReg: 8,
  segment: 9,
  control: 10,
  debug: 11,
  immZeroExtended: 12,
  immSignExtended: 13,
  /** As wide as the operand, up to 8 bytes. */
  immFull: 14,
  imm2: 15,
  rel: 16,
  far: 17,
  offset: 18,
  stringSource: 19,
  stringDest: 20,
  fixedGpr: 21,
  fixedSegment: 22,
  fixedSt: 23,
  stRm: 24,
  fixedXmm: 25,
  constant: 26,
  xmmVvvv: 27,
  /** Register in bits 7:4 of an immediate byte (is4). */
  xmmImm: 28,
  /** Memory with a vector register as index. */
  vsib: 29,
} as const;

/** Widths that depend on the instruction; fixed widths are their number of bytes. */
export const Width = {
  /** 2, 4, 8 for operand size 16, 32, 64. */
  v: -1,
  /** 2, 4, 4. */
  z: -2,
  /** 4, 4, 8. */
  y: -3,
  /** 4, or 8 in 64-bit code. */
  n: -4,
  /** Far pointer: v + 2. */
  p: -5,
  /** Two of v (BOUND). */
  a: -6,
  /** Descriptor table register: 6, or 10 in 64-bit code. */
  s: -7,
  /** x87 environment: 14 or 28. */
  env: -8,
  /** x87 state: 94 or 108. */
  save: -9,
  /** 16, or 32 with VEX.L. */
  xy: -10,
} as const;

const WIDTHS: Readonly<Record<string, number>> = {
  b: 1, w: 2, d: 4, q: 8, t: 10, x: 16, qq: 32, xy: Width.xy, '512': 512, '': 0,
  v: Width.v, z: Width.z, y: Width.y, n: Width.n, p: Width.p, a: Width.a, s: Width.s, env: Width.env, save: Width.save,
}; // prettier-ignore

/** Width in bytes once the sizes are known. */
export function widthOf(width: number, operandSize: number, codeSize: number, vexL: number): number {
  switch (width) {
    case Width.v:
      return operandSize >> 3;
    case Width.z:
      return operandSize === 16 ? 2 : 4;
    case Width.y:
      return operandSize === 64 ? 8 : 4;
    case Width.n:
      return codeSize === 64 ? 8 : 4;
    case Width.p:
      return (operandSize >> 3) + 2;
    case Width.a:
      return operandSize >> 2;
    case Width.s:
      return codeSize === 64 ? 10 : 6;
    case Width.env:
      return operandSize === 16 ? 14 : 28;
    case Width.save:
      return operandSize === 16 ? 94 : 108;
    case Width.xy:
      return vexL === 0 ? 16 : 32;
    default:
      return width;
  }
}

/** An operand code, parsed. */
export interface OperandCode {
  readonly method: number;
  /** Width of a register or value; of memory when the operand is memory. */
  readonly width: number;
  readonly memWidth: number;
  /** Register number or constant of a fixed operand. */
  readonly reg: number;
  /** What ModRM.mod must be: 'mem' for M, 'reg' for R U N. */
  readonly mod: 'mem' | 'reg' | 'any';
}

/** Operands that are the same whatever the bytes say: [method, width, number]. */
const FIXED: Readonly<Record<string, readonly [number, number, number]>> = {
  AL: [Method.fixedGpr, 1, 0],
  CL: [Method.fixedGpr, 1, 1],
  AX: [Method.fixedGpr, 2, 0],
  DX: [Method.fixedGpr, 2, 2],
  rAX: [Method.fixedGpr, Width.v, 0],
  eAX: [Method.fixedGpr, Width.z, 0],
  ES: [Method.fixedSegment, 2, 0],
  CS: [Method.fixedSegment, 2, 1],
  SS: [Method.fixedSegment, 2, 2],
  DS: [Method.fixedSegment, 2, 3],
  FS: [Method.fixedSegment, 2, 4],
  GS: [Method.fixedSegment, 2, 5],
  ST0: [Method.fixedSt, 10, 0],
  STi: [Method.stRm, 10, 0],
  XMM0: [Method.fixedXmm, 16, 0],
  '1': [Method.constant, 1, 1],
  Ib: [Method.immZeroExtended, 1, 0],
  Iw: [Method.immZeroExtended, 2, 0],
  Ibs: [Method.immSignExtended, 1, 0],
  Iz: [Method.immSignExtended, Width.z, 0],
  Iv: [Method.immFull, Width.v, 0],
  Ib2: [Method.imm2, 1, 0],
  Sw: [Method.segment, 2, 0],
};

/** Letter: [method, constraint on ModRM.mod]. */
const LETTERS: Readonly<Record<string, readonly [number, 'mem' | 'reg' | 'any']>> = {
  E: [Method.gprOrMem, 'any'],
  R: [Method.gprOrMem, 'reg'],
  M: [Method.gprOrMem, 'mem'],
  G: [Method.gprReg, 'any'],
  Z: [Method.gprOpcode, 'any'],
  B: [Method.gprVvvv, 'any'],
  W: [Method.xmmOrMem, 'any'],
  U: [Method.xmmOrMem, 'reg'],
  V: [Method.xmmReg, 'any'],
  H: [Method.xmmVvvv, 'any'],
  L: [Method.xmmImm, 'any'],
  T: [Method.vsib, 'mem'],
  Q: [Method.mmxOrMem, 'any'],
  N: [Method.mmxOrMem, 'reg'],
  P: [Method.mmxReg, 'any'],
  C: [Method.control, 'any'],
  D: [Method.debug, 'any'],
  J: [Method.rel, 'any'],
  A: [Method.far, 'any'],
  O: [Method.offset, 'any'],
  X: [Method.stringSource, 'any'],
  Y: [Method.stringDest, 'any'],
};

/** Parses one code of a row's operand list. Throws on a code that does not exist: an error of the table. */
export function parseOperandCode(code: string): OperandCode {
  const fixed = FIXED[code];
  if (fixed !== undefined) return { method: fixed[0], width: fixed[1], memWidth: fixed[1], reg: fixed[2], mod: 'any' };
  const split = /^R(.)M(.)$/.exec(code);
  if (split !== null) {
    const width = WIDTHS[split[1] ?? '?'];
    const memWidth = WIDTHS[split[2] ?? '?'];
    if (width !== undefined && memWidth !== undefined)
      return { method: Method.gprOrMem, width, memWidth, reg: 0, mod: 'any' };
  }
  const letter = LETTERS[code.slice(0, 1)];
  const width = WIDTHS[code.slice(1)];
  if (letter === undefined || width === undefined) throw new Error(`decode tables: unknown operand code '${code}'`);
  return { method: letter[0], width, memWidth: width, reg: 0, mod: letter[1] };
}
