/** Exchanges that compare or add, and the instructions that set single flags: XADD CMPXCHG CMPXCHG8B CMPXCHG16B CLC … SAHF. SDM volume 2. */
import * as L from '../../layout.ts';
import { atomic, type Expr, i32, i64, load, select } from '../../../wasm/expr.ts';
import { type Int, RAX, RBX, RCX, RDX, type Semantics, type SemanticsTable, type X86 } from './context.ts';
import { ARITHMETIC_FLAGS, CF, OF } from './flags.ts';

const ZF = 0x40;
const DF = 0x400;

const xadd: Semantics = (x) => {
  const bits = x.width(0);
  const added = x.read(1);
  if (x.isMemory(0)) {
    const { old, result } = x.modify(0, (a) => a.add(added));
    x.write(1, old);
    x.flags.add(bits, old, added, result);
    return;
  }
  // The same register twice ends up with the sum: the destination is written last.
  const old = x.read(0);
  const result = x.let(old.add(added));
  x.write(1, old);
  x.write(0, result);
  x.flags.add(bits, old, added, result);
};

/** Memory is written either way, with its old value when the comparison fails; a register only when it succeeds. */
const cmpxchg: Semantics = (x) => {
  const bits = x.width(0);
  const source = x.read(1);
  const accumulator = x.reg(RAX, bits);
  let old: Int;
  if (x.isMemory(0)) {
    old = x.modify(0, (a) => select(a.eq(accumulator), source, a)).old;
    // When they are equal, writing the accumulator changes nothing, unless it zero-extends.
    if (bits === 32) x.setReg(RAX, 64, x.let(select(old.eq(accumulator), x.reg64(RAX), old.toI64())));
    else x.setReg(RAX, bits, old);
  } else {
    old = x.read(0);
    x.if(
      old.eq(accumulator),
      () => x.write(0, source),
      () => x.setReg(RAX, bits, old),
    );
  }
  x.flags.sub(bits, accumulator, old, x.let(accumulator.sub(old)));
};

function setZero(x: X86, equal: Expr<'i32'>): void {
  const others = x.flags.toBits().and(i32(ARITHMETIC_FLAGS & ~ZF));
  x.flags.fromBits(x.let(others.or(equal.shl(i32(6)))));
}

const cmpxchg8b: Semantics = (x) => {
  const pair = (high: number, low: number): Expr<'i64'> => x.let(x.reg64(high).shl(i64(32)).or(x.reg(low, 32).toI64()));
  const expected = pair(RDX, RAX);
  const replacement = pair(RCX, RBX);
  const address = x.linear(8, 'write');
  const { old } = x.mem.modify(address, 64, (a) => select(a.eq(expected), replacement, a.toI64()), x.insn.lock);
  const seen = old.toI64();
  const equal = x.let(seen.eq(expected));
  x.if(equal.eqz(), () => {
    x.setReg(RAX, 32, seen.toI32());
    x.setReg(RDX, 32, seen.shr_u(i64(32)).toI32());
  });
  setZero(x, equal);
};

const cmpxchg16b: Semantics = (x) => {
  const address = x.linear(16, 'write');
  x.raiseIf(address.toI32().and(i32(15)).ne(i32(0)), L.EXC_GP);
  const host = x.mem.hostForUpdate(address, 128);
  const lock = (value: number): Expr<'i32'> => atomic('xchg', 'i32', 32, i32(L.MACHINE_WIDE_LOCK), i32(value));
  if (x.insn.lock) x.f.loop((again) => x.f.branchIf(again, lock(1)));
  const low = x.let(load('i64', 64, host.get));
  const high = x.let(load('i64', 64, host.get, 8));
  const equal = x.let(low.eq(x.reg64(RAX)).and(high.eq(x.reg64(RDX))));
  const [newLow, newHigh] = [x.reg64(RBX), x.reg64(RCX)];
  x.f.store(64, host.get, select(equal, newLow, low));
  x.f.store(64, host.get, select(equal, newHigh, high), 8);
  if (x.insn.lock) x.f.drop(lock(0));
  x.mem.commitUpdate(host);
  x.if(equal.eqz(), () => {
    x.setReg(RAX, 64, low);
    x.setReg(RDX, 64, high);
  });
  setZero(x, equal);
};

const setDirection =
  (value: number): Semantics =>
  (x) =>
    x.setState(32, L.CPU_RFLAGS, x.state32(L.CPU_RFLAGS).and(i32(~DF)).or(i32(value)));

const lahf: Semantics = (x) => {
  const low = x.flags.toBits().and(i32(0xd5)).or(i32(2));
  x.setReg(
    RAX,
    16,
    x
      .reg(RAX, 8)
      .toI32()
      .or(low.shl(i32(8))),
  );
};

const sahf: Semantics = (x) => {
  const given = x
    .reg(RAX, 16)
    .toI32()
    .shr_u(i32(8))
    .and(i32(ARITHMETIC_FLAGS & 0xff));
  x.flags.fromBits(x.let(given.or(x.flags.toBits().and(i32(OF)))));
};

export const atomicAndFlags: SemanticsTable = {
  XADD: xadd,
  CMPXCHG: cmpxchg,
  CMPXCHG8B: cmpxchg8b,
  CMPXCHG16B: cmpxchg16b,
  CLC: (x) => x.flags.put({ cf: i32(0) }),
  STC: (x) => x.flags.put({ cf: i32(CF) }),
  CMC: (x) => x.flags.put({ cf: x.let(x.flags.cf().xor(i32(1))) }),
  CLD: setDirection(0),
  STD: setDirection(DF),
  LAHF: lahf,
  SAHF: sahf,
};
