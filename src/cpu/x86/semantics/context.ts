/**
 * What an instruction's definition is written against: one guest instruction being turned into WebAssembly.
 *
 * A definition is a function `(x: X86) => void` that runs once for each translation and emits code through `x`. It is run by
 * two subclasses: the interpreter's (operands are read from the decoded record when the code runs) and the JIT's (operands
 * are known). So a definition may look at kinds, widths, prefixes and mode in `x.insn`, but not at register numbers or
 * immediates there (exceptions: `segment`, `control`, `debug`, `st` and `constant` operands, which are always known).
 *
 * Rules that keep instructions precise:
 *   1. Whatever can fault comes before anything architectural changes: read, compute, store to memory, then registers, flags.
 *   2. `read` and friends give values that may be used any number of times; pure trees built on them may too, at the price
 *      of being evaluated again (use `x.let`).
 *   3. Registers and flags change inside `x.if` only, not inside `x.f.if`, so that the flag state stays known.
 *
 * A whole definition:
 *
 *     const add: Semantics = (x) => {
 *       const b = x.read(1);
 *       const { old, result } = x.modify(0, (a) => a.add(b));
 *       x.flags.add(x.width(0), old, b, result);
 *     };
 */
import * as L from '../../layout.ts';
import {
  callExpr,
  type Expr,
  type FloatType,
  i32,
  i64,
  int,
  load,
  op,
  SIMD,
  v128Zero,
  type ValType,
} from '../../../wasm/expr.ts';
import type { FunctionBuilder, FunctionRef, Local } from '../../../wasm/function-builder.ts';
import { type Insn, type Operand, OperandKind } from '../decode/insn.ts';
import { Flags } from './flags.ts';
import { GuestMemory } from './guest-memory.ts';
import { type Int, intType } from './int.ts';

export { type Int, intType } from './int.ts';

export type Semantics = (x: X86) => void;
/** Definitions of a family by the row names of the decode tables. */
export type SemanticsTable = Readonly<Record<string, Semantics>>;

/** The numbers of registers that definitions name. */
export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

/** Where the effective address of this instruction's memory operand comes from, when a definition asks `x.linear`. */
export type Access = 'read' | 'write';

/** Width of a float. */
export type Precision = 32 | 64;
/** What plain float arithmetic is held against: of scalars and of vectors of each width. */
export type FloatBound = '32' | '64' | '32x4' | '64x2';

/** Low and high half of a 256-bit value. */
export type VectorPair = readonly [Expr<'v128'>, Expr<'v128'>];

/** Bytes that were looked up together with others: `offset` bytes from `host`, or, when that is 0, to be looked up after all. */
export interface GroupedAccess {
  readonly host: Expr<'i32'>;
  readonly offset: number;
  /** They are as aligned as they must be. */
  readonly even: boolean;
}

/** Functions of the microcode and the host that generated code calls; resolved to imports of the module under construction. */
export interface Linker {
  function(name: string, params: readonly ValType[], results: readonly ValType[]): FunctionRef;
}

export abstract class X86 {
  readonly f: FunctionBuilder;
  readonly link: Linker;
  /** The instruction at hand. In the interpreter a representative of all that share its handler. */
  abstract readonly insn: Insn;
  /** MODE_* bits this code is made for. */
  abstract readonly mode: number;
  readonly flags: Flags;
  readonly mem: GuestMemory;
  /** Address of the vCPU's state. */
  readonly cpu: Expr<'i32'>;

  constructor(f: FunctionBuilder, link: Linker) {
    this.f = f;
    this.link = link;
    this.cpu = f.param(0, 'i32').get;
    this.flags = new Flags(this);
    this.mem = new GuestMemory(this);
  }

  // ---- facts ----

