/**
 * What the SDM (volume 2, each instruction's "Flags Affected") leaves undefined, and so is not compared: flags, x87 condition
 * codes, destination registers, bytes of stored images.
 */
import type { Insn } from '../../../src/cpu/x86/decode/insn.ts';
import { OperandKind } from '../../../src/cpu/x86/decode/insn.ts';
import { AF, CF, type MachineState, OF, PF, RCX, SF, ZF } from './machine-state.ts';

const ALL = CF | PF | AF | ZF | SF | OF;

const FLAGS: Readonly<Record<string, number>> = {
  AND: AF,
  OR: AF,
  XOR: AF,
  TEST: AF,
  MUL: SF | ZF | AF | PF,
  IMUL: SF | ZF | AF | PF,
  IMUL_wide: SF | ZF | AF | PF,
  DIV: ALL,
  IDIV: ALL,
  DAA: OF,
  DAS: OF,
  AAA: OF | SF | ZF | PF,
  AAS: OF | SF | ZF | PF,
  AAM: OF | AF | CF,
  AAD: OF | AF | CF,
  BSF: ALL & ~ZF,
  BSR: ALL & ~ZF,
  BT: OF | SF | AF | PF,
  BTS: OF | SF | AF | PF,
  BTR: OF | SF | AF | PF,
  BTC: OF | SF | AF | PF,
  TZCNT: OF | SF | AF | PF,
  LZCNT: OF | SF | AF | PF,
  ANDN: AF | PF,
  BLSI: AF | PF,
  BLSR: AF | PF,
  BLSMSK: AF | PF,
  BZHI: AF | PF,
  BEXTR: SF | AF | PF,
};

function shiftCount(insn: Insn, state: MachineState): number {
  const last = insn.operands[(insn.operandCount - 1) as 0 | 1 | 2 | 3]; // INVARIANT: operandCount is 1..4 for shifts
  let count = insn.immLow & 255;
  if (last.kind === OperandKind.constant) count = last.reg;
  else if (last.kind === OperandKind.gpr) count = Number((state.gpr[RCX] ?? 0n) & 0xffn);
  return count & (insn.operandSize === 64 && insn.operands[0].bytes === 8 ? 63 : 31);
}

function shiftFlags(insn: Insn, state: MachineState): number {
  const count = shiftCount(insn, state);
  if (count === 0) return 0;
  const bits = insn.operands[0].bytes * 8;
  const { name } = insn.row;
  const overflow = count === 1 ? 0 : OF;
  if (name.startsWith('RO') || name.startsWith('RC')) return overflow;
  if (name === 'SHLD' || name === 'SHRD') return count > bits ? ALL : AF | overflow;
  const carry = name !== 'SAR' && count >= bits && bits < 32 ? CF : 0;
  return AF | overflow | carry;
}

/** RFLAGS bits that are undefined after `insn` from `state`. */
export function undefinedFlags(insn: Insn, state: MachineState): number {
  const { name } = insn.row;
  if (/^(RO|RC|SH|SA)[LR]D?$/.test(name)) return shiftFlags(insn, state);
  return FLAGS[name] ?? 0;
}

/** SHLD and SHRD by more than the operand's width: the destination itself is undefined. */
export function undefinedDestination(insn: Insn, state: MachineState): boolean {
  const { name } = insn.row;
  return (name === 'SHLD' || name === 'SHRD') && shiftCount(insn, state) > insn.operands[0].bytes * 8;
}

const C0 = 0x0100;
const C1 = 0x0200;
const C2 = 0x0400;
const C3 = 0x4000;

/** x87 instructions that define C0, C2 and C3; the others leave them undefined. */
const DEFINES_CONDITION = /^(FU?COM|FICOM|FTST|FXAM|FPREM|FLDENV|FRSTOR|FXRSTOR|FNSTENV|FNSAVE|FNINIT|FWAIT|FXSAVE)/;
const DEFINES_C2 = /^(FSIN|FCOS|FSINCOS|FPTAN)$/;

/** x87 status bits that are undefined after `insn`. */
export function undefinedStatus(insn: Insn): number {
  const { name } = insn.row;
  if (DEFINES_CONDITION.test(name)) return 0;
  // C1 of FCMOVcc is defined for a stack fault only.
  if (name.startsWith('FCMOV')) return C0 | C1 | C2 | C3;
  return DEFINES_C2.test(name) ? C0 | C3 : C0 | C2 | C3;
}

/**
 * Bytes of the memory operand that are not compared, [from, to): last instruction and operand pointers and opcode, which
 * processors keep differently (and deprecate), and reserved fields.
 */
export function undefinedBytes(insn: Insn): readonly (readonly [number, number])[] {
  const { name, bytes } = { name: insn.row.name, bytes: insn.operands[0].bytes };
  if (name === 'FXSAVE')
    return [
      [6, 24],
      [28, 32],
      [416, 512],
    ];
  if (name === 'FNSTENV' || name === 'FNSAVE') return bytes === 14 || bytes === 94 ? [[6, 14]] : [[2, 4], [6, 8], [10, 28]]; // prettier-ignore
  return [];
}

/** Several accesses: which of their pages faults first, and what was stored by then, is not defined. */
export function faultsAnywhere(insn: Insn): boolean {
  return /^(FN?STENV|FLDENV|FN?SAVE|FRSTOR|FXSAVE|FXRSTOR|ENTER|CMPS)$/.test(insn.row.name);
}

/**
 * Conversions between MMX and SSE registers: whether a memory source (CVTPI2PS) or an instruction that faults turns the x87
 * stack into MMX registers differs between processors.
 */
export function undefinedTransition(insn: Insn, faulted: boolean): boolean {
  return /^CVT.*PI/.test(insn.row.name) && (faulted || insn.operands[1].kind === OperandKind.mem);
}

/** FCOMI and its like with an unmasked invalid operand: Intel leaves the flags alone, AMD sets them. */
export function mayKeepFlags(insn: Insn): boolean {
  return /^FU?COMIP?$/.test(insn.row.name);
}

/** Instructions whose results the architecture only bounds: relative error in units of 2^-exponent. */
export function toleranceExponent(insn: Insn): number {
  return /^V?(RCP|RSQRT)/.test(insn.row.name) ? 11 : 0;
}

/** x87 functions whose last bit may differ between processors; units in the last place. */
export function toleranceUlp(insn: Insn): number {
  return /^(FSIN|FCOS|FSINCOS|FPTAN|FPATAN|F2XM1|FYL2X|FYL2XP1)$/.test(insn.row.name) ? 2 : 0;
}
