/**
 * Tier 1's translation context: the instructions of a region become one function, with general registers and flags in locals.
 *
 * - Registers are loaded where the region is entered, those that are used from there on; where a block leaves the region, what
 *   may have changed by then is written back, so a fault anywhere leaves exactly the state before the faulting instruction.
 *   The sets are known when everything is emitted (register-use.ts), so these places are filled in last.
 * - The instruction budget is a local too; around calls that the host may see it is in the state.
 * - Flags: region-flags.ts. Vector registers: vector-registers.ts.
 */
import * as L from '../layout.ts';
import { emitJumpCacheLookup, isReturn, nothingRaised } from '../interp/interp-context.ts';
import { segmentIsFlat } from '../interp/address-form.ts';
import { linearThroughSegment } from '../interp/segment-check.ts';
import { type Expr, type FloatType, i32, i64, i64Halves, load, select, type ValType } from '../../wasm/expr.ts';
import type { FunctionBuilder, Label, Local } from '../../wasm/function-builder.ts';
import { PAGE } from '../page.ts';
import { stateOffset } from '../state-offset.ts';
import { type Insn, NO_REGISTER, OperandKind, RIP_BASE } from '../x86/decode/insn.ts';
import {
  type Access,
  type FlagPart,
  type GroupedAccess,
  RSP,
  type Int,
  intType,
  type Linker,
  type Precision,
  type VectorPair,
  X86,
} from '../x86/semantics/context.ts';
import type { DispatchMap } from './dispatch-maps.ts';
import { AccessGroups } from './access-groups.ts';
import { FloatState } from './float-state.ts';
import { type FlagForm, RegionFlags } from './region-flags.ts';
import { KeySet, RegisterUse, VECTOR_KEYS } from './register-use.ts';
import type { BasicBlock, RegionInsn, RegionPage } from './region.ts';
import { X87State } from './x87-state.ts';
import { VectorRegisters } from './vector-registers.ts';

/**
 * Translations that may wait for a return: each has a frame on the host's stack. One call more, and all of them are left, so that
 * a guest which calls and does not return (a thread is switched, a stack unwound) costs no more than that.
 */
const MAX_FRAMES = 200;
/** Bits of TLB_PPN above the page number. */
const TLB_PPN_FLAG_BITS = 4;

/** A way from the block being emitted to another of the region. */
export interface Way {
  readonly target: number;
  /** Leads back, so that the budget must be looked at. */
  readonly back: boolean;
  /** Control comes back from elsewhere: all registers are in the state. */
  readonly fromState: boolean;
  /** The target is emitted right there, for this alone: it goes on with what is known here. Otherwise: how it wants the flags. */
  readonly flags: FlagForm | 'known';
  /** Pages of the target that the block being emitted does not lie in. */
  readonly newPages: readonly number[];
}

/** How indirect jumps come back into a region with several entries. */
export interface Again {
  /** How its entries want the flags. */
  readonly flags: FlagForm;
  readonly map: DispatchMap | undefined;
}

/** What the region compiler knows of the block being emitted. */
export interface Edges {
  readonly block: BasicBlock;
  readonly pages: readonly RegionPage[];
  /** When indirect jumps may come back into the region. */
  readonly again: Again | undefined;
  way(target: number, fromState?: boolean): Way;
  /** The block being emitted is in a loop that does nothing to this vector register but float arithmetic. */
  steady(vector: number): boolean;
  /** Emits the transfer; may emit the target block, and all it dominates, in place. */
  go(way: Way): void;
  /** Emits the transfer to the entry with this number, or to the one at the goal (`entryByAddress`). */
  dispatch(entry?: Expr<'i32'>): void;
}

