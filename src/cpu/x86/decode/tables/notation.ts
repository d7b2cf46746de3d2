/**
 * How a row of the decode tables is written. Facts from the Intel SDM volume 2 (chapters 3 to 5, appendix A).
 *
 *     row('66 0F 58 /r', 'ADDPD', 'Vx Wx')
 *
 * **Encoding**, left to right:
 *   - mandatory prefix: `66`, `F3` or `F2`; `NP` = none of 66, F2, F3 may stand there; `NFx` = neither F2 nor F3 (66 is then the
 *     operand size); nothing written = all of them are allowed and keep their ordinary meaning. F2/F3 win over 66, the last of F2
 *     and F3 wins over the others. A mandatory 66 does not change the operand size.
 *   - `REX.W` = W must be 1, `REX.B` = B must be 1.
 *   - or, for VEX: `VEX.128.66.0F38.W0` = VEX, L must be 0 (`256`: 1, `LZ` the same as 128, left out or `LIG`: any), pp, map,
 *     W (left out or `WIG`: any).
 *   - opcode bytes, in capitals; `+r` = the low three bits are a register, `+cc` = the low four bits are a condition.
 *   - ModRM: `/r` = a ModRM byte, `/0`..`/7` = one with that reg field, a byte (`C1`) = exactly that, `C0+i` = C0..C7.
 *     An operand that exists only in memory (M) or only in a register (R U N) makes the row match only such a ModRM byte;
 *     `/3:mem` and `/3:reg` say it for a row without such an operand.
 * **Operands**: letters from appendix A.2.1, then the width.
 *   - E general register or memory, G register in ModRM.reg, R register in ModRM.rm, M memory, Z register in the opcode,
 *     B register in VEX.vvvv, I immediate, J branch displacement, A far pointer, O offset without ModRM, X string source,
 *     Y string destination, V/W/U xmm in ModRM.reg / xmm or memory / xmm in ModRM.rm, P/Q/N the same for mmx,
 *     H xmm in VEX.vvvv, L xmm in the upper half of an immediate byte, T memory with a vector of indices (VSIB),
 *     S segment, C control, D debug register in ModRM.reg.
 *   - widths in bytes: b 1, w 2, d 4, q 8, t 10, x 16; v 2/4/8, z 2/4/4 and y 4/4/8 for operand size 16/32/64;
 *     xy 16, or 32 with VEX.L (a ymm register); qq 32;
 *     n 4, or 8 in 64-bit code; p far pointer of v; a two of v; s descriptor table pointer (6, or 10 in 64-bit code);
 *     `M` alone: the instruction knows; Menv and Msave: x87 images; M512: FXSAVE.
 *   - RvMw, RdMb, RdMw, RnMw: one width in a register, another in memory.
 *   - Ib, Iw: zero-extended; Ibs, Iz, Iv: sign-extended to 64 bits; Ib2: second immediate (`Insn.imm2`).
 *   - AL AX CL DX rAX (v wide) eAX (z wide), ES CS SS DS FS GS, ST0 STi, XMM0, 1: fixed operands.
 * **Order**: among rows of one opcode the first that matches is taken, so narrower rows stand before wider ones.
 * **Name**: the key of the semantics. A suffix after `_` tells variants of one mnemonic apart; it is not printed.
 */

/** LOCK is allowed with a memory destination. */
export const LOCK = 1;
/** The block ends after it: see `InsnAttributes.endsBlock`. */
export const ENDS = 2;
/** REP means repetition. */
export const STRING = 4;
/** In 64-bit code the operand size is 64 unless 66 makes it 16. */
export const D64 = 8;
/** In 64-bit code the operand size is 64, whatever the prefixes. */
export const F64 = 16;
/** Invalid in 64-bit code. */
export const I64 = 32;
/** Only in 64-bit code. */
export const O64 = 64;
/** #UD in real-address and virtual-8086 mode. */
export const PROTECTED = 128;
/** The memory operand need not be aligned although it is an SSE instruction. */
export const UNALIGNED = 256;
/** ModRM.mod is not looked at: always a register (MOV CR, MOV DR). */
export const ANYMOD = 512;
/** Works on AVX state (`InsnAttributes.avx`); `PROTECTED` goes with it, and memory operands need no alignment. */
export const AVX = 1024;
/** But this one's do. */
export const ALIGNED = 2048;

/** A row as written; `compile.ts` turns it into an `InsnRow` and what the decoder matches on. */
export interface RowSpec {
  readonly encoding: string;
  readonly name: string;
  readonly operands: string;
  readonly flags: number;
  /** Printed instead of the name, where that differs by more than the suffix. */
  readonly mnemonic: string | undefined;
}

/** One row of a table. */
export function row(encoding: string, name: string, operands = '', flags = 0, mnemonic?: string): RowSpec {
  return { encoding, name, operands, flags, mnemonic };
}

/** A row of an AVX instruction. */
export function avx(encoding: string, name: string, operands = '', flags = 0): RowSpec {
  return row(encoding, name, operands, flags | AVX);
}
