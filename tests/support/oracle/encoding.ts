/** One instruction as bytes, ready to be run from several states. */
import { type Insn, OperandKind } from '../../../src/cpu/x86/decode/insn.ts';
import type { Form } from './forms.ts';
import { DATA_BASE, dataSegmentBase, type MachineState } from './machine-state.ts';

export interface Encoding {
  readonly form: Form;
  readonly code: Uint8Array;
  readonly insn: Insn;
  /** Address in the instruction itself (absolute or RIP-relative); then it is the same in every state. */
  readonly fixedTarget: bigint | undefined;
  /** Runs by single step: it may branch. */
  readonly step: boolean;
}

/**
 * Whether the instruction reaches memory that no state keeps within the data area: a bit string whose offset is also an address
 * register lies anywhere, and natively that may be memory of this very process.
 */
export function strays(encoding: Encoding): boolean {
  const { insn, form } = encoding;
  if (!/^BT[SRC]?$/.test(form.row.name) || form.memory !== true) return false;
  const [, offset] = insn.operands;
  return offset.kind === OperandKind.gpr && (offset.reg === insn.mem.base || offset.reg === insn.mem.index);
}

/** Offset in the data area of the memory operand that the encoding has in `state`; meaningless without one. */
export function operandOffset(encoding: Encoding, state: MachineState): number {
  if (encoding.fixedTarget !== undefined) return Number(encoding.fixedTarget) - DATA_BASE;
  const { mem, addressSize } = encoding.insn;
  let address = BigInt(mem.disp);
  if (mem.base >= 0 && mem.base < 16) address += state.gpr[mem.base] ?? 0n;
  if (mem.index >= 0) address += (state.gpr[mem.index] ?? 0n) << BigInt(mem.scale);
  return Number(BigInt.asUintN(addressSize, address)) + dataSegmentBase(state.codeSize) - DATA_BASE;
}