export class JitContext extends X86 {
  insn: Insn;
  readonly mode: number;
  private offset = 0;
  /** Instructions of the current block before this one. */
  private index = 0;
  private readonly use = new RegisterUse();
  private readonly handlerType: number;
  private readonly edges: Edges;
  private readonly registers = new Map<number, Local<'i64'>>();
  private readonly vectors: VectorRegisters;
  private readonly floats: FloatState;
  private readonly x87: X87State;
  /** The x87 instruction that was begun last. */
  private x87Insn: Insn | undefined;
  /** What `changesInBlock` was told last, by subject. */
  private readonly facts = new Map<string, number>();
  private readonly groups: AccessGroups;
  private readonly seenInBlock = new Set<string>();
  private readonly regionFlags: RegionFlags;
  /** Linear address of the page that region addresses count from, as a rip. */
  private readonly ripPage: Local<'i64'>;
  /** Bit i: page i of the region is still what it was translated from. */
  private readonly verified: Local<'i32'>;
  private readonly tlb: Local<'i32'>;
  /** CPU_BUDGET while the region runs; the state has it outside and during calls that the host may see. */
  private readonly left: Local<'i32'>;
  /** rip to go on at, wherever the region is left. */
  private readonly goal: Local<'i64'>;
  /** 1: not by way of the dispatcher, if the jump cache knows the goal. */
  private readonly onward: Local<'i32'>;
  private exit: Label | undefined;
  /** Where the block being emitted writes back what may have changed, on the way to the exit, and the block that has this place. */
  private blockExit: Label | undefined;
  private scope = -1;
  /** Parts of the flags that were set for the block that comes next. */
  private handed = new KeySet();
  /** Control has left the block on all paths. */
  ended = false;

  constructor(f: FunctionBuilder, link: Linker, first: Insn, mode: number, handlerType: number, edges: Edges) {
    super(f, link);
    this.insn = first;
    this.mode = mode;
    this.handlerType = handlerType;
    this.edges = edges;
    this.floats = new FloatState(this);
    this.x87 = new X87State(f, this.cpu, () => [super.x87Trouble(), super.x87Unusual()]);
    this.vectors = new VectorRegisters(this, {
      used: (key) => this.use.touch(this.edges.block.id, VECTOR_KEYS + key),
      changed: (key) => {
        this.use.change(this.edges.block.id, VECTOR_KEYS + key);
        this.floats.change(key);
      },
    });
    this.regionFlags = new RegionFlags(this, {
      used: (key) => this.use.touch(this.edges.block.id, key),
      changed: (key) => this.use.change(this.edges.block.id, key),
      dirty: () => {
        const { id } = this.edges.block;
        return () => this.use.dirty(id);
      },
    });
    this.groups = new AccessGroups(this, mode);
    this.ripPage = f.local('i64');
    this.verified = f.local('i32');
    this.tlb = f.local('i32');
    this.goal = f.local('i64');
    this.onward = f.local('i32');
    this.left = f.local('i32');
  }

  /** The function's second parameter: the record of the entry, which says more of it (translations.ts). */
  private get entryRecord(): Expr<'i32'> {
    return this.f.param(1, 'i32').get;
  }

  /** Number of the entry that the function was called for. */
  entryNumber(): Expr<'i32'> {
    return load('i32', 32, this.entryRecord, L.REC_IMM);
  }

  /** Emits the whole function around `body`. */
  function(body: () => void): void {
    this.f.block((exit) => {
      this.exit = exit;
      body();
    });
    this.f.prologue(() => {
      const page = this.state64(L.CPU_RIP_PAGE);
      const several = this.edges.again !== undefined;
      const distance = load('i64', 32, this.entryRecord, L.REC_IMM + 4, true);
      this.f.set(this.ripPage, several ? page.sub(distance) : page);
      this.f.set(this.tlb, this.state32(L.CPU_TLB_SET));
      this.f.set(this.left, this.state32(L.CPU_BUDGET));
      this.floats.loadBounds();
      this.floats.loadConstants();
    });
    this.setState(32, L.CPU_BUDGET, this.left.get);
    this.regionFlags.exit();
    this.f.if(this.onward.get, () =>
      emitJumpCacheLookup(this, this.goal.get, this.left.get, (record) =>
        this.f.tailCallIndirect(this.handlerType, [this.cpu, record], load('i32', 32, record, L.REC_HANDLER)),
      ),
    );
    this.setState(64, L.CPU_RIP, this.goal.get);
  }

