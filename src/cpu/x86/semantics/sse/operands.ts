/**
 * What the SSE and AVX definitions share: the check that SSE is enabled, operands as vectors, byte immediates, work space in memory.
 */
import * as L from '../../../layout.ts';
import { type Expr, type FloatType, i32, load, v128Zero, type ValType } from '../../../../wasm/expr.ts';
import { intType, type Semantics, type SemanticsTable, type VectorPair, type X86 } from '../context.ts';
import { lowLane, type Vector, withFloatLane } from './simd.ts';

/** Raises #UD or #NM when CR0 and CR4 say so (SDM volume 3, chapter 14.3.1); what changes them ends a block. */
function requireSse(x: X86): void {
  // Of AVX the mode knows (MODE_AVX).
  if (isAvx(x) || !x.firstInBlock('sse')) return;
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

// ---- VEX forms ----
//
// A definition serves the legacy form of an instruction and its VEX forms. These differ in three things: a VEX form that computes
// with its destination has a first source of its own behind it; it clears what its destination has above the result; and it may
// do the same in both halves of ymm registers.

/** The definitions under their names, and under those of their VEX forms. */
export function both(table: SemanticsTable): SemanticsTable {
  return Object.fromEntries(
    Object.entries(table).flatMap(([name, definition]) => [
      [name, definition],
      [`V${name}`, definition],
    ]),
  );
}

export function isAvx(x: X86): boolean {
  return x.insn.row.avx === true;
}

/** Where a VEX form with a first source of its own has the operand that the legacy form has at `i`; 0 is that first source. */
export function place(x: X86, i: number): number {
  return isAvx(x) ? i + 1 : i;
}

/** Lower or upper half of a ymm register. */
export type Half = 0 | 1;
/** One vector, or both halves of 256 bits. */
export type Halves = readonly [Vector] | VectorPair;

function aligned(x: X86): boolean {
  return x.insn.row.unaligned !== true;
}

/** Operand `i` as a vector, or as two if it is 256 bits wide. */
export function halves(x: X86, i: number): Halves {
  return x.width(i) === 256 ? x.readVectorPair(i, aligned(x)) : [source(x, i)];
}

/** Writes all of operand 0, which has as many halves. */
export function putHalves(x: X86, values: Halves): void {
  const [low, high] = values;
  if (high === undefined) put(x, 0, low);
  else x.writeVectorPair(0, [low, high], aligned(x));
}

/** `compute` in every half. */
export function eachHalf(x: X86, values: Halves, compute: (value: Vector, half: Half) => Vector): Halves {
  const low = x.let(compute(values[0], 0));
  return values[1] === undefined ? [low] : [low, x.let(compute(values[1], 1))];
}

/**
 * Operand `i` as a vector. A memory operand narrower than 16 bytes is loaded as wide as it is, zeros above; one of 16 bytes
 * must be aligned unless the decode table says otherwise. Of a register all 128 bits are there.
 */
export function source(x: X86, i: number): Vector {
  const bits = x.width(i);
  if (!x.isMemory(i) || bits === 128) return x.readVector(i, aligned(x));
  const value = x.read(i);
  return x.let(lowLane(bits < 32 ? value.toInt(intType(32)) : value));
}

/** Writes all 128 bits of operand `i`, aligned likewise. */
export function put(x: X86, i: number, value: Vector): void {
  if (isAvx(x) && !x.isMemory(i)) x.writeVectorPair(i, [value, v128Zero]);
  else x.writeVector(i, value, aligned(x));
}

/** Writes a scalar result to operand 0; the rest of the register stays, or is the first source's. */
export function putScalar(x: X86, value: Expr<FloatType>): void {
  if (isAvx(x)) put(x, 0, withFloatLane(x.readVector(1), 0, value));
  else x.writeFloat(0, value);
}

/** Definition of an instruction whose destination becomes `compute(first source, second source)` in every half. */
export function binary(compute: (a: Vector, b: Vector, x: X86, half: Half) => Vector): Semantics {
  return (x) => {
    const b = halves(x, place(x, 1));
    const a = halves(x, place(x, 0));
    // INVARIANT: the sources are equally wide.
    putHalves(
      x,
      eachHalf(x, a, (value, half) => compute(value, b[half] as Vector, x, half)),
    );
  };
}

/** Definition of an instruction whose destination becomes `compute(source)` in every half. */
export function unary(compute: (a: Vector, x: X86, half: Half) => Vector): Semantics {
  return (x) =>
    putHalves(
      x,
      eachHalf(x, halves(x, 1), (value, half) => compute(value, x, half)),
    );
}

/** The immediate byte, which is the last operand: see `byteImmediate`. */
export function lastImmediate(x: X86): Immediate {
  return byteImmediate(x, x.insn.operandCount - 1);
}

/** A byte: known, or a value 0..255. */
export type Immediate = number | Expr<'i32'>;

/** What is left of an immediate without its lowest `bits`. */
export function without(x: X86, immediate: Immediate, bits: number): Immediate {
  return typeof immediate === 'number' ? immediate >> bits : x.let(immediate.shr_u(i32(bits)));
}

/** An immediate byte: a number where the tier knows it, else a value 0..255. */
export function byteImmediate(x: X86, i: number): Immediate {
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