  operand(i: number): Operand {
    const operand = this.insn.operands[i];
    if (operand === undefined || i >= this.insn.operandCount)
      throw new RangeError(`${this.insn.row.name} has no operand ${i}`);
    return operand;
  }
  /** Width of operand `i` in bits. */
  width(i: number): number {
    return this.operand(i).bytes * 8;
  }
  private readWidth(i: number): number {
    return this.operand(i).kind === OperandKind.imm ? this.width(0) : this.width(i);
  }
  isMemory(i: number): boolean {
    return this.operand(i).kind === OperandKind.mem;
  }
  get is64(): boolean {
    return (this.mode & L.MODE_SIZE_MASK) === L.MODE_64;
  }
  /** Width of the stack pointer in bits. */
  get stackBits(): number {
    return this.is64 ? 64 : this.mode & L.MODE_STACK32 ? 32 : 16;
  }

  // ---- values ----

  /** Evaluates now; usable any number of times. */
  let<T extends ValType>(value: Expr<T>): Expr<T> {
    return this.f.let(value);
  }

  /** A value that only flags depend on, a pure tree on reusable values: evaluated now, or wherever the flags are looked at. */
  forFlags<T extends ValType>(value: Expr<T>): Expr<T> {
    return this.let(value);
  }

  /** Conditional code that may set registers and flags. */
  if(condition: Expr<'i32'>, then: () => void, otherwise?: () => void): void {
    this.flags.forget();
    this.f.if(
      condition,
      () => {
        then();
        this.flags.forget();
      },
      otherwise === undefined
        ? undefined
        : () => {
            otherwise();
            this.flags.forget();
          },
    );
  }

  /** Lets `set`, which does nothing but compute and set flags, count only when `condition` holds. */
  flagsIf(condition: Expr<'i32'>, set: () => void): void {
    this.if(condition, set);
  }

  // ---- registers by number ----

  /** General register `n` at `bits` wide, zero-extended in its container. */
  abstract reg(n: number, bits: number): Int;
  /** Sets it; 32-bit writes clear the upper half, narrower ones keep the rest. */
  abstract setReg(n: number, bits: number, value: Int): void;
  /** The whole register as i64. */
  reg64(n: number): Expr<'i64'> {
    return this.reg(n, 64).toI64();
  }

  // ---- operands ----

  /**
   * Integer value of operand `i` (general or mmx register, xmm operand of 4 or 8 bytes, memory, immediate), zero-extended to
   * its container. `bits` overrides the operand's width; an immediate is as wide as the first operand, extended as encoded.
   */
  read(i: number, bits: number = this.readWidth(i)): Int {
    const operand = this.operand(i);
    switch (operand.kind) {
      case OperandKind.mem:
        return this.mem.load(this.linear(bits / 8, 'read'), bits);
      case OperandKind.imm:
      case OperandKind.imm2:
        return this.immediate(i, bits);
      case OperandKind.constant:
        return int(intType(bits), operand.reg);
      default:
        return this.let(this.readRegister(i, bits));
    }
  }

  /** Writes operand `i`; may fault for memory, so registers and flags come after. An xmm destination keeps its other bytes. */
  write(i: number, value: Int, bits: number = this.width(i)): void {
    if (this.isMemory(i)) this.mem.store(this.linear(bits / 8, 'write'), bits, value);
    else this.writeRegister(i, bits, value);
  }

  /**
   * Reads operand `i`, computes, writes back: atomic when the instruction has LOCK (or `locked` says so), with write
   * permission checked before anything. `compute` must be pure; it may be emitted inside a loop.
   */
  modify(i: number, compute: (old: Int) => Int, locked: boolean = this.insn.lock): { old: Int; result: Int } {
    const bits = this.width(i);
    if (this.isMemory(i)) return this.mem.modify(this.linear(bits / 8, 'write'), bits, compute, locked);
    const old = this.let(this.readRegister(i, bits));
    const result = this.let(compute(old));
    this.writeRegister(i, bits, result);
    return { old, result };
  }

  /** 128 bits of operand `i`: xmm register, or memory (#GP when `aligned` is asked for and it is not). */
  readVector(i: number, aligned = true): Expr<'v128'> {
    if (this.isMemory(i)) {
      const address = this.linear(16, 'read');
      return this.mem.loadVector(address, aligned);
    }
    return this.let(load('v128', 128, this.registerAddress(i)));
  }

