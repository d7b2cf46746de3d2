/**
 * Tier 1's translation context: the instructions of a region become one function, with general registers and flags in locals.
 *
 * - Registers that the region uses are loaded at its start; those it may change are written back at its one exit, so a fault
 *   anywhere leaves exactly the state before the faulting instruction. The two sets are known when everything is emitted,
 *   so these places are filled in last.
 * - A flag-setting instruction only remembers the expressions of its flags; they are computed where somebody looks: at an
 *   instruction that reads them, in the cold path of an exit, or at the end of the block.
 */
import * as L from '../layout.ts';
import { emitJumpCacheLookup, nothingRaised } from '../interp/interp-context.ts';
import { segmentIsFlat } from '../interp/address-form.ts';
import { linearThroughSegment } from '../interp/segment-check.ts';
import { type Expr, type FloatType, i32, i64, i64Halves, load, select, type ValType } from '../../wasm/expr.ts';
import type { FunctionBuilder, Label, Local } from '../../wasm/function-builder.ts';
import { stateOffset } from '../state-offset.ts';
import { type Insn, NO_REGISTER, OperandKind, RIP_BASE } from '../x86/decode/insn.ts';
import {
  type Access,
  type FlagPart,
  type Int,
  intType,
  type Linker,
  type Precision,
  type VectorPair,
  X86,
} from '../x86/semantics/context.ts';
import { FloatState } from './float-state.ts';
import type { RegionInsn } from './region.ts';
import { X87State } from './x87-state.ts';
import { VectorRegisters } from './vector-registers.ts';

const FLAG_OFFSET: Record<FlagPart, number> = {
  res: L.CPU_FLAG_RES,
  cf: L.CPU_FLAG_CF,
  ov: L.CPU_FLAG_OV,
  aux: L.CPU_FLAG_AUX,
};
const FLAG_PARTS: readonly FlagPart[] = ['res', 'cf', 'ov', 'aux'];

/** What state a region touches; complete when all its blocks are emitted. */
class StateUse {
  readonly used: Set<number> = new Set();
  readonly written: Set<number> = new Set();
  readonly flagsUsed: Set<FlagPart> = new Set();
  readonly flagsWritten: Set<FlagPart> = new Set();
}

/** How control leaves a basic block towards a page offset: the region compiler decides between a branch and an exit. */
export interface Edges {
  /** Whether the block at page offset `target` is in the region. */
  has(target: number): boolean;
  /** Whether the way there from the block being emitted leads back, so that the budget must be looked at. */
  isBack(target: number): boolean;
  /** Emits the transfer; may emit the target block, and all it dominates, in place. */
  go(target: number): void;
}

export class JitContext extends X86 {
  insn: Insn;
  readonly mode: number;
  private offset = 0;
  /** Instructions of the current block before this one. */
  private index = 0;
  private readonly use = new StateUse();
  private readonly handlerType: number;
  private readonly edges: Edges;
  private readonly registers = new Map<number, Local<'i64'>>();
  private readonly vectors: VectorRegisters;
  private readonly floats: FloatState;
  private readonly x87: X87State;
  /** What `changesInBlock` was told last, by subject. */
  private readonly facts = new Map<string, number>();
  private readonly seenInBlock = new Set<string>();
  private readonly flagLocals = new Map<FlagPart, Local<'i64'>>();
  private pending = new Map<FlagPart, Expr<'i64'>>();
  /** Expressions that `flagsIf` made. */
  private readonly conditional = new WeakSet<Expr>();
  private readonly ripPage: Local<'i64'>;
  private readonly tlb: Local<'i32'>;
  /** CPU_BUDGET while the region runs; the state has it outside and during calls that the host may see. */
  private readonly left: Local<'i32'>;
  /** Record to go on with after the exit; 0 = return to the dispatcher. */
  private readonly continuation: Local<'i32'>;
  private exit: Label | undefined;
  /** Control has left the block on all paths. */
  ended = false;

  constructor(f: FunctionBuilder, link: Linker, first: Insn, mode: number, handlerType: number, edges: Edges) {
    super(f, link);
    this.insn = first;
    this.mode = mode;
    this.handlerType = handlerType;
    this.edges = edges;
    this.floats = new FloatState(this);
    this.x87 = new X87State(f, this.cpu);
    this.vectors = new VectorRegisters(this, (key) => this.floats.forget(key));
    this.ripPage = f.local('i64');
    this.tlb = f.local('i32');
    this.continuation = f.local('i32');
    this.left = f.local('i32');
  }

