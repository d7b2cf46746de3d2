/**
 * What the operands of an instruction are in tier 1: general registers, vector registers, flags and the x87's state in locals, known
 * addresses. How a region is entered and left is jit-context.ts.
 */
import * as L from '../layout.ts';
import { segmentIsFlat } from '../interp/address-form.ts';
import { linearThroughSegment } from '../interp/segment-check.ts';
import { type Expr, type FloatType, i32, i64, i64Halves, load, type ValType } from '../../wasm/expr.ts';
import type { FunctionBuilder, Local } from '../../wasm/function-builder.ts';
import { stateOffset } from '../state-offset.ts';
import { type Insn, NO_REGISTER, OperandKind, RIP_BASE } from '../x86/decode/insn.ts';
import {
  type Access, type FlagPart, type GroupedAccess, RSP, type Int, intType, type Linker, type Precision, type VectorPair, X86,
} from '../x86/semantics/context.ts'; // prettier-ignore
import { AccessGroups } from './access-groups.ts';
import type { Edges } from './edges.ts';
import { FloatState } from './float-state.ts';
import { type FlagForm, RegionFlags } from './region-flags.ts';
import { type KeySet, RegisterUse, VECTOR_KEYS } from './register-use.ts';
import type { RegionInsn } from './region.ts';
import { X87State } from './x87-state.ts';
import { VectorRegisters } from './vector-registers.ts';

export abstract class JitOperands extends X86 {
  insn: Insn;
  readonly mode: number;
  protected offset = 0;
  /** Instructions of the current block before this one. */
  protected index = 0;
  protected readonly use: RegisterUse = new RegisterUse();
  protected readonly edges: Edges;
  private readonly registers = new Map<number, Local<'i64'>>();
  protected readonly vectors: VectorRegisters;
  protected readonly floats: FloatState;
  protected readonly x87: X87State;
  /** The x87 instruction that was begun last. */
  private x87Insn: Insn | undefined;
  /** What `changesInBlock` was told last, by subject. */
  protected readonly facts: Map<string, number> = new Map<string, number>();
  protected readonly groups: AccessGroups;
  private readonly seenInBlock = new Set<string>();
  protected readonly regionFlags: RegionFlags;
  /** Linear address of the page that region addresses count from, as a rip. */
  protected readonly ripPage: Local<'i64'>;
  protected readonly tlb: Local<'i32'>;

  constructor(f: FunctionBuilder, link: Linker, first: Insn, mode: number, edges: Edges) {
    super(f, link);
    this.insn = first;
    this.mode = mode;
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
    this.tlb = f.local('i32');
  }

  /** Begins a block: one that several ways lead to and that finds the flags in this form, or one with what is 'known'. */
  beginBlock(flags: FlagForm | 'known'): void {
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

  protected loadRegisters(keys: KeySet): void {
    this.regionFlags.load(keys);
    this.vectors.load(keys);
    for (const [n, local] of this.registers) if (keys.has(n)) this.f.set(local, this.state64(L.CPU_GPR + n * 8));
  }

  protected storeRegisters(keys: KeySet): void {
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

  flagPart(part: FlagPart): Expr<'i64'> {
    return this.regionFlags.part(part);
  }

  setFlagPart(part: FlagPart, value: Expr<'i64'>): void {
    this.regionFlags.setPart(part, value);
  }

  override setLazyFlags(kind: number, result: Expr<'i64'>, source: Expr<'i64'> | undefined): void {
    this.regionFlags.setLazy(kind, result, source);
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

  protected ripAt(pageOffset: number): Expr<'i64'> {
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
}

/** Low `bits` of a 64-bit register, zero-extended in their container. */
function narrow(value: Expr<'i64'>, bits: number): Int {
  if (bits === 64) return value;
  return value.toI32().zeroExtend(bits);
}