  writeVector(i: number, value: Expr<'v128'>, aligned = true): void {
    if (this.isMemory(i)) {
      const address = this.linear(16, 'write');
      this.mem.storeVector(address, value, aligned);
    } else {
      this.f.store(128, this.registerAddress(i), value);
    }
  }

  /** 256 bits of operand `i`: ymm register, or memory (#GP when `aligned` is asked for and it is not). */
  readVectorPair(i: number, aligned = false): VectorPair {
    if (this.isMemory(i)) {
      const address = this.linear(32, 'read');
      return this.mem.loadVectorPair(address, aligned);
    }
    const address = this.registerAddress(i);
    return [this.let(load('v128', 128, address)), this.let(load('v128', 128, address, 16))];
  }

  writeVectorPair(i: number, value: VectorPair, aligned = false): void {
    const [low, high] = [this.let(value[0]), this.let(value[1])];
    if (this.isMemory(i)) {
      const address = this.linear(32, 'write');
      this.mem.storeVectorPair(address, [low, high], aligned);
    } else {
      const address = this.registerAddress(i);
      this.f.store(128, address, low);
      this.f.store(128, address, high, 16);
    }
  }

  /** The low lane of an xmm operand, or memory, as a float, bit for bit. */
  readFloat(i: number, type: FloatType): Expr<FloatType> {
    const bits = type === 'f64' ? 64 : 32;
    if (this.isMemory(i)) return this.mem.loadFloat(this.linear(bits / 8, 'read'), type);
    return this.let(load(type, bits, this.registerAddress(i)));
  }
  /** Sets the low lane of an xmm register operand; its other bytes stay. */
  writeFloat(i: number, value: Expr<FloatType>): void {
    this.f.store(value.type === 'f64' ? 64 : 32, this.registerAddress(i), value);
  }

  // ---- plain float arithmetic (sse/ordinary.ts) ----

  /** Bound of a scalar result; 0 while MXCSR wants exact arithmetic. */
  floatBound(bits: Precision): Int {
    return bits === 64 ? this.state64(L.CPU_SSE_BOUND64) : this.state32(L.CPU_SSE_BOUND32);
  }
  /** The same for the lanes of a vector. */
  vectorBound(bits: Precision): Expr<'v128'> {
    return this.state('v128', 128, bits === 64 ? L.CPU_SSE_BOUNDS64 : L.CPU_SSE_BOUNDS32);
  }
  /** The bounds in the state may have changed: comes after what may raise PE or load MXCSR. */
  refreshFloatBounds(): void {}
  /** A constant that is wanted often; `name` says which. */
  vectorConstant(_name: string, value: Expr<'v128'>): Expr<'v128'> {
    return value;
  }
  /** Half `half` of register operand `i` is known to hold no denormal number in its lowest lane, or in all. */
  holdsNoDenormal(_i: number, _bits: Precision, _all: boolean, _half?: 0 | 1): boolean {
    return false;
  }
  /**
   * A variable that is not zero when the same is known, for registers that it is known of from one turn of a loop to the next. Who
   * finds it zero looks, and sets it.
   */
  denormalFlag(_i: number, _bits: Precision, _all: boolean, _half?: 0 | 1): Local<'i32'> | undefined {
    return undefined;
  }
  /** From here on it is. Only where every way past `settleOdd` bears that out. */
  noteNoDenormal(_i: number, _bits: Precision, _all: boolean, _half?: 0 | 1): void {}
  /** Vector register operand `to` has just become what `from` is. */
  noteCopy(_from: number, _to: number): void {}
  /**
   * After exact microcode that tells how it ended (SSE_*): leaves here when an exception is pending; after a denormal number a
   * tier may leave behind this instruction, once `finish` has written its result.
   */
  settleOdd(odd: Expr<'i32'>, _finish: () => void): void {
    this.f.if(odd.eq(i32(L.SSE_FAULT)), () => this.leaveHere(), undefined, false);
  }

  /** Sets xmm register `n`. */
  setXmm(n: number, value: Expr<'v128'>): void {
    this.setState(128, L.CPU_XMM + n * L.XMM_STRIDE, value);
  }