  /** Control comes to the block from outside: all registers are in the state, and its pages are what they were. */
  enter({ id, pages }: BasicBlock): void {
    if (this.edges.pages.length > 1) this.f.set(this.verified, this.verified.get.or(i32(mask(pages))));
    this.f.deferred(() => this.loadRegisters(this.use.needed(id)));
  }

  /** The registers are in locals on the way from one block to the other. */
  edge(from: number, to: number): void {
    this.use.edge(from, to, this.handed);
  }

  /** Runs `body`, which emits the block at hand and never comes to its end. */
  leavable(body: () => void): void {
    const { blockExit, scope } = this;
    const { id } = this.edges.block;
    this.f.block((label) => {
      this.blockExit = label;
      this.scope = id;
      body();
    });
    Object.assign(this, { blockExit, scope });
    this.writeBack(id);
    this.toExit();
  }

  /** The block at hand leaves by the exit of the one that it is emitted in. */
  shareExit(): void {
    this.use.share(this.edges.block.id, this.scope);
  }

  /** Writes back what `block` must where it leaves. */
  private writeBack(block: number): void {
    this.f.deferred(() => this.storeRegisters(this.use.dirty(block)));
  }

  /** Leaves when everything is in the state but budget and rip. */
  private toExit(): void {
    if (this.exit === undefined) throw new Error('code outside JitContext.function');
    this.f.branch(this.exit);
  }

  /** Begins a block: one that several ways lead to and that finds the flags in this form, or one with what is 'known'. */
  beginBlock(flags: FlagForm | 'known'): void {
    this.ended = false;
    this.index = 0;
    this.seenInBlock.clear();
    this.vectors.forgetSpilled();
    this.floats.begin();
    this.x87.forget();
    this.facts.clear();
    if (flags === 'known') {
      const kept = [...this.regionFlags.expressions, ...this.flags.memory, ...this.groups.expressions];
      this.f.releaseTemporariesExcept(kept);
    } else {
      this.regionFlags.begin(flags);
      this.groups.forget();
      this.flags.forget();
      this.f.releaseTemporaries();
    }
  }

  /** Begins the translation of `at` as instruction `index` of its block. */
  begin(at: RegionInsn, index: number): void {
    if (index > 0) this.vectors.takeSpilled();
    this.insn = at.insn;
    this.offset = at.offset;
    this.index = index;
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
    // A definition may come here on several ways through it.
    if (this.x87Insn !== this.insn) this.x87.begin();
    this.x87Insn = this.insn;
  }

  override x87Holds(i: number): boolean | undefined {
    return this.x87.holds(i);
  }

  override x87Done(step: -1 | 0 | 1, filled: readonly number[]): void {
    this.x87.done(step, filled);
  }

  override x87Trouble(): Expr<'i32'> {
    return this.x87.trouble();
  }

  override x87Unusual(): Expr<'i32'> {
    return this.x87.unusual();
  }

  override state<T extends ValType>(type: T, bits: number, offset: number): Expr<T> {
    const local = this.x87.at(offset);
    // INVARIANT: these fields are read as i32.
    return local === undefined ? super.state(type, bits, offset) : (local.get as Expr as Expr<T>);
  }

  override setState(bits: number, offset: number, value: Expr): void {
    if (offset === L.CPU_FTAG) this.x87.forgetTags();
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
    this.use.touch(this.edges.block.id, n);
    return local;
  }

  private loadRegisters(keys: KeySet): void {
    this.regionFlags.load(keys);
    this.vectors.load(keys);
    for (const [n, local] of this.registers) if (keys.has(n)) this.f.set(local, this.state64(L.CPU_GPR + n * 8));
  }