  /** Emits the whole function around `body`. */
  function(body: () => void): void {
    this.f.block((exit) => {
      this.exit = exit;
      body();
    });
    this.f.prologue(() => {
      this.f.set(this.ripPage, this.state64(L.CPU_RIP_PAGE));
      this.f.set(this.tlb, this.state32(L.CPU_TLB_SET));
      this.f.set(this.left, this.state32(L.CPU_BUDGET));
      this.loadAll();
      this.floats.loadConstants();
    });
    this.storeAll();
    this.setState(32, L.CPU_BUDGET, this.left.get);
    const next = this.continuation.get;
    this.f.if(next.ne(i32(0)), () => {
      this.f.tailCallIndirect(this.handlerType, [this.cpu, next], load('i32', 32, next, L.REC_HANDLER));
    });
  }

  /** Begins the translation of `at` as instruction `index` of its block. */
  begin(at: RegionInsn, index: number): void {
    if (index > 0) this.vectors.takeSpilled();
    else this.vectors.forgetSpilled();
    this.insn = at.insn;
    this.offset = at.offset;
    this.index = index;
    if (index === 0) {
      this.ended = false;
      this.pending = new Map();
      this.flags.forget();
      this.f.releaseTemporaries();
      this.seenInBlock.clear();
      this.floats.forgetAll();
      this.x87.forget();
      this.facts.clear();
    }
  }

  override get inlines(): boolean {
    return true;
  }

  override firstInBlock(what: string): boolean {
    if (this.seenInBlock.has(what)) return false;
    this.seenInBlock.add(what);
    return true;
  }

  override changesInBlock(what: string, value: number): boolean {
    if (this.facts.get(what) === value) return false;
    this.facts.set(what, value);
    return true;
  }

  override forgetInBlock(): void {
    this.facts.clear();
  }

  // ---- the x87's state in locals ----

  override prepareX87(): void {
    this.x87.prepare();
  }

  override state<T extends ValType>(type: T, bits: number, offset: number): Expr<T> {
    const local = this.x87.at(offset);
    // INVARIANT: these fields are read as i32.
    return local === undefined ? super.state(type, bits, offset) : (local.get as Expr as Expr<T>);
  }

  override setState(bits: number, offset: number, value: Expr): void {
    const local = this.x87.at(offset);
    if (local === undefined) {
      super.setState(bits, offset, value);
      return;
    }
    // INVARIANT: these fields are i32.
    this.f.set(local, (value as Expr<'i32'>).and(i32(2 ** this.x87.width(offset) - 1)));
    super.setState(bits, offset, local.get);
  }

  // ---- registers and flags in locals ----

  private register(n: number): Local<'i64'> {
    let local = this.registers.get(n);
    if (local === undefined) {
      local = this.f.local('i64');
      this.registers.set(n, local);
    }
    this.use.used.add(n);
    return local;
  }

  private flagLocal(part: FlagPart): Local<'i64'> {
    let local = this.flagLocals.get(part);
    if (local === undefined) {
      local = this.f.local('i64');
      this.flagLocals.set(part, local);
    }
    this.use.flagsUsed.add(part);
    return local;
  }

  private loadAll(): void {
    this.vectors.loadAll();
    this.floats.loadBounds();
    for (const n of this.use.used) this.f.set(this.register(n), this.state64(L.CPU_GPR + n * 8));
    for (const part of this.use.flagsUsed) this.f.set(this.flagLocal(part), this.state64(FLAG_OFFSET[part]));
  }

  private storeAll(): void {
    this.vectors.storeAll();
    for (const n of this.use.written) this.setState(64, L.CPU_GPR + n * 8, this.register(n).get);
    for (const part of this.use.flagsWritten) this.setState(64, FLAG_OFFSET[part], this.flagLocal(part).get);
  }

  // ---- vector registers in locals ----

  override setXmm(n: number, value: Expr<'v128'>): void {
    this.vectors.set(n, value);
  }

  /** Number of the vector register that operand `i` is, or undefined. */
  private vectorOperand(i: number): number | undefined {
    const operand = this.operand(i);
    return operand.kind === OperandKind.xmm ? operand.reg : undefined;
  }

  override readVector(i: number, aligned?: boolean): Expr<'v128'> {
    const n = this.vectorOperand(i);
    return n === undefined ? super.readVector(i, aligned) : this.let(this.vectors.get(n));
  }