  /** Sets bits 255:128 of ymm register `n`. */
  setHigh(n: number, value: Expr<'v128'>): void {
    this.setState(128, L.CPU_XMM + n * L.XMM_STRIDE + 16, value);
  }

  /** Clears bits 255:128 of the first `count` ymm registers. */
  zeroHigh(count: number): void {
    for (let n = 0; n < count; n++) this.setHigh(n, v128Zero);
  }

  /** Address in wasm memory of an xmm or mmx register operand's first byte. */
  abstract registerAddress(i: number): Expr<'i32'>;
  /** The place in the state of vector register operand `i`, and of a gather's vector of indices: for `microState`. */
  abstract stateAddress(i: number): Expr<'i32'>;
  abstract vectorIndexAddress(): Expr<'i32'>;
  /** A gather's vector of indices. */
  readVectorIndex(): VectorPair {
    const address = this.vectorIndexAddress();
    return [this.let(load('v128', 128, address)), this.let(load('v128', 128, address, 16))];
  }
  /** Shift of the index, 0..3. */
  abstract indexScale(): Expr<'i32'>;
  protected abstract readRegister(i: number, bits: number): Int;
  protected abstract writeRegister(i: number, bits: number, value: Int): void;
  /** Immediate, sign-extended as the encoding says, in the container of `bits` (upper bits beyond `bits` may be ones). */
  abstract immediate(i: number, bits: number): Int;

  /** Selector of the far pointer operand; its offset is `immediate(0, 32)`. */
  abstract farSelector(): Expr<'i32'>;

  // ---- memory operand ----

  /**
   * The segment that the latest `linear` or `linearIn` went through, as GuestMemory's slow path wants it: ACCESS_STACK << 8
   * for SS, whose faults are #SS, else 0.
   */
  stackAccess: Expr<'i32'> = i32(0);

  protected static stackFlag(segment: number): Expr<'i32'> {
    return i32(segment === L.SS ? L.ACCESS_STACK << 8 : 0);
  }

  /** Effective address without segment, cut to the address size (LEA). */
  abstract effectiveAddress(): Expr<'i64'>;
  /** Linear address of the memory operand; outside flat modes checks the segment for an access of `bytes`. */
  abstract linear(bytes: number, access: Access): Expr<'i64'>;
  /** Linear address of `offset`, cut to the address size, in the memory operand's segment, checked likewise. */
  abstract linearAt(offset: Expr<'i64'>, bytes: number, access: Access): Expr<'i64'>;
  /** Linear address of `offset` in segment `segment` (0..5), checked likewise. */
  abstract linearIn(segment: number, offset: Expr<'i64'>, bytes: number, access: Access): Expr<'i64'>;
  /** Number of the memory or string operand's segment, after override, as a value. */
  abstract segmentNumber(): Expr<'i32'>;

  // ---- stack ----

  /** Linear address of `sp`, which is rSP and `_distance` bytes. */
  protected stackAddress(sp: Expr<'i64'>, _distance: number, bytes: number, access: Access): Expr<'i64'> {
    return this.linearIn(L.SS, sp, bytes, access);
  }

  /** How to reach `bytes` at `address`, which this gave out, without a look into the TLB of their own. */
  grouped(_address: Expr<'i64'>, _bytes: number, _write: boolean, _aligned: boolean): GroupedAccess | undefined {
    return undefined;
  }

  /** Pushes: the store first, then rSP. `bits` is the operand size (16, 32, 64). */
  push(value: Int, bits: number): void {
    const sp = this.let(
      this.reg(RSP, this.stackBits)
        .toI64()
        .sub(i64(bits / 8))
        .zeroExtend(this.stackBits),
    );
    this.mem.store(this.stackAddress(sp, -bits / 8, bits / 8, 'write'), bits, value);
    this.setReg(RSP, this.stackBits, sp.toInt(intType(this.stackBits)));
  }

  /** Reads the top of the stack without moving rSP: call `popped` when nothing can fault any more. */
  top(bits: number): Int {
    return this.mem.load(this.stackAddress(this.reg(RSP, this.stackBits).toI64(), 0, bits / 8, 'read'), bits);
  }

