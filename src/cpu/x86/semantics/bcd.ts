/**
 * Decimal adjustments: DAA DAS AAA AAS AAM AAD, and SALC. SDM volume 2. Outside 64-bit code only.
 * Flags that the SDM leaves undefined follow the result in AL (SF ZF PF) or become 0 (OF CF AF).
 */
import * as L from '../../layout.ts';
import { type Expr, i32, int, select } from '../../../wasm/expr.ts';
import { RAX, type Semantics, type SemanticsTable, type X86 } from './context.ts';

function al(x: X86): Expr<'i32'> {
  return x.reg(RAX, 8).toI32();
}

/** AF, or a low digit that is none. */
function lowDigitOff(x: X86, value: Expr<'i32'>): Expr<'i32'> {
  return x.let(value.and(i32(15)).gt_u(i32(9)).or(x.flags.af()));
}

/** DAA (+1) and DAS (-1). */
function adjustPacked(direction: 1 | -1): Semantics {
  return (x) => {
    const old = al(x);
    const oldCf = x.let(x.flags.cf());
    const low = lowDigitOff(x, old);
    const high = x.let(old.gt_u(i32(0x99)).or(oldCf));
    const change = low.mul(i32(6 * direction)).add(high.mul(i32(0x60 * direction)));
    const result = x.let(old.add(change).and(i32(0xff)));
    // DAS keeps the borrow of its first step; DAA's carry there implies its second step's.
    const cf = direction === 1 ? high : x.let(high.or(low.and(old.lt_u(i32(6)))));
    x.setReg(RAX, 8, result);
    x.flags.put({ bits: 8, result, cf, of: i32(0), af: low });
  };
}

/** AAA (+1) and AAS (-1): the low digit into AL, its carry into AH. */
function adjustUnpacked(direction: 1 | -1): Semantics {
  return (x) => {
    const ax = x.reg(RAX, 16).toI32();
    const off = lowDigitOff(x, ax);
    const result = x.let(ax.add(off.mul(i32(0x106 * direction))).and(i32(0xff0f)));
    x.setReg(RAX, 16, result);
    x.flags.put({ bits: 8, result, cf: off, of: i32(0), af: off });
  };
}

const aam: Semantics = (x) => {
  const base = x.let(x.read(0, 8).toI32().and(i32(0xff)));
  x.raiseIf(base.eqz(), L.EXC_DE);
  const value = al(x);
  const digit = x.let(value.rem_u(base));
  x.setReg(RAX, 16, value.div_u(base).shl(i32(8)).or(digit));
  x.flags.put({ bits: 8, result: digit, cf: i32(0), of: i32(0), af: i32(0) });
};

const aad: Semantics = (x) => {
  const base = x.read(0, 8).toI32().and(i32(0xff));
  const ax = x.reg(RAX, 16).toI32();
  const result = x.let(ax.add(ax.shr_u(i32(8)).mul(base)).and(i32(0xff)));
  x.setReg(RAX, 16, result);
  x.flags.put({ bits: 8, result, cf: i32(0), of: i32(0), af: i32(0) });
};

/** AL = all ones if CF, else zero. */
const salc: Semantics = (x) => x.setReg(RAX, 8, select(x.flags.cf(), int('i32', 0xff), i32(0)));

export const bcd: SemanticsTable = {
  DAA: adjustPacked(1), DAS: adjustPacked(-1), AAA: adjustUnpacked(1), AAS: adjustUnpacked(-1), AAM: aam, AAD: aad, SALC: salc,
}; // prettier-ignore
