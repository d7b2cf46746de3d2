/** Where decoded register operands live in the vCPU state. */
import * as L from './layout.ts';
import { type Operand, OperandKind } from './x86/decode/insn.ts';

/** Offset in the vCPU state of a register operand. */
export function stateOffset(operand: Operand): number {
  switch (operand.kind) {
    case OperandKind.gpr8high:
      return L.CPU_GPR + operand.reg * 8 + 1;
    case OperandKind.xmm:
      return L.CPU_XMM + operand.reg * L.XMM_STRIDE;
    case OperandKind.mmx:
      return L.CPU_FPR + operand.reg * 16;
    default:
      return L.CPU_GPR + operand.reg * 8;
  }
}