  override writeVector(i: number, value: Expr<'v128'>, aligned?: boolean): void {
    const n = this.vectorOperand(i);
    if (n === undefined) super.writeVector(i, value, aligned);
    else this.vectors.set(n, value);
  }

  override readVectorPair(i: number, aligned?: boolean): VectorPair {
    const n = this.vectorOperand(i);
    if (n === undefined) return super.readVectorPair(i, aligned);
    return [this.let(this.vectors.get(n)), this.let(this.vectors.get(n, 1))];
  }

  override writeVectorPair(i: number, value: VectorPair, aligned?: boolean): void {
    const n = this.vectorOperand(i);
    if (n === undefined) {
      super.writeVectorPair(i, value, aligned);
      return;
    }
    const high = this.let(value[1]);
    this.vectors.set(n, value[0]);
    this.vectors.set(n, high, 1);
  }

  override setHigh(n: number, value: Expr<'v128'>): void {
    this.vectors.set(n, value, 1);
  }

  override zeroHigh(count: number): void {
    this.vectors.zeroHigh(count);
  }

  override readFloat(i: number, type: FloatType): Expr<FloatType> {
    const n = this.vectorOperand(i);
    return n === undefined ? super.readFloat(i, type) : this.let(this.vectors.readFloat(n, type));
  }

  override writeFloat(i: number, value: Expr<FloatType>): void {
    const n = this.vectorOperand(i);
    if (n === undefined) super.writeFloat(i, value);
    else this.vectors.writeFloat(n, value);
  }

  // ---- floats ----

  override floatBound(bits: Precision): Int {
    return this.floats.scalar(bits);
  }

  override vectorBound(bits: Precision): Expr<'v128'> {
    return this.floats.vector(bits);
  }

  override refreshFloatBounds(): void {
    this.f.deferred(() => this.floats.loadBounds());
  }

  override vectorConstant(name: string, value: Expr<'v128'>): Expr<'v128'> {
    return this.floats.constant(name, value);
  }

  override holdsNoDenormal(i: number, bits: Precision, all: boolean): boolean {
    const n = this.vectorOperand(i);
    return n !== undefined && this.floats.holdsNoDenormal(n * 2, bits, all);
  }

  override noteNoDenormal(i: number, bits: Precision, all: boolean): void {
    const n = this.vectorOperand(i);
    if (n !== undefined) this.floats.note(n * 2, bits, all);
  }

  override noteCopy(from: number, to: number): void {
    const [source, target] = [this.vectorOperand(from), this.vectorOperand(to)];
    if (source !== undefined && target !== undefined) this.floats.copy(source * 2, target * 2);
  }

  override settleOdd(odd: Expr<'i32'>, finish: () => void): void {
    const how = this.let(odd);
    const leave = (): void => {
      const done = this.let(how.shr_u(i32(1)));
      this.f.if(done, finish);
      this.settleFlags();
      this.setState(64, L.CPU_RIP, select(done, this.nextRip(), this.thisRip()));
      this.f.set(this.left, this.left.get.sub(this.index === 0 ? done : done.add(i32(this.index))));
      if (this.stepping) this.f.if(done, () => this.trapIfStepping());
      this.leave();
    };
    this.f.if(how, leave, undefined, false);
  }

  flagPart(part: FlagPart): Expr<'i64'> {
    const pending = this.pending.get(part);
    if (pending === undefined) return this.flagLocal(part).get;
    return this.let(pending);
  }

  setFlagPart(part: FlagPart, value: Expr<'i64'>): void {
    // Temporaries are assigned once a block, so what the expression refers to stays; what reads memory is computed now.
    this.pending.set(part, value.volatile ? this.let(value) : value);
    this.use.flagsWritten.add(part);
    this.use.flagsUsed.add(part);
  }

  /** Puts what is pending into the locals, without forgetting that it is pending: for one of several ways out. */
  private settleFlags(): void {
    const values = FLAG_PARTS.flatMap((part) => {
      const value = this.pending.get(part);
      return value === undefined ? [] : [{ part, value: this.let(value) }];
    });
    for (const { part, value } of values) this.f.set(this.flagLocal(part), value);
  }

  /** Settles the flags for good: what follows reads the locals. */
  private commitFlags(): void {
    this.settleFlags();
    this.pending = new Map();
  }