  private storeRegisters(keys: KeySet): void {
    this.regionFlags.store(keys);
    this.vectors.store(keys);
    for (const [n, local] of this.registers) if (keys.has(n)) this.setState(64, L.CPU_GPR + n * 8, local.get);
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

  override holdsNoDenormal(i: number, bits: Precision, all: boolean, half: 0 | 1 = 0): boolean {
    const n = this.vectorOperand(i);
    return n !== undefined && this.floats.holdsNoDenormal(n * 2 + half, bits, all);
  }

  override noteNoDenormal(i: number, bits: Precision, all: boolean, half: 0 | 1 = 0): void {
    const n = this.vectorOperand(i);
    if (n !== undefined) this.floats.note(n * 2 + half, bits, all);
  }

  override denormalFlag(i: number, bits: Precision, all: boolean, half: 0 | 1 = 0): Local<'i32'> | undefined {
    const n = this.vectorOperand(i);
    if (n === undefined || !this.edges.steady(n)) return undefined;
    return this.floats.flag(n * 2 + half, bits, all);
  }

  override noteCopy(from: number, to: number): void {
    const [source, target] = [this.vectorOperand(from), this.vectorOperand(to)];
    if (source === undefined || target === undefined) return;
    this.floats.copy(source * 2, target * 2);
    if (this.width(from) === 256) this.floats.copy(source * 2 + 1, target * 2 + 1);
  }

  override settleOdd(odd: Expr<'i32'>, finish: () => void): void {
    const how = this.let(odd);
    const leave = (): void => {
      const done = this.let(how.shr_u(i32(1)));
      this.f.if(done, finish);
      this.regionFlags.leaveRarely();
      this.f.set(this.goal, select(done, this.nextRip(), this.thisRip()));
      this.f.set(this.left, this.left.get.sub(this.index === 0 ? done : done.add(i32(this.index))));
      if (this.stepping) this.f.if(done, () => this.trapIfStepping());
      this.leave();
    };
    this.f.if(how, leave, undefined, false);
  }

  flagPart(part: FlagPart): Expr<'i64'> {
    return this.regionFlags.part(part);
  }

  setFlagPart(part: FlagPart, value: Expr<'i64'>): void {
    this.regionFlags.setPart(part, value);
  }

  override setLazyFlags(kind: number, result: Expr<'i64'>, source: Expr<'i64'> | undefined): void {
    this.regionFlags.setLazy(kind, result, source);
  }

  override if(condition: Expr<'i32'>, then: () => void, otherwise?: () => void): void {
    const truth = this.let(condition);
    this.regionFlags.commit();
    super.if(
      truth,
      () => {
        then();
        this.regionFlags.commit();
      },
      otherwise === undefined
        ? undefined
        : () => {
            otherwise();
            this.regionFlags.commit();
          },
    );
  }

  override forFlags<T extends ValType>(value: Expr<T>): Expr<T> {
    return value.volatile ? this.let(value) : value;
  }

  override flagsIf(condition: Expr<'i32'>, set: () => void): void {
    this.regionFlags.conditionally(this.let(condition), set);
  }

  reg(n: number, bits: number): Int {
    return this.let(narrow(this.register(n).get, bits));
  }

  setReg(n: number, bits: number, value: Int): void {
    const local = this.register(n);
    this.use.change(this.edges.block.id, n);
    this.groups.written(n, bits, this.insn);
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
      this.use.change(this.edges.block.id, operand.reg);
      this.groups.written(operand.reg, 8, this.insn);
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

  stateAddress(i: number): Expr<'i32'> {
    return this.cpu.add(i32(stateOffset(this.operand(i))));
  }

  override readVectorIndex(): VectorPair {
    const n = this.insn.mem.vectorIndex;
    return [this.let(this.vectors.get(n)), this.let(this.vectors.get(n, 1))];
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
    const address = this.linearAt(this.effectiveAddress(), bytes, access);
    this.groups.note(address, { insn: this.insn, offset: this.offset });
    return address;
  }

  protected override stackAddress(sp: Expr<'i64'>, distance: number, bytes: number, access: Access): Expr<'i64'> {
    const address = super.stackAddress(sp, distance, bytes, access);
    const { origin, delta } = this.groups.at(RSP);
    if (this.is64) this.groups.notePlace(address, { origin, delta: delta + distance });
    return address;
  }

  override push(value: Int, bits: number): void {
    const place = this.groups.at(RSP);
    super.push(value, bits);
    if (this.is64) this.groups.moved(RSP, place, -bits / 8);
  }

  override popped(bytes: number | Expr<'i64'>): void {
    const place = this.groups.at(RSP);
    super.popped(bytes);
    const known = typeof bytes === 'number' ? bytes : bytes.constant;
    if (this.is64 && known !== undefined) this.groups.moved(RSP, place, known);
  }

  override grouped(address: Expr<'i64'>, bytes: number, write: boolean, aligned: boolean): GroupedAccess | undefined {
    return this.groups.find(address, bytes, write, aligned, () => this.edges.block.insns.slice(this.index));
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
    if (this.blockExit === undefined) throw new Error('code outside JitContext.leavable');
    this.f.branch(this.blockExit);
  }

  private spend(instructions: number): Expr<'i32'> {
    this.f.set(this.left, this.left.get.sub(i32(instructions)));
    return this.left.get;
  }

  /**
   * Around a call that the host may see: CPU_BUDGET says exactly what is done before this instruction, so that clocks can be read,
   * and what becomes of it there (attention is wanted) counts.
   */
  private budgeted(name: string, call: () => void): void {
    if (!MEMORY_ACCESS.has(name)) this.groups.forgetPages();

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
    this.budgeted(name, () => {
      value = super.micro(result, name, ...args);
    });
    // INVARIANT: budgeted calls what it is given.
    return value!;
  }

  override microVoid(name: string, ...args: Expr[]): void {
    if (hostIsBlindTo(name)) {
      super.microVoid(name, ...args);
      if (changesX87(name)) this.x87.reload();
      if (name.startsWith('mmx')) this.x87.forgetTags();
    } else this.budgeted(name, () => super.microVoid(name, ...args));
  }

  leaveHere(): void {
    this.regionFlags.leaveRarely();
    this.f.set(this.goal, this.ripAt(this.offset));
    if (this.index > 0) this.spend(this.index);
    this.leave();
  }

  private leaveDone(): void {
    this.f.set(this.goal, this.nextRip());
    this.regionFlags.leave();
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
    this.emitJump(this.state64(L.CPU_RIP), false, nothingRaised(this));
    this.ended = true;
  }

  override tlbSetChanged(): void {
    this.groups.forgetPages();
    this.f.set(this.tlb, this.state32(L.CPU_TLB_SET));
  }

  private get stepping(): boolean {
    return (this.mode & L.MODE_TF) !== 0;
  }

  private trapIfStepping(): void {
    if (!this.stepping) return;
    this.setState(64, L.CPU_RIP, this.goal.get);
    this.microVoid('singleStepTrap');
  }

  jumpDirect(): void {
    if (!this.goTo(this.edges.block.taken, this.offset + this.insn.length + this.insn.immLow)) {
      if (this.returns === undefined) this.emitJump(this.directTarget());
      else this.callOut(this.directTarget(), this.returns);
    }
    this.ended = true;
  }

  /** The block that the CALL at hand comes back to, when its callee is not part of the region. */
  private get returns(): number | undefined {
    return this.stepping ? undefined : this.edges.block.returns;
  }

  branchDirect(condition: Expr<'i32'>): void {
    const truth = this.let(condition);
    this.f.if(truth, () => {
      if (!this.goTo(this.edges.block.taken, this.offset + this.insn.length + this.insn.immLow))
        this.emitJump(this.directTarget());
    });
  }

  /** Goes to a block of the region, which begins at `address`, after this instruction. */
  private goTo(target: number | undefined, address: number): boolean {
    if (this.stepping || target === undefined) return false;
    const left = this.spend(this.index + 1);
    const way = this.edges.way(target);
    const out = (): void => {
      this.regionFlags.leaveRarely();
      this.f.set(this.goal, this.ripAt(address));
      this.leave();
    };
    if (way.newPages.length > 0) this.verify(way.newPages, out);
    if (way.back) this.f.if(left.lt_s(i32(0)), out, undefined, false);
    this.handed = way.flags === 'known' ? new KeySet() : this.regionFlags.handOver(way.flags);
    this.goAlong(way);
    return true;
  }

  /** Emits the transfer; what is known here is as it was afterwards. */
  private goAlong(way: Way): void {
    this.floats.settle();
    const { insn, offset, index, ended } = this;
    const { state } = this.regionFlags;
    const groups = this.groups.state;
    const floats = this.floats.state;
    this.flags.keeping(() => this.f.divergent(() => this.edges.go(way)));
    this.regionFlags.state = state;
    this.groups.state = groups;
    this.floats.state = floats;
    Object.assign(this, { insn, offset, index, ended });
  }

  /** Makes sure that these pages still are what the region was translated from; otherwise leaves by `out`. */
  private verify(pages: readonly number[], out: () => void): void {
    const bits = i32(mask(pages));
    const check = (): void => {
      for (const number of pages) {
        const page = this.edges.pages[number];
        if (page === undefined) throw new RangeError(`region without page ${number}`);
        const va = this.ripAt(page.delta * PAGE);
        const entry = this.let(this.mem.entry(va));
        const wrong = load('i64', 64, entry, L.TLB_EXEC_TAG)
          .ne(va)
          .or(load('i32', 32, entry, L.TLB_PPN).xor(i32(page.ppn)).shl(i32(TLB_PPN_FLAG_BITS)).ne(i32(0)));
        this.f.if(wrong, out, undefined, false);
      }
      this.f.set(this.verified, this.verified.get.or(bits));
    };
    this.f.if(this.verified.get.and(bits).ne(bits), check, undefined, false);
  }

  /** The block ends here without a jump. */
  fallThrough(): void {
    this.vectors.takeSpilled();
    const { next, end } = this.edges.block;
    if (!this.goTo(next, end)) this.emitJump(this.ripAt(end));
  }

  jumpTo(rip: Expr<'i64'>): void {
    const { expected } = this.edges.block;
    if (expected !== undefined && !this.stepping) {
      const { block, address } = expected;
      this.f.if(rip.eq(this.ripAt(address)), () => this.goTo(block, address), undefined, true);
    }
    if (this.returns === undefined) this.emitJump(rip, true);
    else this.callOut(rip, this.returns);
    this.ended = true;
  }

  /**
   * A CALL goes to `target`, outside the region: what is there runs as a call of this function, which waits. A RET that goes where
   * this one expects it returns here (emitReturn), and the region goes on with block `returns`. Whatever else ends the callee's
   * run ends this function's too, and has its state from the same place: all of it is in memory then.
   */
  private callOut(target: Expr<'i64'>, returns: number): void {
    const rip = this.let(target);
    const back = this.nextRip();
    this.regionFlags.toState();
    const left = this.spend(this.index + 1);
    emitJumpCacheLookup(this, rip, left, (record) => {
      const frames = this.let(this.state32(L.CPU_FRAMES));
      this.f.if(frames.lt_u(i32(MAX_FRAMES)), () => this.callAndWait(record, frames, back, returns), undefined, true);
    });
    this.f.set(this.goal, rip);
    this.leave();
  }

  private callAndWait(record: Expr<'i32'>, frames: Expr<'i32'>, back: Expr<'i64'>, returns: number): void {
    this.writeBack(this.edges.block.id);
    this.setState(32, L.CPU_BUDGET, this.left.get);
    const generation = this.let(this.state32(L.CPU_JUMP_GEN));
    const outer = this.let(this.state64(L.CPU_EXPECTED_RETURN));
    this.setState(64, L.CPU_EXPECTED_RETURN, back);
    this.setState(32, L.CPU_FRAMES, frames.add(i32(1)));
    this.f.callIndirect(this.handlerType, [this.cpu, record], load('i32', 32, record, L.REC_HANDLER));
    // The same code is where it was; were this function not its translation any more, nobody would have returned here.
    const same = this.state32(L.CPU_JUMP_GEN).eq(generation);
    const returned = this.state64(L.CPU_EXPECTED_RETURN).eqz().and(same);
    const out = (): void => {
      this.setState(64, L.CPU_EXPECTED_RETURN, i64(L.NO_RETURN));
      this.f.return();
    };
    this.f.if(returned.eqz(), out, undefined, false);
    this.f.set(this.left, this.state32(L.CPU_BUDGET));
    this.f.set(this.tlb, this.state32(L.CPU_TLB_SET));
    this.f.deferred(() => this.floats.loadBounds());
    const way = this.edges.way(returns, true);
    if (this.edges.pages.length > 1) {
      this.f.set(this.verified, i32(0));
      this.verify(way.newPages, out);
    }
    this.setState(64, L.CPU_EXPECTED_RETURN, outer);
    this.setState(32, L.CPU_FRAMES, frames);
    this.floats.lose();
    this.goAlong(way);
  }

  /** Leaves for `target`; when that is not known before, perhaps for another entry of this region. */
  private emitJump(target: Expr<'i64'>, indirect = false, onward: Expr<'i32'> = i32(1)): void {
    const rip = this.let(target);
    const again = indirect && !this.stepping && this.edges.again?.map !== undefined;
    if (again) this.regionFlags.toState();
    else this.regionFlags.leave();
    const left = this.spend(this.index + 1);
    this.f.set(this.goal, rip);
    if (this.stepping) {
      this.trapIfStepping();
      this.leave();
      return;
    }
    if (indirect && isReturn(this.insn)) this.returnToWaiting(rip, left);
    if (again) {
      this.writeBack(this.edges.block.id);
      this.edges.dispatch();
      return;
    }
    this.f.set(this.onward, onward);
    this.leave();
  }

  /** A RET to where the innermost waiting translation expects it. */
  private returnToWaiting(rip: Expr<'i64'>, left: Expr<'i32'>): void {
    const expected = rip.eq(this.state64(L.CPU_EXPECTED_RETURN)).and(left.ge_s(i32(0)));
    const leave = (): void => {
      this.setState(64, L.CPU_EXPECTED_RETURN, i64(0));
      this.leave();
    };
    this.f.if(expected, leave, undefined, true);
  }

  /**
   * Number of the entry that lies at the goal, when all pages of the region are what they were; otherwise leaves. All registers
   * and flags are in the state.
   */
  entryByAddress(): Expr<'i32'> {
    const out = (): void => {
      this.f.set(this.onward, i32(1));
      this.toExit();
    };
    const map = this.edges.again?.map;
    if (map === undefined) {
      out();
      return i32(0);
    }
    const place = this.let(this.goal.get.sub(this.ripAt(map.from)));
    this.f.if(place.ge_u(i64(map.bytes)).or(this.left.get.lt_s(i32(0))), out);
    const entry = this.let(load('i32', 8, place.toI32(), map.at));
    this.f.if(entry.eqz(), out);
    if (this.edges.pages.length > 1) this.verify([...this.edges.pages.keys()], out);
    return entry.sub(i32(1));
  }

  /** Goes on at an entry of the region, which takes the registers from the state. */
  comeInto(entry: Expr<'i32'>): void {
    this.writeBack(this.edges.block.id);
    this.regionFlags.store(this.handed);
    this.edges.dispatch(entry);
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
    this.x87.forgetTags();
    this.floats.lose();
    this.facts.clear();
    this.groups.forget();
    this.regionFlags.commit();
    this.flags.forget();
    const { id } = this.edges.block;
    // What the region changes further down may have been changed already, in an earlier turn of a loop.
    this.f.deferred(() => {
      this.storeRegisters(this.use.dirty(id));
    });
    call();
    this.x87.reload();
    this.f.deferred(() => {
      this.loadRegisters(this.use.needed(id));
      this.floats.loadBounds();
    });
  }
}

/** Microcode that reaches guest memory for code that is on its way there: it changes nothing that a page is or allows. */
const MEMORY_ACCESS: ReadonlySet<string> = new Set(['slowLoad', 'slowStore', 'slowRmw', 'rmwCommit']);

/** Microcode that computes from and into registers alone: no memory, no device, no clock. */
function hostIsBlindTo(name: string): boolean {
  return (
    (name.startsWith('sse') && name !== 'sseMaskedStore') ||
    name.startsWith('fpu') ||
    name.startsWith('mmx') ||
    name === 'flagsFromLazy'
  );
}

/** Bits of the numbers. */
function mask(numbers: readonly number[]): number {
  return numbers.reduce((bits, number) => bits | (1 << number), 0);
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