  /** rSP += bytes, within the stack's width. */
  popped(bytes: number | Expr<'i64'>): void {
    const step = typeof bytes === 'number' ? i64(bytes) : bytes;
    this.setReg(RSP, this.stackBits, this.reg(RSP, this.stackBits).toI64().add(step).toInt(intType(this.stackBits)));
  }

  pop(bits: number): Int {
    const value = this.top(bits);
    this.popped(bits / 8);
    return value;
  }

  // ---- other state, by offset (layout.ts) ----

  state<T extends ValType>(type: T, bits: number, offset: number): Expr<T> {
    return load(type, bits, this.cpu, offset);
  }
  state32(offset: number): Expr<'i32'> {
    return this.state('i32', 32, offset);
  }
  state64(offset: number): Expr<'i64'> {
    return this.state('i64', 64, offset);
  }
  /** Stores to state that no tier keeps in locals: everything but general registers and arithmetic flags. */
  setState(bits: number, offset: number, value: Expr): void {
    this.f.store(bits, this.cpu, value, offset);
  }

  /** Long sequences are worth their place in the code. */
  get inlines(): boolean {
    return false;
  }

  /** False when `value` is what was said of `what` last in the same basic block. */
  changesInBlock(_what: string, _value: number): boolean {
    return true;
  }
  /** Nothing said to `changesInBlock` holds any more. */
  forgetInBlock(): void {}

  /** TOP, tags and status word of the x87 are about to be used. */
  prepareX87(): void {}
  /** Whether ST(i) is known to hold something (true) or nothing. */
  x87Holds(_i: number): boolean | undefined {
    return undefined;
  }
  /** The x87 instruction at hand leaves something in the registers `filled`, counted from the old TOP, and moves TOP by `step`. */
  x87Done(_step: -1 | 0 | 1, _filled: readonly number[]): void {}
  /** Nonzero when a waiting x87 instruction faults: CR0.EM or TS is set, or an unmasked exception is pending (FSW.ES). */
  x87Trouble(): Expr<'i32'> {
    const unavailable = this.state32(L.CPU_CR0).and(i32(0xc));
    return unavailable.or(this.state('i32', 16, L.CPU_FSW).and(i32(0x80)));
  }
  /** Nonzero unless FCW has the common precision (64 bits), rounding (to nearest) and mask of PE. */
  x87Unusual(): Expr<'i32'> {
    return this.state('i32', 16, L.CPU_FCW).and(i32(0xf20)).xor(i32(0x320));
  }

  /** False when it is certain that `what` was asked for before in the same basic block. */
  firstInBlock(_what: string): boolean {
    return true;
  }

  // ---- leaving ----

  /** Current privilege level, when known from the mode. */
  get cpl(): number {
    return (this.mode >> L.MODE_CPL_SHIFT) & 3;
  }

  /** Raises an exception at this instruction and leaves. Nothing after it is reached. */
  raise(vector: number, errorCode: Expr<'i32'> | number = 0): void {
    this.setState(32, L.CPU_EXC, i32(vector));
    this.setState(32, L.CPU_EXC_ERROR, typeof errorCode === 'number' ? i32(errorCode) : errorCode);
    this.leaveHere();
  }

  raiseIf(condition: Expr<'i32'>, vector: number, errorCode: Expr<'i32'> | number = 0): void {
    this.f.if(condition, () => this.raise(vector, errorCode), undefined, false);
  }

  /** Leaves generated code at this instruction, which is not done: an exception is pending, or it is to be tried again. */
  abstract leaveHere(): void;
  /** This instruction is done, and the accelerator is wanted before the next (CPU_EXIT is set). Block end. */
  abstract leaveNext(): void;
  /** The same if `condition` holds; else the block goes on. */
  abstract leaveNextIf(condition: Expr<'i32'>): void;
  /**
   * This instruction is done and CPU_RIP has been set by microcode, with whatever mode and mapping it changed: goes on there, or to
   * the dispatcher when something is pending. Block end.
   */
  abstract goOn(): void;
  /** This instruction is done, execution goes on after it, but mode, mapping or interrupts may have changed. Block end. */
  goOnNext(): void {
    this.setRipNext();
    this.goOn();
  }
  /** The TLB set was changed by microcode. */
  tlbSetChanged(): void {
    // The set is read anew for each access, unless a tier says otherwise.
  }

