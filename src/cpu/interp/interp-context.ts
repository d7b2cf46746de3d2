/**
 * Tier 0's translation context: one definition becomes one handler, a wasm function `(cpu, record)` that reads its operands
 * from the decoded record and tail-calls the next record's handler. Records: layout.ts, REC_*.
 *
 * A handler may hold several consecutive instructions (a fused pair): `next` moves on to the following record.
 */
import * as L from '../layout.ts';
import { type Expr, i32, i64, load } from '../../wasm/expr.ts';
import type { FunctionBuilder, Signature } from '../../wasm/function-builder.ts';
import { type Insn, NO_REGISTER, OperandKind } from '../x86/decode/insn.ts';
import { type Access, type FlagPart, type Int, intType, type Linker, X86 } from '../x86/semantics/context.ts';
import { addressForm, AddressForm, segmentIsFlat } from './address-form.ts';
import { linearThroughSegment } from './segment-check.ts';

/** Type of every handler and every translated block. */
export const HANDLER: Signature = { params: ['i32', 'i32'], results: [] };

const REGISTER_FIELDS = [L.REC_R0, L.REC_R1, L.REC_R2, L.REC_IMM];
const FLAG_OFFSET: Record<FlagPart, number> = {
  res: L.CPU_FLAG_RES,
  cf: L.CPU_FLAG_CF,
  ov: L.CPU_FLAG_OV,
  aux: L.CPU_FLAG_AUX,
};

/** Field of the record that holds the state offset of register operand `i`: register operands in order take R0, R1, R2, and the place of the immediate. */
export function registerField(insn: Insn, i: number): number {
  let seen = 0;
  for (let k = 0; k < i; k++) if (isDynamicRegister(insn.operands[k]?.kind ?? OperandKind.none)) seen++;
  const field = REGISTER_FIELDS[seen];
  // INVARIANT: an instruction has at most four operands.
  if (field === undefined) throw new RangeError(`${insn.row.name} has more than four register operands`);
  return field;
}

/** Register operands whose number is in the record, not in the handler. */
export function isDynamicRegister(kind: number): boolean {
  return (
    kind === OperandKind.gpr || kind === OperandKind.gpr8high || kind === OperandKind.xmm || kind === OperandKind.mmx
  );
}

export class InterpContext extends X86 {
  insn: Insn;
  private readonly modeBits: number;
  private readonly handlerType: number;
  /** Distance of the record at hand from the one the handler was called with. */
  private recordOffset = 0;
  private readonly record: Expr<'i32'>;
  /** The definition has transferred control on all paths. */
  ended = false;
  /** The definition looked at the privilege level: the handler serves this level only. */
  usedCpl = false;
  /** Direct jump whose target lies in the same page, so that the record can link to it. */
  private readonly linkable: boolean;

  constructor(f: FunctionBuilder, link: Linker, insn: Insn, mode: number, handlerType: number, linkable: boolean) {
    super(f, link);
    this.insn = insn;
    this.modeBits = mode;
    this.handlerType = handlerType;
    this.linkable = linkable;
    this.record = f.param(1, 'i32').get;
  }

  get mode(): number {
    return this.modeBits;
  }

  override get cpl(): number {
    this.usedCpl = true;
    return super.cpl;
  }

  /** Goes on to the next record, which holds `insn`, within the same handler. */
  next(insn: Insn): void {
    this.recordOffset += L.REC_SIZE;
    this.insn = insn;
  }

  private field<T extends 'i32' | 'i64'>(type: T, bits: number, offset: number, signed = false): Expr<T> {
    return load(type, bits, this.record, this.recordOffset + offset, signed);
  }

  // ---- registers ----

  reg(n: number, bits: number): Int {
    return this.let(load(intType(bits), bits, this.cpu, L.CPU_GPR + n * 8));
  }

  setReg(n: number, bits: number, value: Int): void {
    if (bits === 32) this.f.store(64, this.cpu, value.toI64(), L.CPU_GPR + n * 8);
    else this.f.store(bits, this.cpu, value, L.CPU_GPR + n * 8);
  }