  override if(condition: Expr<'i32'>, then: () => void, otherwise?: () => void): void {
    const truth = this.let(condition);
    this.commitFlags();
    super.if(
      truth,
      () => {
        then();
        this.commitFlags();
      },
      otherwise === undefined
        ? undefined
        : () => {
            otherwise();
            this.commitFlags();
          },
    );
  }

  override forFlags<T extends ValType>(value: Expr<T>): Expr<T> {
    return value.volatile ? this.let(value) : value;
  }

  /** No branch: the flags stay expressions, which choose between the new value and the one before. */
  override flagsIf(condition: Expr<'i32'>, set: () => void): void {
    const truth = this.let(condition);
    const before = new Map(FLAG_PARTS.map((part) => [part, this.pending.get(part)]));
    set();
    for (const part of FLAG_PARTS) {
      const old = before.get(part);
      const value = this.pending.get(part);
      if (value === undefined || value === old) continue;
      // Every exit computes what is pending, so what was conditional already is computed once, here.
      const kept = old === undefined ? this.flagLocal(part).get : this.conditional.has(old) ? this.let(old) : old;
      const chosen = select(truth, value, kept);
      this.conditional.add(chosen);
      this.pending.set(part, chosen);
    }
  }

  reg(n: number, bits: number): Int {
    return this.let(narrow(this.register(n).get, bits));
  }

  setReg(n: number, bits: number, value: Int): void {
    const local = this.register(n);
    this.use.written.add(n);
    if (bits >= 32) {
      this.f.set(local, value.toI64());
      return;
    }
    const kept = local.get.and(i64(bits === 8 ? ~0xff : ~0xffff));
    this.f.set(local, kept.or(value.toI64().zeroExtend(bits)));
  }

  protected readRegister(i: number, bits: number): Int {
    const operand = this.operand(i);
    if (operand.kind === OperandKind.gpr) return narrow(this.register(operand.reg).get, bits);
    if (operand.kind === OperandKind.gpr8high)
      return this.register(operand.reg).get.shr_u(i64(8)).toI32().and(i32(0xff));
    if (operand.kind === OperandKind.xmm) return this.vectors.readInt(operand.reg, bits);
    return load(intType(bits), bits, this.cpu, stateOffset(operand));
  }

  protected writeRegister(i: number, bits: number, value: Int): void {
    const operand = this.operand(i);
    if (operand.kind === OperandKind.gpr) {
      this.setReg(operand.reg, bits, value);
      return;
    }
    if (operand.kind === OperandKind.gpr8high) {
      const local = this.register(operand.reg);
      this.use.written.add(operand.reg);
      this.f.set(local, local.get.and(i64(~0xff00)).or(value.toI64().zeroExtend(8).shl(i64(8))));
      return;
    }
    if (operand.kind === OperandKind.xmm) {
      this.vectors.writeInt(operand.reg, bits, value);
      return;
    }
    this.setState(bits, stateOffset(operand), value);
    if (operand.kind === OperandKind.mmx) this.setState(16, stateOffset(operand) + 8, i32(0xffff));
  }

  registerAddress(i: number): Expr<'i32'> {
    const n = this.vectorOperand(i);
    if (n !== undefined) this.vectors.spill(n, this.operand(i).bytes === 32 ? 2 : 1);
    return this.cpu.add(i32(stateOffset(this.operand(i))));
  }

  vectorIndexAddress(): Expr<'i32'> {
    return this.cpu.add(i32(L.CPU_XMM + this.insn.mem.vectorIndex * L.XMM_STRIDE));
  }

  indexScale(): Expr<'i32'> {
    return i32(this.insn.mem.scale);
  }

  farSelector(): Expr<'i32'> {
    return i32(this.insn.imm2);
  }

  immediate(i: number, bits: number): Int {
    const { insn } = this;
    if (this.operand(i).kind === OperandKind.imm2) return bits === 64 ? i64(insn.imm2) : i32(insn.imm2);
    return bits === 64 ? i64Halves(insn.immLow, insn.immHigh) : i32(insn.immLow);
  }

  // ---- addresses ----

  private address(): Expr<'i64'> {
    const { mem, length } = this.insn;
    if (mem.base === RIP_BASE) return this.ripPage.get.add(i64(this.offset + length + mem.disp));
    let sum: Expr<'i64'> | undefined;
    if (mem.base !== NO_REGISTER) sum = this.register(mem.base).get;
    if (mem.index !== NO_REGISTER) {
      const index = this.register(mem.index).get.shl(i64(mem.scale));
      sum = sum === undefined ? index : sum.add(index);
    }
    const displacement = i64Halves(mem.disp, mem.dispHigh);
    return sum === undefined ? displacement : sum.add(displacement);
  }

