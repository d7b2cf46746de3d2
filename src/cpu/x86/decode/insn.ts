/**
 * What the decoder makes of one instruction: names, operands and prefixes, nothing about what it does.
 *
 * The decoder fills one mutable `Insn` over and over, so whoever wants to keep it copies it (`cloneInsn`).
 * Numbers stay below 2^53: a 64-bit immediate is two 32-bit halves.
 * Source: Intel SDM volume 2, chapters 2 and appendix A.
 */

/** Kinds of operand, as small integers because the decoder and the tiers switch on them. */
export const OperandKind = {
  none: 0,
  /** General register; `reg` 0..15, `bytes` 1, 2, 4 or 8. One-byte registers 4..7 without REX are `gpr8high`. */
  gpr: 1,
  /** AH CH DH BH as `reg` 0..3. */
  gpr8high: 2,
  /** Memory at the instruction's one effective address (`Insn.mem`), `bytes` wide (0: size is the instruction's business). */
  mem: 3,
  /** Immediate in `Insn.immLow/immHigh`, sign-extended to 64 bits where the SDM extends it. */
  imm: 4,
  /** A second immediate (ENTER's level, EXTRQ): `Insn.imm2`. */
  imm2: 5,
  /** Branch displacement, in immLow/immHigh, sign-extended; the target counts from the next instruction. */
  rel: 6,
  /** Far pointer: selector in `imm2`, offset in immLow. */
  far: 7,
  segment: 8,
  control: 9,
  debug: 10,
  mmx: 11,
  /** Vector register: xmm, or ymm when `bytes` is 32. */
  xmm: 12,
  /** x87 stack register ST(reg). */
  st: 13,
  /** The constant `reg` (shift by 1, INT3). */
  constant: 14,
  /** String operand at DS:rSI (segment override applies) and at ES:rDI. */
  stringSource: 15,
  stringDest: 16,
} as const;
export type OperandKind = (typeof OperandKind)[keyof typeof OperandKind];

export interface Operand {
  kind: OperandKind;
  /** Register number, or the constant. */
  reg: number;
  /** Width in bytes; for `gpr`, `mem`, `xmm`, `mmx` what is accessed. */
  bytes: number;
}

/** One effective address. Registers are numbers 0..15 or NO_REGISTER; RIP_BASE as base means RIP-relative. */
export interface MemoryOperand {
  base: number;
  index: number;
  /** Shift of the index, 0..3. */
  scale: number;
  /** Signed 32 bits. For `moffs` with 64-bit addresses: low half, `dispHigh` the high half; else dispHigh is the sign. */
  disp: number;
  dispHigh: number;
  /** Vector register whose elements are the indices (VSIB); `index` is NO_REGISTER then. Else NO_REGISTER. */
  vectorIndex: number;
  /** Segment after default and override: ES CS SS DS FS GS = 0..5. */
  segment: number;
}

export const NO_REGISTER = -1;
export const RIP_BASE = 16;

/** Width of code, addresses, operands. */
export type Bits = 16 | 32 | 64;

/** Facts of an instruction that hold for all its encodings; written in the decode tables. */
export interface InsnAttributes {
  /** LOCK is allowed when the destination is memory. */
  readonly lock?: boolean;
  /** The block ends after it: control transfer, or what follows must be decoded anew (mode or mapping may have changed). */
  readonly endsBlock?: boolean;
  /** REP/REPNE prefixes mean repetition (string instructions). */
  readonly string?: boolean;
  /** #UD in real-address and virtual-8086 mode (the decoder does not know the mode, so the caller refuses it). */
  readonly protectedOnly?: boolean;
  /** A memory operand of 16 or 32 bytes need not be aligned; without it a misaligned one is #GP. */
  readonly unaligned?: boolean;
  /** Works on AVX state: #UD or #NM unless MODE_AVX. What it leaves of a destination register above its width is zero. */
  readonly avx?: boolean;
}

/** One row of the decode tables. `name` is the key of its semantics: the SDM's mnemonic, or a documented variant such as MOV_to_CR. */
export interface InsnRow extends InsnAttributes {
  /** Unique number of the row, its position over all tables. */
  readonly id: number;
  readonly name: string;
  /** What a disassembler prints: `name` without its variant suffix, unless the table says otherwise. */
  readonly mnemonic: string;
  /** Encoding as written in the table, for messages and tests. */
  readonly encoding: string;
  readonly operands: readonly string[];
}

export interface Insn {
  row: InsnRow;
  /** Bytes, 1..15. */
  length: number;
  /** Effective operand size in bits. One-byte instructions say so in their operands' `bytes`. */
  operandSize: Bits;
  addressSize: Bits;
  /** Width of the code: 16, 32 or 64. */
  codeSize: Bits;
  /** `operandCount` of these are meaningful; the kind of the others is `none`. */
  readonly operands: readonly [Operand, Operand, Operand, Operand];
  operandCount: number;
  readonly mem: MemoryOperand;
  /** Both halves as signed 32-bit numbers. */
  immLow: number;
  immHigh: number;
  imm2: number;
  /** Low four bits of the opcode: the condition of Jcc, SETcc and CMOVcc (SDM vol. 2 appendix B.1.4). */
  condition: number;
  lock: boolean;
  /** 0, 0xf2 or 0xf3: the last repeat prefix seen (also when it is part of the opcode's meaning). */
  rep: number;
  /** Segment override 0..5 seen, or -1. */
  segmentOverride: number;
  hasRex: boolean;
  rexW: boolean;
}

export const DecodeStatus = {
  ok: 0,
  /** #UD: no such instruction, LOCK where it is not allowed. */
  invalid: 1,
  /** More bytes are needed than were given. */
  truncated: 2,
  /** #GP: longer than 15 bytes. */
  tooLong: 3,
} as const;
export type DecodeStatus = (typeof DecodeStatus)[keyof typeof DecodeStatus];

// The decoder (decoder.ts) offers:
//   decode(bytes: Uint8Array, offset: number, limit: number, codeSize: Bits, out: Insn): DecodeStatus
//   createInsn(): Insn     cloneInsn(i: Insn): Insn     allRows(): readonly InsnRow[]
// and format.ts:  formatInsn(i: Insn, rip: bigint): string   (Intel syntax, for -d in_asm)
