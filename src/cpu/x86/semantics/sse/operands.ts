/**
 * What the SSE definitions share: the check that SSE is enabled, operands as vectors, byte immediates, work space in memory.
 */
import * as L from '../../../layout.ts';
import { type Expr, i32, load, type ValType } from '../../../../wasm/expr.ts';
import { intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { lowLane, type Vector } from './simd.ts';

/** Raises #UD or #NM when CR0 and CR4 say so (SDM volume 3, chapter 14.3.1); what changes them ends a block. */
function requireSse(x: X86): void {
  if (!x.firstInBlock('sse')) return;
  const fault = x.let(x.state32(L.CPU_SSE_FAULT));
  x.f.if(fault, () => {
    x.setState(32, L.CPU_EXC, fault);
    x.setState(32, L.CPU_EXC_ERROR, i32(0));
    x.leaveHere();
  });
}

/** The definitions, each with the check before it. */
export function checked(table: SemanticsTable): SemanticsTable {
  const entries = Object.entries(table).map(([name, definition]): [string, Semantics] => [
    name,
    (x) => {
      requireSse(x);
      definition(x);
    },
  ]);
  return Object.fromEntries(entries);
}

/**
 * Operand `i` as a vector. A memory operand narrower than 16 bytes is loaded as wide as it is, zeros above; one of 16 bytes
 * must be aligned unless the decode table says otherwise. Of a register all 128 bits are there.
 */
export function source(x: X86, i: number): Vector {
  const bits = x.width(i);
  if (!x.isMemory(i) || bits === 128) return x.readVector(i, x.insn.row.unaligned !== true);
  const value = x.read(i);
  return x.let(lowLane(bits < 32 ? value.toInt(intType(32)) : value));
}

/** Writes all of operand `i`, aligned likewise. */
export function put(x: X86, i: number, value: Vector): void {
  x.writeVector(i, value, x.insn.row.unaligned !== true);
}

/** Definition of an instruction whose destination becomes `compute(destination, source)`. */
export function binary(compute: (a: Vector, b: Vector, x: X86) => Vector): Semantics {
  return (x) => {
    const b = source(x, 1);
    put(x, 0, compute(source(x, 0), b, x));
  };
}

/** Definition of an instruction whose destination becomes `compute(source)`. */
export function unary(compute: (a: Vector, x: X86) => Vector): Semantics {
  return (x) => put(x, 0, compute(source(x, 1), x));
}

/** An immediate byte: a number where the tier knows it, else a value 0..255. */
export function byteImmediate(x: X86, i: number): number | Expr<'i32'> {
  const value = x.immediate(i, 8).toI32();
  return value.constant === undefined ? x.let(value.and(i32(0xff))) : value.constant & 0xff;
}

/** The same as a value in any case. */
export function byteValue(x: X86, i: number): Expr<'i32'> {
  const value = byteImmediate(x, i);
  return typeof value === 'number' ? i32(value) : value;
}

/** Address of the work space: 48 bytes, not kept over memory accesses, nor the whole of it over microcode calls. */
export function scratch(x: X86, offset = 0): Expr<'i32'> {
  return x.cpu.add(i32(L.CPU_SCRATCH + offset));
}

export function putScratch(x: X86, offset: number, value: Vector): void {
  x.setState(128, L.CPU_SCRATCH + offset, value);
}

/** 16 bytes of the work space at a byte offset known only at run time. */
export function scratchAt(x: X86, offset: Expr<'i32'>): Vector {
  return x.let(load('v128', 128, x.cpu.add(offset), L.CPU_SCRATCH));
}

/**
 * `quick` where `sure` holds; else `exact` runs (it may leave the instruction), and what it put at the beginning of the work
 * space is the value.
 */
export function quickOr<T extends ValType>(x: X86, sure: Expr<'i32'>, quick: Expr<T>, exact: () => void): Expr<T> {
  const result = x.f.temporary(quick.type);
  const bits = { i32: 32, i64: 64, f32: 32, f64: 64, v128: 128 }[quick.type];
  x.f.if(
    sure,
    () => x.f.set(result, quick),
    () => {
      exact();
      x.f.set(result, load(quick.type, bits, scratch(x)));
    },
  );
  return result.get;
}