  registerAddress(i: number): Expr<'i32'> {
    return this.cpu.add(this.field('i32', 16, registerField(this.insn, i)));
  }

  protected readRegister(i: number, bits: number): Int {
    return load(intType(bits), bits, this.registerAddress(i));
  }

  protected writeRegister(i: number, bits: number, value: Int): void {
    const kind = this.operand(i).kind;
    if (kind === OperandKind.gpr && bits === 32) {
      this.f.store(64, this.registerAddress(i), value.toI64());
      return;
    }
    this.f.store(bits, this.registerAddress(i), value);
    // An MMX write sets the sign and exponent of the x87 register to ones.
    if (kind === OperandKind.mmx) this.f.store(16, this.registerAddress(i), i32(0xffff), 8);
  }

  immediate(i: number, bits: number): Int {
    if (this.operand(i).kind === OperandKind.imm2)
      return this.let(this.field('i32', 16, L.REC_R2).toInt(intType(bits)));
    return this.let(bits === 64 ? this.field('i64', 64, L.REC_IMM) : this.field('i32', 32, L.REC_IMM));
  }

  stateAddress(i: number): Expr<'i32'> {
    return this.registerAddress(i);
  }

  vectorIndexAddress(): Expr<'i32'> {
    return this.cpu.add(this.field('i32', 16, L.REC_INDEX_REG));
  }

  indexScale(): Expr<'i32'> {
    return this.field('i32', 8, L.REC_SCALE);
  }

  farSelector(): Expr<'i32'> {
    return this.let(this.field('i32', 16, L.REC_R2));
  }

  // ---- memory operand ----

  private registerAt(field: number): Expr<'i64'> {
    return load('i64', 64, this.cpu.add(this.field('i32', 16, field)));
  }

  private offset(form: AddressForm): Expr<'i64'> {
    if (form === AddressForm.absolute) return this.field('i64', 64, L.REC_IMM);
    const base = this.registerAt(L.REC_BASE).add(this.field('i64', 32, L.REC_DISP, true));
    if (form === AddressForm.base || this.insn.mem.vectorIndex !== NO_REGISTER) return base;
    return base.add(this.registerAt(L.REC_INDEX_REG).shl(this.field('i64', 8, L.REC_SCALE)));
  }

  effectiveAddress(): Expr<'i64'> {
    const form = addressForm(this.insn, this.modeBits);
    return this.let(this.offset(form).zeroExtend(this.insn.addressSize));
  }

  linear(bytes: number, access: Access): Expr<'i64'> {
    const form = addressForm(this.insn, this.modeBits);
    this.stackAccess = this.operandStackFlag();
    switch (form) {
      case AddressForm.base:
      case AddressForm.indexed:
        return this.let(this.offset(form));
      case AddressForm.segment64:
        return this.let(this.offset(form).add(this.segmentBase()));
      case AddressForm.flat32:
        return this.let(this.offset(form).zeroExtend(32));
      default:
        return this.linearAt(this.effectiveAddress(), bytes, access);
    }
  }

  linearAt(offset: Expr<'i64'>, bytes: number, access: Access): Expr<'i64'> {
    this.stackAccess = this.operandStackFlag();
    if (segmentIsFlat(this.insn.mem.segment, this.modeBits)) return this.let(offset);
    if (this.is64) return this.let(offset.add(this.segmentBase()));
    return linearThroughSegment(this, this.segmentNumber(), offset, bytes, access);
  }

  private operandStackFlag(): Expr<'i32'> {
    return this.field('i32', 8, L.REC_SEG)
      .eq(i32(L.SS))
      .mul(i32(L.ACCESS_STACK << 8));
  }

  linearIn(segment: number, offset: Expr<'i64'>, bytes: number, access: Access): Expr<'i64'> {
    this.stackAccess = X86.stackFlag(segment);
    if (segmentIsFlat(segment, this.modeBits)) return this.let(offset);
    if (this.is64) return this.let(offset.add(this.state64(L.CPU_SEG + segment * L.SEG_SIZE + L.SEG_BASE)));
    return linearThroughSegment(this, i32(segment), offset, bytes, access);
  }