  effectiveAddress(): Expr<'i64'> {
    return this.let(this.address().zeroExtend(this.insn.addressSize));
  }

  linear(bytes: number, access: Access): Expr<'i64'> {
    return this.linearAt(this.effectiveAddress(), bytes, access);
  }

  linearAt(offset: Expr<'i64'>, bytes: number, access: Access): Expr<'i64'> {
    return this.linearIn(this.insn.mem.segment, offset, bytes, access);
  }

  linearIn(segment: number, offset: Expr<'i64'>, bytes: number, access: Access): Expr<'i64'> {
    this.stackAccess = X86.stackFlag(segment);
    if (segmentIsFlat(segment, this.mode)) return this.let(offset);
    if (this.is64) return this.let(offset.add(this.state64(L.CPU_SEG + segment * L.SEG_SIZE + L.SEG_BASE)));
    return linearThroughSegment(this, i32(segment), offset, bytes, access);
  }

  segmentNumber(): Expr<'i32'> {
    const { insn } = this;
    for (let i = 0; i < insn.operandCount; i++) if (this.isMemory(i)) return i32(insn.mem.segment);
    const override = insn.segmentOverride;
    return i32(override < 0 || (this.is64 && override < L.FS) ? L.DS : override);
  }

  override tlbSet(): Expr<'i32'> {
    return this.tlb.get;
  }

  // ---- rip ----

  private ripAt(pageOffset: number): Expr<'i64'> {
    const rip = this.ripPage.get.add(i64(pageOffset));
    return this.let(this.is64 ? rip : rip.zeroExtend(32));
  }

  thisRip(): Expr<'i64'> {
    return this.ripAt(this.offset);
  }

  nextRip(): Expr<'i64'> {
    const rip = this.ripAt(this.offset + this.insn.length);
    return (this.mode & L.MODE_SIZE_MASK) === L.MODE_16 ? this.let(rip.zeroExtend(16)) : rip;
  }

  directTarget(): Expr<'i64'> {
    const rip = this.ripAt(this.offset + this.insn.length + this.insn.immLow);
    return this.is64 ? rip : this.let(rip.zeroExtend(this.insn.operandSize));
  }

  // ---- leaving ----

  private leave(): void {
    if (this.exit === undefined) throw new Error('code outside JitContext.function');
    this.f.branch(this.exit);
  }

  private spend(instructions: number): Expr<'i32'> {
    this.f.set(this.left, this.left.get.sub(i32(instructions)));
    return this.left.get;
  }

  /**
   * Around a call that the host may see: CPU_BUDGET says exactly what is done before this instruction, so that clocks can be read,
   * and what becomes of it there (attention is wanted) counts.
   */
  private budgeted(call: () => void): void {
    this.setState(32, L.CPU_BUDGET, this.index === 0 ? this.left.get : this.left.get.sub(i32(this.index)));
    call();
    const left = this.state32(L.CPU_BUDGET);
    this.f.set(this.left, this.index === 0 ? left : left.add(i32(this.index)));
  }

  override micro<T extends ValType>(result: T, name: string, ...args: Expr[]): Expr<T> {
    if (hostIsBlindTo(name)) {
      const done = super.micro(result, name, ...args);
      if (changesX87(name)) this.x87.reload();
      return done;
    }
    let value: Expr<T> | undefined;
    this.budgeted(() => {
      value = super.micro(result, name, ...args);
    });
    // INVARIANT: budgeted calls what it is given.
    return value!;
  }

  override microVoid(name: string, ...args: Expr[]): void {
    if (hostIsBlindTo(name)) {
      super.microVoid(name, ...args);
      if (changesX87(name)) this.x87.reload();
    } else this.budgeted(() => super.microVoid(name, ...args));
  }

  leaveHere(): void {
    this.settleFlags();
    this.setState(64, L.CPU_RIP, this.ripPage.get.add(i64(this.offset)));
    if (this.index > 0) this.spend(this.index);
    this.leave();
  }

  private leaveDone(): void {
    this.setRipNext();
    this.settleFlags();
    this.spend(this.index + 1);
    this.trapIfStepping();
    this.leave();
  }

  leaveNext(): void {
    this.leaveDone();
    this.ended = true;
  }

  leaveNextIf(condition: Expr<'i32'>): void {
    this.f.if(condition, () => this.leaveDone(), undefined, false);
  }

