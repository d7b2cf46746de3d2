/** Near control transfer: Jcc, JMP, CALL, RET, LOOP, JrCXZ. SDM volume 2. Each ends in a jump, after everything that can fault. */
import * as L from '../../layout.ts';
import { type Expr, i64, int } from '../../../wasm/expr.ts';
import { intType, RCX, type Semantics, type SemanticsTable, type X86 } from './context.ts';

/** Beyond the limit of the code segment, which is not 4 GiB. */
function beyondLimit(x: X86, rip: Expr<'i64'>): Expr<'i32'> {
  return rip.gt_u(x.state32(L.CPU_SEG + L.CS * L.SEG_SIZE + L.SEG_LIMIT).toI64());
}

/** An indirect branch to a non-canonical address, or beyond the code segment's limit, faults before anything has changed. */
function checkTarget(x: X86, rip: Expr<'i64'>): void {
  if (x.is64) x.raiseIf(rip.shl(i64(16)).shr_s(i64(16)).ne(rip), L.EXC_GP);
  else if ((x.mode & L.MODE_FLAT) === 0) x.raiseIf(beyondLimit(x, rip), L.EXC_GP);
}

/** A direct branch leaves the limit only where it is wider than the limit usually is. */
function checkDirect(x: X86, taken?: Expr<'i32'>): void {
  if (x.is64 || (x.mode & L.MODE_FLAT) !== 0 || x.insn.operandSize === 16) return;
  const beyond = beyondLimit(x, x.directTarget());
  x.raiseIf(taken === undefined ? beyond : beyond.and(taken), L.EXC_GP);
}

const jcc: Semantics = (x) => {
  const taken = x.let(x.flags.condition(x.insn.condition));
  checkDirect(x, taken);
  x.branchDirect(taken);
};

const jmp: Semantics = (x) => {
  checkDirect(x);
  x.jumpDirect();
};

const jmpIndirect: Semantics = (x) => {
  const target = x.let(x.read(0).toI64());
  checkTarget(x, target);
  x.jumpTo(target);
};

const call: Semantics = (x) => {
  const bits = x.insn.operandSize;
  checkDirect(x);
  x.push(x.nextRip().toInt(intType(bits)), bits);
  x.jumpDirect();
};

const callIndirect: Semantics = (x) => {
  const bits = x.insn.operandSize;
  const target = x.let(x.read(0).toI64());
  checkTarget(x, target);
  x.push(x.nextRip().toInt(intType(bits)), bits);
  x.jumpTo(target);
};

const ret: Semantics = (x) => {
  const bits = x.insn.operandSize;
  const target = x.let(x.top(bits).toI64());
  checkTarget(x, target);
  const popped = i64(bits / 8);
  x.popped(x.insn.operandCount > 0 ? popped.add(x.read(0, 64).toI64()) : popped);
  x.jumpTo(target);
};

/** Counts rCX down, its width being the address size, and branches while it is not zero and `also` holds. */
function loop(also?: 'equal' | 'unequal'): Semantics {
  return (x) => {
    const bits = x.insn.addressSize;
    const type = intType(bits);
    const count = x.let(x.reg(RCX, bits).sub(int(type, 1)).zeroExtend(bits));
    x.setReg(RCX, bits, count);
    const more = count.ne(int(type, 0));
    const zf = x.flags.zf();
    x.branchDirect(also === undefined ? more : more.and(also === 'equal' ? zf : zf.eqz()));
  };
}

const jcxz: Semantics = (x) => x.branchDirect(x.reg(RCX, x.insn.addressSize).eqz());

export const control: SemanticsTable = {
  Jcc: jcc, JMP: jmp, JMP_indirect: jmpIndirect, CALL: call, CALL_indirect: callIndirect, RET: ret,
  LOOP: loop(), LOOPE: loop('equal'), LOOPNE: loop('unequal'), JCXZ: jcxz,
}; // prettier-ignore