  // ---- instruction pointer and jumps ----

  /** rip of the next instruction, as pushed by CALL (64-bit, or cut to the code size). */
  abstract nextRip(): Expr<'i64'>;
  /** rip of this instruction. */
  abstract thisRip(): Expr<'i64'>;
  /** Stores nextRip into CPU_RIP, for microcode that transfers control. */
  setRipNext(): void {
    this.setState(64, L.CPU_RIP, this.nextRip());
  }
  /** Goes to the direct target of operand 0 (`rel`). */
  abstract jumpDirect(): void;
  /** Goes to it when the condition holds, else on to the next instruction. */
  abstract branchDirect(condition: Expr<'i32'>): void;
  /** The target of operand 0 (`rel`) as a value, cut to the operand size. */
  abstract directTarget(): Expr<'i64'>;
  /** Goes to `rip` (near; a non-canonical or out-of-limit target faults there). The value is cut to the operand size by the caller. */
  abstract jumpTo(rip: Expr<'i64'>): void;

  // ---- microcode ----

  /** Calls a function of the microcode, `cpu` first, that touches no general register or arithmetic flag. */
  micro<T extends ValType>(result: T, name: string, ...args: Expr[]): Expr<T> {
    const all = [this.cpu, ...args];
    return this.let(
      this.f.callValue(
        result,
        this.link.function(
          name,
          all.map((a) => a.type),
          [result],
        ),
        all,
      ),
    );
  }
  /** Calls microcode whose result depends on `args` alone; evaluated where it is used, as often as it is used. */
  microPure<T extends ValType>(result: T, name: string, ...args: Expr[]): Expr<T> {
    return callExpr(
      result,
      this.link.function(
        name,
        args.map((a) => a.type),
        [result],
      ).index,
      args,
      true,
    );
  }
  /** Same without result. */
  microVoid(name: string, ...args: Expr[]): void {
    const all = [this.cpu, ...args];
    this.f.call(
      this.link.function(
        name,
        all.map((a) => a.type),
        [],
      ),
      all,
    );
  }
  /** Same, and leaves here when it returns nonzero (an exception is pending). */
  microOrFault(name: string, ...args: Expr[]): void {
    const status = this.micro('i32', name, ...args);
    this.f.if(status.ne(i32(0)), () => this.leaveHere(), undefined, false);
  }
  /**
   * Calls microcode that may read and write general registers, flags and everything else. When it can fault (`faults`), it
   * returns i32 and nonzero leaves here. Values read earlier from registers stay what they were.
   */
  abstract microState(name: string, faults: boolean, ...args: Expr[]): void;
  /** The same with its i32 result, which is not looked at. */
  abstract microStateValue(name: string, ...args: Expr[]): Expr<'i32'>;

  /** Address of the TLB set that data accesses go through now. */
  tlbSet(): Expr<'i32'> {
    return this.state32(L.CPU_TLB_SET);
  }

  // ---- storage of the flags, used by Flags only ----

  /** The four parts of the lazy flags as variables: locals in the JIT, state in the interpreter. */
  abstract flagPart(part: FlagPart): Expr<'i64'>;
  abstract setFlagPart(part: FlagPart, value: Expr<'i64'>): void;
  /** All four parts, just set, can also be had from these (see lazyKind); `source` undefined: CF as it is now. */
  setLazyFlags(_kind: number, _result: Expr<'i64'>, _source: Expr<'i64'> | undefined): void {
    // The interpreter has computed them.
  }
}

export type FlagPart = 'res' | 'cf' | 'ov' | 'aux';
export type { Local };
/** Vector operation by its opcode in the SIMD space. */
export function simd(opcode: number, ...args: Expr[]): Expr<'v128'> {
  return op('v128', SIMD + opcode, ...args);
}
