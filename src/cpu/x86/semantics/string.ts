/**
 * String instructions. One element at a time is written here; repetition and ports are microcode (string.ts there), which
 * leaves at the instruction whenever interrupts should be looked at. SDM volume 2.
 */
import * as L from '../../layout.ts';
import { type Expr, i32, i64, load, select } from '../../../wasm/expr.ts';
import { type Int, intType, RAX, RDI, RSI, type Semantics, type SemanticsTable, type X86 } from './context.ts';

const RFLAGS_DF_SHIFT = 10;

/** Width of the elements in bits. */
function elementBits(x: X86): number {
  return x.width(0);
}

/** The step of an index register: the element's size, negative with DF set. */
function step(x: X86, bytes: number): Expr<'i64'> {
  const df = x.state32(L.CPU_RFLAGS).shr_u(i32(RFLAGS_DF_SHIFT)).and(i32(1));
  return x.let(select(df, i64(-bytes), i64(bytes)));
}

function source(x: X86, bits: number): Int {
  const offset = x.let(x.reg(RSI, x.insn.addressSize).toI64());
  return x.let(x.mem.load(sourceAddress(x, offset, bits / 8), bits));
}

/** seg:rSI, the segment being DS unless overridden. */
function sourceAddress(x: X86, offset: Expr<'i64'>, bytes: number): Expr<'i64'> {
  const number = x.segmentNumber();
  if (x.is64) {
    const base = load('i64', 64, x.cpu.add(number.mul(i32(L.SEG_SIZE))), L.CPU_SEG + L.SEG_BASE);
    return x.let(offset.add(select(number.ge_u(i32(L.FS)), base, i64(0))));
  }
  x.microOrFault('segmentAccess', number, offset, i32(bytes), i32(0));
  return x.let(load('i64', 64, x.cpu, L.CPU_SCRATCH));
}

function destAddress(x: X86, bits: number, access: 'read' | 'write'): Expr<'i64'> {
  const offset = x.let(x.reg(RDI, x.insn.addressSize).toI64());
  return x.let(x.linearIn(L.ES, offset, bits / 8, access));
}

function advance(x: X86, register: number, by: Expr<'i64'>): void {
  const bits = x.insn.addressSize;
  x.setReg(register, bits, x.let(x.reg(register, bits).toI64().add(by)).toInt(intType(bits)));
}

function repeated(x: X86): boolean {
  return x.insn.rep !== 0;
}

/** REPE (1) or REPNE (0) for CMPS and SCAS. */
function whileEqual(x: X86): Expr<'i32'> {
  return i32(x.insn.rep === 0xf3 ? 1 : 0);
}

function sizes(x: X86, bits: number): Expr<'i32'>[] {
  return [i32(bits / 8), i32(x.insn.addressSize)];
}

const movs: Semantics = (x) => {
  const bits = elementBits(x);
  if (repeated(x)) return x.microState('repMovs', true, ...sizes(x, bits), x.segmentNumber());
  const by = step(x, bits / 8);
  const value = source(x, bits);
  x.mem.store(destAddress(x, bits, 'write'), bits, value);
  advance(x, RSI, by);
  advance(x, RDI, by);
};

const stos: Semantics = (x) => {
  const bits = elementBits(x);
  if (repeated(x)) return x.microState('repStos', true, ...sizes(x, bits));
  const by = step(x, bits / 8);
  x.mem.store(destAddress(x, bits, 'write'), bits, x.reg(RAX, bits));
  advance(x, RDI, by);
};

const lods: Semantics = (x) => {
  const bits = elementBits(x);
  if (repeated(x)) return x.microState('repLods', true, ...sizes(x, bits), x.segmentNumber());
  const by = step(x, bits / 8);
  const value = source(x, bits);
  x.setReg(RAX, bits, value);
  advance(x, RSI, by);
};

const scas: Semantics = (x) => {
  const bits = elementBits(x);
  if (repeated(x)) return x.microState('repScas', true, ...sizes(x, bits), whileEqual(x));
  const by = step(x, bits / 8);
  const a = x.let(x.reg(RAX, bits));
  const b = x.let(x.mem.load(destAddress(x, bits, 'read'), bits));
  advance(x, RDI, by);
  x.flags.sub(bits, a, b, x.let(a.sub(b)));
};

const cmps: Semantics = (x) => {
  const bits = elementBits(x);
  if (repeated(x)) return x.microState('repCmps', true, ...sizes(x, bits), x.segmentNumber(), whileEqual(x));
  const by = step(x, bits / 8);
  const a = source(x, bits);
  const b = x.let(x.mem.load(destAddress(x, bits, 'read'), bits));
  advance(x, RSI, by);
  advance(x, RDI, by);
  x.flags.sub(bits, a, b, x.let(a.sub(b)));
};

const ins: Semantics = (x) => {
  x.microState('ins', true, ...sizes(x, x.width(0)), i32(repeated(x) ? 1 : 0));
};

const outs: Semantics = (x) => {
  x.microState('outs', true, ...sizes(x, x.width(1)), x.segmentNumber(), i32(repeated(x) ? 1 : 0));
};

export const string: SemanticsTable = {
  MOVS: movs, STOS: stos, LODS: lods, SCAS: scas, CMPS: cmps, INS: ins, OUTS: outs,
}; // prettier-ignore
