/** Data movement: MOV and its extending forms, LEA, XCHG, stack, conditional moves and sets, sign extension of the accumulator. SDM volume 2. */
import { i32, i64, int, select } from '../../../wasm/expr.ts';
import { type Int, intType, RAX, RBP, RDX, RSP, type Semantics, type SemanticsTable } from './context.ts';

const mov: Semantics = (x) => x.write(0, x.read(1, x.width(0)));

const movzx: Semantics = (x) => x.write(0, x.read(1).toInt(intType(x.width(0))));

const movsx: Semantics = (x) => {
  const narrow = x.width(1);
  x.write(
    0,
    x
      .read(1)
      .toInt(intType(x.width(0)))
      .signExtend(narrow),
  );
};

/** With a 16-bit operand size AMD's processors, as this one calls itself, still read 32 bits; Intel's read 16. */
const movsxd: Semantics = (x) => {
  const bits = x.width(0);
  x.write(0, x.read(1, 32).toInt(intType(bits)).signExtend(32));
};

const lea: Semantics = (x) => x.write(0, x.effectiveAddress().toInt(intType(x.width(0))), x.width(0));

/** With memory always locked, LOCK prefix or not. */
const xchg: Semantics = (x) => {
  const memory = x.isMemory(1) ? 1 : 0;
  const register = 1 - memory;
  const value = x.read(register);
  const { old } = x.modify(memory, () => value, true);
  x.write(register, old);
};

/** Immediates are sign-extended to the operand size; segment registers zero-extended. */
const push: Semantics = (x) => {
  const bits = x.insn.operandSize;
  x.push(x.read(0, bits), bits);
};

const pop: Semantics = (x) => {
  const bits = x.insn.operandSize;
  const value = x.top(bits);
  if (!x.isMemory(0)) {
    // POP rSP: the value read wins over the increment.
    x.popped(bits / 8);
    x.write(0, value, bits);
    return;
  }
  // The destination's address is computed with rSP already moved, and a fault must leave rSP as it was.
  const before = x.let(x.reg(RSP, x.stackBits));
  x.popped(bits / 8);
  const offset = x.effectiveAddress();
  x.setReg(RSP, x.stackBits, before);
  const address = x.linearAt(offset, bits / 8, 'write');
  x.mem.store(address, bits, value);
  x.popped(bits / 8);
};

const leave: Semantics = (x) => {
  const bits = x.insn.operandSize;
  const frame = x.let(x.reg(RBP, x.stackBits).toI64());
  const saved = x.mem.load(x.linearIn(2, frame, bits / 8, 'read'), bits);
  x.setReg(RSP, x.stackBits, frame.add(i64(bits / 8)).toInt(intType(x.stackBits)));
  x.setReg(RBP, bits, saved);
};

/** The source is read, and may fault, whatever the condition; a 32-bit destination is zero-extended either way. */
const cmov: Semantics = (x) => {
  const source = x.read(1);
  const old = x.read(0);
  x.write(0, select(x.flags.condition(x.insn.condition), source, old));
};

const setcc: Semantics = (x) => x.write(0, x.flags.condition(x.insn.condition));

const bswap: Semantics = (x) => {
  const bits = x.width(0);
  const value = x.read(0);
  x.write(0, bits === 16 ? int('i32', 0) : byteSwapped(value, bits));
};

/** Bytes of a 16, 32 or 64-bit value reversed. */
export function byteSwapped(value: Int, bits: number): Int {
  if (bits === 16) {
    return value
      .shr_u(int(value.type, 8))
      .and(int(value.type, 0xff))
      .or(value.and(int(value.type, 0xff)).shl(int(value.type, 8)));
  }
  if (bits === 32) {
    const v = value.toI32();
    return v
      .rotl(i32(8))
      .and(i32(0x00ff00ff))
      .or(v.rotr(i32(8)).and(i32(0xff00ff00 | 0)));
  }
  const v = value.toI64();
  const low = v.toI32();
  const high = v.shr_u(i64(32)).toI32();
  return byteSwapped(low, 32).toI64().shl(i64(32)).or(byteSwapped(high, 32).toI64());
}

const movbe: Semantics = (x) => x.write(0, x.let(byteSwapped(x.read(1), x.width(0))));

/** CBW, CWDE, CDQE by operand size. */
const cbw: Semantics = (x) => {
  const bits = x.insn.operandSize;
  x.setReg(RAX, bits, x.reg(RAX, bits).signExtend(bits / 2));
};

/** CWD, CDQ, CQO by operand size. */
const cwd: Semantics = (x) => {
  const bits = x.insn.operandSize;
  const value = x.reg(RAX, bits).signExtend(bits);
  x.setReg(RDX, bits, value.shr_s(int(value.type, bits === 64 ? 63 : 31)));
};

const nop: Semantics = () => undefined;

const xlat: Semantics = (x) => {
  const { addressSize } = x.insn;
  const offset = x.let(x.reg64(3).add(x.reg(RAX, 8).toI64()).zeroExtend(addressSize));
  x.setReg(RAX, 8, x.mem.load(x.linearAt(offset, 1, 'read'), 8));
};

export const move: SemanticsTable = {
  MOV: mov, MOVZX: movzx, MOVSX: movsx, MOVSXD: movsxd, MOVNTI: mov, LEA: lea, XCHG: xchg, PUSH: push, POP: pop, LEAVE: leave, CMOVcc: cmov,
  SETcc: setcc, BSWAP: bswap, MOVBE: movbe, CBW: cbw, CWD: cwd, NOP: nop, PAUSE: nop, XLAT: xlat,
}; // prettier-ignore