  private segmentBase(): Expr<'i64'> {
    const number = this.field('i32', 8, L.REC_SEG);
    return load('i64', 64, this.cpu.add(number.mul(i32(L.SEG_SIZE))), L.CPU_SEG + L.SEG_BASE);
  }

  segmentNumber(): Expr<'i32'> {
    return this.let(this.field('i32', 8, L.REC_SEG));
  }

  // ---- rip ----

  /** RIP_PAGE + page offset + `extra`, cut to the code size. */
  private ripAt(offset: Expr<'i64'>): Expr<'i64'> {
    const rip = this.state64(L.CPU_RIP_PAGE).add(offset);
    return this.let(this.is64 ? rip : rip.zeroExtend(32));
  }

  thisRip(): Expr<'i64'> {
    return this.ripAt(this.field('i64', 16, L.REC_OFFSET));
  }

  nextRip(): Expr<'i64'> {
    const rip = this.ripAt(this.field('i64', 16, L.REC_OFFSET).add(this.field('i64', 8, L.REC_LENGTH)));
    return (this.mode & L.MODE_SIZE_MASK) === L.MODE_16 ? this.let(rip.zeroExtend(16)) : rip;
  }

  directTarget(): Expr<'i64'> {
    const rip = this.ripAt(this.field('i64', 32, L.REC_IMM + 4, true));
    return this.is64 ? rip : this.let(rip.zeroExtend(this.insn.operandSize));
  }

  // ---- leaving ----

  leaveHere(): void {
    this.microVoid('leaveAt', this.recordOffset === 0 ? this.record : this.record.add(i32(this.recordOffset)));
    this.f.return();
  }