  goOn(): void {
    this.emitJump(this.state64(L.CPU_RIP), nothingRaised(this));
    this.ended = true;
  }

  override tlbSetChanged(): void {
    this.f.set(this.tlb, this.state32(L.CPU_TLB_SET));
  }

  private get stepping(): boolean {
    return (this.mode & L.MODE_TF) !== 0;
  }

  private trapIfStepping(): void {
    if (this.stepping) this.microVoid('singleStepTrap');
  }

  jumpDirect(): void {
    const target = this.offset + this.insn.length + this.insn.immLow;
    if (this.insn.row.name === 'CALL' || !this.goWithin(target)) this.jumpTo(this.directTarget());
    this.ended = true;
  }

  branchDirect(condition: Expr<'i32'>): void {
    const truth = this.let(condition);
    this.f.if(truth, () => {
      const target = this.offset + this.insn.length + this.insn.immLow;
      if (!this.goWithin(target)) this.emitJump(this.directTarget());
    });
  }

  /** Goes to the block at page offset `target` after this instruction, when the region holds it. */
  private goWithin(target: number): boolean {
    if (!this.is64 && (this.insn.operandSize === 16 || (this.mode & L.MODE_SIZE_MASK) === L.MODE_16)) return false;
    return this.transfer(target, this.index + 1);
  }

  private transfer(target: number, instructions: number): boolean {
    if (this.stepping || !this.edges.has(target)) return false;
    this.settleFlags();
    const left = this.spend(instructions);
    if (this.edges.isBack(target)) {
      const over = (): void => {
        this.setState(64, L.CPU_RIP, this.ripAt(target));
        this.leave();
      };
      this.f.if(left.lt_s(i32(0)), over, undefined, false);
    }
    const { insn, offset, index, pending, ended } = this;
    this.edges.go(target);
    Object.assign(this, { insn, offset, index, pending, ended });
    this.flags.forget();
    return true;
  }

  /** The block ends here without a jump: goes on at page offset `target`. */
  fallThrough(target: number): void {
    this.vectors.takeSpilled();
    if (!this.transfer(target, this.index + 1)) this.emitJump(this.ripAt(target));
  }

  jumpTo(rip: Expr<'i64'>): void {
    this.emitJump(rip);
    this.ended = true;
  }

  private emitJump(target: Expr<'i64'>, condition?: Expr<'i32'>): void {
    const rip = this.let(target);
    this.settleFlags();
    const left = this.spend(this.index + 1);
    if (!this.stepping) {
      emitJumpCacheLookup(
        this,
        rip,
        left,
        (record) => {
          this.f.set(this.continuation, record);
          this.leave();
        },
        condition,
      );
    }
    this.setState(64, L.CPU_RIP, rip);
    this.trapIfStepping();
    this.leave();
  }

  // ---- microcode that sees everything ----

  microState(name: string, faults: boolean, ...args: Expr[]): void {
    if (!faults) {
      this.synchronised(() => this.microVoid(name, ...args));
      return;
    }
    const status = this.microStateValue(name, ...args);
    this.f.if(status.ne(i32(0)), () => this.leaveHere(), undefined, false);
  }

  microStateValue(name: string, ...args: Expr[]): Expr<'i32'> {
    let status: Expr<'i32'> = i32(0);
    this.synchronised(() => {
      status = this.micro('i32', name, ...args);
    });
    return status;
  }

  /** Runs `call` with all state in memory, and takes it from there afterwards. */
  private synchronised(call: () => void): void {
    this.facts.clear();
    this.commitFlags();
    this.flags.forget();
    // What the region changes further down may have been changed already, in an earlier turn of a loop.
    this.f.deferred(() => this.storeAll());
    call();
    this.x87.reload();
    this.f.deferred(() => this.loadAll());
  }
}

/** Microcode that computes from and into registers alone: no memory, no device, no clock. */
function hostIsBlindTo(name: string): boolean {
  return (name.startsWith('sse') && name !== 'sseMaskedStore') || name.startsWith('fpu') || name.startsWith('mmx');
}

/** Microcode of the x87, or that uses its registers. */
function changesX87(name: string): boolean {
  return !name.startsWith('sse');
}

/** Low `bits` of a 64-bit register, zero-extended in their container. */
function narrow(value: Expr<'i64'>, bits: number): Int {
  if (bits === 64) return value;
  return value.toI32().zeroExtend(bits);
}
