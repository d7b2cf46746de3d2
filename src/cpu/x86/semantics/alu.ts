/** Two-operand arithmetic and logic: ADD ADC SUB SBB CMP AND OR XOR TEST INC DEC NEG NOT. SDM volume 2. */
import { int } from '../../../wasm/expr.ts';
import { intType, type Semantics, type SemanticsTable } from './context.ts';

const add: Semantics = (x) => {
  const b = x.read(1);
  const { old, result } = x.modify(0, (a) => a.add(b));
  x.flags.add(x.width(0), old, b, result);
};

const adc: Semantics = (x) => {
  const b = x.read(1);
  const carry = x.let(x.flags.cf());
  const wideCarry = carry.toInt(intType(x.width(0)));
  const { old, result } = x.modify(0, (a) => a.add(b).add(wideCarry));
  x.flags.adc(x.width(0), old, b, result, carry);
};

const sub: Semantics = (x) => {
  const b = x.read(1);
  const { old, result } = x.modify(0, (a) => a.sub(b));
  x.flags.sub(x.width(0), old, b, result);
};

const sbb: Semantics = (x) => {
  const b = x.read(1);
  const borrow = x.let(x.flags.cf());
  const wideBorrow = borrow.toInt(intType(x.width(0)));
  const { old, result } = x.modify(0, (a) => a.sub(b).sub(wideBorrow));
  x.flags.sbb(x.width(0), old, b, result, borrow);
};

const cmp: Semantics = (x) => {
  const a = x.read(0);
  const b = x.read(1);
  x.flags.sub(x.width(0), a, b, x.let(a.sub(b)));
};

const and: Semantics = (x) => {
  const b = x.read(1);
  x.flags.logic(x.width(0), x.modify(0, (a) => a.and(b)).result);
};

const or: Semantics = (x) => {
  const b = x.read(1);
  x.flags.logic(x.width(0), x.modify(0, (a) => a.or(b)).result);
};

const xor: Semantics = (x) => {
  const b = x.read(1);
  x.flags.logic(x.width(0), x.modify(0, (a) => a.xor(b)).result);
};

const test: Semantics = (x) => {
  const a = x.read(0);
  x.flags.logic(x.width(0), x.let(a.and(x.read(1))));
};

const inc: Semantics = (x) => {
  const one = int(intType(x.width(0)), 1);
  x.flags.inc(x.width(0), x.modify(0, (a) => a.add(one)).result);
};

const dec: Semantics = (x) => {
  const one = int(intType(x.width(0)), 1);
  x.flags.dec(x.width(0), x.modify(0, (a) => a.sub(one)).result);
};

const neg: Semantics = (x) => {
  const zero = int(intType(x.width(0)), 0);
  const { old, result } = x.modify(0, (a) => zero.sub(a));
  x.flags.sub(x.width(0), zero, old, result);
};

const not: Semantics = (x) => {
  x.modify(0, (a) => a.not());
};

export const alu: SemanticsTable = {
  ADD: add, ADC: adc, SUB: sub, SBB: sbb, CMP: cmp, AND: and, OR: or, XOR: xor, TEST: test, INC: inc, DEC: dec, NEG: neg, NOT: not,
}; // prettier-ignore