  private leaveDone(): void {
    this.setRipNext();
    this.spend();
    this.trapIfStepping();
    this.f.return();
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

  /** Takes this block's instructions up to here off the budget; gives what is left. */
  private spend(): Expr<'i32'> {
    return this.spendInsns(this.let(this.field('i32', 8, L.REC_INDEX).add(i32(1))));
  }

  /** Takes `count` instructions off the budget; gives what is left. */
  protected spendInsns(count: Expr<'i32'>): Expr<'i32'> {
    const left = this.let(this.state32(L.CPU_BUDGET).sub(count));
    this.setState(32, L.CPU_BUDGET, left);
    this.setState(32, L.CPU_TIER0_INSNS, this.state32(L.CPU_TIER0_INSNS).add(count));
    return left;
  }

  private get stepping(): boolean {
    return (this.modeBits & L.MODE_TF) !== 0;
  }

  private trapIfStepping(): void {
    if (this.stepping) this.microVoid('singleStepTrap');
  }

  jumpDirect(): void {
    this.emitDirectJump();
    this.ended = true;
  }

  branchDirect(condition: Expr<'i32'>): void {
    this.f.if(condition, () => this.emitDirectJump());
  }

  private emitDirectJump(): void {
    if (!this.linkable || this.stepping) {
      this.emitJump(this.directTarget());
      return;
    }
    const left = this.spend();
    const linked = this.let(this.field('i32', 32, L.REC_IMM));
    this.f.if(linked.ne(i32(0)).and(left.ge_s(i32(0))), () => this.continueAt(linked));
    this.setState(64, L.CPU_RIP, this.directTarget());
    this.setState(32, L.CPU_LINK_FROM, this.record.add(i32(this.recordOffset)));
    this.f.return();
  }

  jumpTo(target: Expr<'i64'>): void {
    const rip = this.let(target);
    const left = this.spend();
    if (isReturn(this.insn) && !this.stepping) emitReturn(this, rip, left, () => this.f.return());
    this.lookUp(rip, left);
    this.ended = true;
  }

  private emitJump(target: Expr<'i64'>, condition?: Expr<'i32'>): void {
    const rip = this.let(target);
    this.lookUp(rip, this.spend(), condition);
  }

  private lookUp(rip: Expr<'i64'>, left: Expr<'i32'>, condition?: Expr<'i32'>): void {
    if (!this.stepping) {
      emitJumpCacheLookup(this, rip, left, (record) => this.continueAt(record), condition);
    }
    this.setState(64, L.CPU_RIP, rip);
    this.trapIfStepping();
    this.f.return();
  }

  private continueAt(record: Expr<'i32'>): void {
    this.f.tailCallIndirect(this.handlerType, [this.cpu, record], load('i32', 32, record, L.REC_HANDLER));
  }

  /** End of the handler: on to the following record. */
  finish(): void {
    if (this.ended) return;
    if (this.insn.row.endsBlock === true && !isConditional(this.insn)) {
      this.goOnNext();
      return;
    }
    const next = this.recordOffset + L.REC_SIZE;
    this.f.tailCallIndirect(
      this.handlerType,
      [this.cpu, this.record.add(i32(next))],
      load('i32', 32, this.record, next),
    );
  }

  // ---- microcode that sees everything: nothing is cached here ----

  microState(name: string, faults: boolean, ...args: Expr[]): void {
    this.flags.forget();
    if (faults) this.microOrFault(name, ...args);
    else this.microVoid(name, ...args);
  }

  microStateValue(name: string, ...args: Expr[]): Expr<'i32'> {
    this.flags.forget();
    return this.micro('i32', name, ...args);
  }

  flagPart(part: FlagPart): Expr<'i64'> {
    return this.state64(FLAG_OFFSET[part]);
  }

  setFlagPart(part: FlagPart, value: Expr<'i64'>): void {
    this.setState(64, FLAG_OFFSET[part], value);
  }
}

/** Instructions after which execution may simply go on in the same block: conditional direct branches. */
export function isConditional(insn: Insn): boolean {
  const kind = insn.operands[0].kind;
  const name = insn.row.name;
  return kind === OperandKind.rel && name !== 'JMP' && name !== 'CALL' && name !== 'XBEGIN';
}

/** A near RET. */
export function isReturn(insn: Insn): boolean {
  return insn.row.name === 'RET';
}

/**
 * A near RET goes to `rip`: when that is where the innermost waiting translation expects it (JitContext.callOut), and the budget
 * is not spent, runs `leave`, which returns from the function.
 */
export function emitReturn(x: X86, rip: Expr<'i64'>, left: Expr<'i32'>, leave: () => void): void {
  const expected = rip.eq(x.state64(L.CPU_EXPECTED_RETURN)).and(left.ge_s(i32(0)));
  x.f.if(
    expected,
    () => {
      x.setState(64, L.CPU_RIP, rip);
      x.setState(64, L.CPU_EXPECTED_RETURN, i64(0));
      leave();
    },
    undefined,
    true,
  );
}

/** No trap is pending behind an instruction that is done. */
export function nothingRaised(x: X86): Expr<'i32'> {
  return x.state32(L.CPU_EXC).lt_s(i32(0));
}

/**
 * Looks `rip` up in the jump cache; when it is there, budget is left and `condition` holds, sets RIP_PAGE and runs `found` with the
 * record.
 */
export function emitJumpCacheLookup(
  x: X86,
  rip: Expr<'i64'>,
  left: Expr<'i32'>,
  found: (record: Expr<'i32'>) => void,
  condition?: Expr<'i32'>,
): void {
  const slot = rip
    .xor(rip.shr_u(i64(12)))
    .toI32()
    .and(i32(L.JUMP_CACHE_ENTRIES - 1))
    .shl(i32(4));
  const entry = x.let(x.state32(L.CPU_JUMP_BASE).add(slot));
  const hit = load('i64', 64, entry)
    .eq(rip)
    .and(load('i32', 32, entry, 8).eq(x.state32(L.CPU_JUMP_GEN)))
    .and(left.ge_s(i32(0)));
  x.f.if(
    condition === undefined ? hit : hit.and(condition),
    () => {
      const record = x.let(load('i32', 32, entry, 12));
      x.setState(64, L.CPU_RIP_PAGE, rip.sub(load('i64', 16, record, L.REC_OFFSET)));
      found(record);
    },
    undefined,
    true,
  );
}
