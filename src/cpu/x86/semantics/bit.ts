/** Bit tests and scans: BT BTS BTR BTC BSF BSR POPCNT LZCNT TZCNT. SDM volume 2. */
import { type Expr, i32, i64, int, select } from '../../../wasm/expr.ts';
import { OperandKind } from '../decode/insn.ts';
import { type Int, intType, type Semantics, type SemanticsTable, type X86 } from './context.ts';

/**
 * Address and bit number of a BT-like operand in memory: a register offset reaches any bit of a string that begins at the
 * effective address, an immediate one stays within the operand.
 */
function bitAddress(x: X86, bits: number, access: 'read' | 'write'): { address: Expr<'i64'>; bit: Int } {
  const type = intType(bits);
  const offset = x.read(1, bits);
  const bit = x.let(offset.and(int(type, bits - 1)));
  if (x.operand(1).kind === OperandKind.imm) return { address: x.linear(bits / 8, access), bit };
  const shift = Math.log2(bits);
  const units = offset.toI64().signExtend(bits).shr_s(i64(shift));
  const at = x.effectiveAddress().add(units.shl(i64(shift - 3)));
  return { address: x.linearAt(x.let(at.zeroExtend(x.insn.addressSize)), bits / 8, access), bit };
}

function bitTest(change?: (old: Int, mask: Int) => Int): Semantics {
  return (x) => {
    const bits = x.width(0);
    const type = intType(bits);
    const one = int(type, 1);
    let old: Int;
    let bit: Int;
    if (x.isMemory(0)) {
      const at = bitAddress(x, bits, change === undefined ? 'read' : 'write');
      bit = at.bit;
      const mask = x.let(one.shl(bit));
      old =
        change === undefined
          ? x.mem.load(at.address, bits)
          : x.mem.modify(at.address, bits, (v) => change(v, mask), x.insn.lock).old;
    } else {
      bit = x.let(x.read(1, bits).and(int(type, bits - 1)));
      const mask = x.let(one.shl(bit));
      old = change === undefined ? x.read(0) : x.modify(0, (v) => change(v, mask)).old;
    }
    x.flags.put({ cf: x.forFlags(old.shr_u(bit).toI32().and(i32(1))) });
  };
}

/** A source of zero leaves the destination as it was (documented by AMD, done by all). */
function scan(index: (value: Int, bits: number) => Int): Semantics {
  return (x) => {
    const bits = x.width(0);
    const source = x.read(1);
    const some = source.ne(int(source.type, 0));
    // The whole register, so that a 32-bit one is not even zero-extended.
    if (bits === 16) x.write(0, select(some, index(source, bits), x.read(0)));
    else x.write(0, x.let(select(some, index(source, bits).toI64(), x.read(0, 64).toI64())), 64);
    x.flags.put({ bits, result: source, cf: i32(0), of: i32(0) });
  };
}

/** Result of a counting instruction: CF = the source is zero (LZCNT, TZCNT), ZF = the result is. */
function counted(x: X86, source: Int, count: Int, carry: boolean): void {
  const result = x.let(count);
  x.write(0, result);
  const cf = carry ? source.eq(int(source.type, 0)) : i32(0);
  x.flags.put({ bits: x.width(0), result, cf, of: i32(0) });
}

const popcnt: Semantics = (x) => {
  const source = x.read(1);
  const result = x.let(source.popcnt());
  x.write(0, result);
  // SF and PF are cleared too: only "zero or not" may be left of the result.
  x.flags.fromBits(source.eq(int(source.type, 0)).shl(i32(6)));
};

const tzcnt: Semantics = (x) => {
  const bits = x.width(0);
  const source = x.read(1);
  const guarded = bits === 16 ? source.or(int('i32', 0x10000)) : source;
  counted(x, source, guarded.ctz(), true);
};

const lzcnt: Semantics = (x) => {
  const bits = x.width(0);
  const source = x.read(1);
  counted(x, source, bits === 16 ? source.clz().sub(int('i32', 16)) : source.clz(), true);
};

export const bit: SemanticsTable = {
  BT: bitTest(),
  BTS: bitTest((old, mask) => old.or(mask)),
  BTR: bitTest((old, mask) => old.and(mask.not())),
  BTC: bitTest((old, mask) => old.xor(mask)),
  BSF: scan((value) => value.ctz()),
  BSR: scan((value) => int(value.type, value.type === 'i64' ? 63 : 31).sub(value.clz())),
  POPCNT: popcnt,
  TZCNT: tzcnt,
  LZCNT: lzcnt,
};
