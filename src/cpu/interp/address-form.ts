/**
 * The shapes an effective address can have, so that the common ones cost the interpreter a load and an add.
 */
import * as L from '../layout.ts';
import { type Insn, NO_REGISTER, OperandKind } from '../x86/decode/insn.ts';

export const AddressForm = {
  /** No memory operand. */
  none: 0,
  /** base + disp, 64-bit addresses, no segment base. */
  base: 1,
  /** base + (index << scale) + disp, likewise. */
  indexed: 2,
  /** FS or GS base + base + (index << scale) + disp, 64-bit addresses. */
  segment64: 3,
  /** (base + (index << scale) + disp) mod 2^32, no segment base. */
  flat32: 4,
  /** Any: cut to the address size, segment base added, limits checked outside 64-bit mode. */
  general: 5,
  /** The address is in the record's immediate field (MOV with moffs), then as `general`. */
  absolute: 6,
} as const;
export type AddressForm = (typeof AddressForm)[keyof typeof AddressForm];

/** Whether segment `segment` adds nothing and checks nothing in `mode`. */
export function segmentIsFlat(segment: number, mode: number): boolean {
  if (segment === L.FS || segment === L.GS) return false;
  if ((mode & L.MODE_SIZE_MASK) === L.MODE_64) return true;
  // A code segment, flat or not, cannot be written.
  return segment !== L.CS && (mode & L.MODE_FLAT) !== 0;
}

export function hasMemoryOperand(insn: Insn): boolean {
  for (let i = 0; i < insn.operandCount; i++) {
    // INVARIANT: operandCount is at most 4, the length of `operands`.
    if (insn.operands[i]!.kind === OperandKind.mem) return true;
  }
  return false;
}

/** moffs: no base, no index, a displacement of full address width, and an accumulator as the other operand. */
export function isAbsolute(insn: Insn): boolean {
  return (
    insn.mem.base === NO_REGISTER &&
    insn.mem.index === NO_REGISTER &&
    insn.addressSize === 64 &&
    insn.mem.dispHigh !== insn.mem.disp >> 31
  );
}

export function addressForm(insn: Insn, mode: number): AddressForm {
  if (!hasMemoryOperand(insn)) return AddressForm.none;
  if (isAbsolute(insn)) return AddressForm.absolute;
  const flat = segmentIsFlat(insn.mem.segment, mode);
  if (insn.addressSize === 64) {
    if (!flat) return AddressForm.segment64;
    return insn.mem.index === NO_REGISTER ? AddressForm.base : AddressForm.indexed;
  }
  if (insn.addressSize === 32 && flat) return AddressForm.flat32;
  return AddressForm.general;
}
