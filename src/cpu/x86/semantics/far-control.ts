/** Far jumps, calls and returns, interrupts, system calls, and the flag and frame instructions that microcode carries out. SDM volume 2. */
import * as L from '../../layout.ts';
import { type Expr, i32, load } from '../../../wasm/expr.ts';
import { OperandKind } from '../decode/insn.ts';
import { intType, type Semantics, type SemanticsTable, type X86 } from './context.ts';
import { readFarPointer } from './segment.ts';

/** Microcode that transfers control: CPU_RIP is the next instruction's on entry and the target's afterwards. */
function transfer(x: X86, name: string, ...args: Expr[]): void {
  x.setRipNext();
  x.microState(name, true, ...args);
  x.goOn();
}

function far(name: string): Semantics {
  return (x) => {
    const bits = x.insn.operandSize;
    if (x.operand(0).kind === OperandKind.far) {
      transfer(x, name, x.farSelector(), x.immediate(0, 32).toI32().toI64(), i32(bits));
      return;
    }
    const pointer = readFarPointer(x, 0);
    transfer(x, name, pointer.selector, x.let(pointer.offset.toI64()), i32(bits));
  };
}

const farReturn: Semantics = (x) => {
  const parameters = x.insn.operandCount === 0 ? i32(0) : x.immediate(0, 16).toI32().zeroExtend(16);
  transfer(x, 'farReturn', i32(x.insn.operandSize), parameters);
};

function interrupt(vector: number, kind: number): Semantics {
  return (x) => transfer(x, 'deliverInterrupt', i32(vector), i32(kind));
}

const int: Semantics = (x) =>
  transfer(x, 'deliverInterrupt', x.immediate(0, 8).toI32().zeroExtend(8), i32(L.INT_SOFTWARE));

const bound: Semantics = (x) => {
  const bits = x.width(0);
  const index = x.let(x.read(0).toI32().signExtend(bits));
  const at = x.let(x.linear(bits / 4, 'read'));
  const low = x.let(x.mem.load(at, bits).toI32().signExtend(bits));
  const high = x.let(
    x.mem
      .load(at.add(i32(bits / 8).toI64()).zeroExtend(32), bits)
      .toI32()
      .signExtend(bits),
  );
  x.raiseIf(index.lt_s(low).or(index.gt_s(high)), L.EXC_BR);
};

const pushf: Semantics = (x) => {
  const bits = x.insn.operandSize;
  x.microState('pushf', true, i32(bits));
  x.push(x.let(load('i64', 64, x.cpu, L.CPU_SCRATCH).toInt(intType(bits))), bits);
};

const popf: Semantics = (x) => {
  const bits = x.insn.operandSize;
  const image = x.let(x.top(bits).toI32());
  x.microState('popf', true, image, i32(bits));
  x.popped(bits / 8);
};

function frame(name: string): Semantics {
  return (x) => x.microState(name, true, i32(x.insn.operandSize));
}

const enter: Semantics = (x) => {
  const size = x.immediate(0, 16).toI32().zeroExtend(16);
  x.microState('enter', true, i32(x.insn.operandSize), size, x.immediate(1, 8).toI32().zeroExtend(8));
};

const undefinedInstruction: Semantics = (x) => x.raise(L.EXC_UD);

export const farControl: SemanticsTable = {
  JMP_far: far('farJump'),
  CALL_far: far('farCall'),
  RET_far: farReturn,
  INT3: interrupt(3, L.INT_SOFTWARE_EXCEPTION),
  INT: int,
  INTO: (x) => transfer(x, 'into'),
  INT1: interrupt(1, L.INT_PRIVILEGED_SOFTWARE),
  IRET: (x) => transfer(x, 'iret', i32(x.insn.operandSize)),
  BOUND: bound,
  SYSCALL: (x) => transfer(x, 'syscall'),
  SYSRET: (x) => transfer(x, 'sysret', i32(x.insn.operandSize)),
  SYSENTER: (x) => transfer(x, 'sysenter'),
  SYSEXIT: (x) => transfer(x, 'sysexit', i32(x.insn.operandSize)),
  PUSHF: pushf,
  POPF: popf,
  PUSHA: frame('pusha'),
  POPA: frame('popa'),
  ENTER: enter,
  UD0: undefinedInstruction,
  UD1: undefinedInstruction,
  UD2: undefinedInstruction,
};
