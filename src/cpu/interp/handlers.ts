/**
 * The interpreter's handlers, generated from the instruction definitions the first time an instruction of that shape is decoded.
 *
 * A shape is everything a handler cannot read from the record: the decode row, operand and address sizes, form of the
 * effective address, condition, mode. Handlers are collected and compiled in batches (`flush`), before any record that names
 * them runs.
 */
import * as L from '../layout.ts';
import { type Expr, i32, i64, load } from '../../wasm/expr.ts';
import type { FunctionBuilder, FunctionRef } from '../../wasm/function-builder.ts';
import { ModuleBuilder } from '../../wasm/module-builder.ts';
import { createInsn } from '../x86/decode/decoder.ts';
import { type Insn, OperandKind } from '../x86/decode/insn.ts';
import type { Linker, Semantics, SemanticsTable } from '../x86/semantics/context.ts';
import { addressForm, segmentIsFlat } from './address-form.ts';
import { emitJumpCacheLookup, HANDLER, InterpContext } from './interp-context.ts';

/** Records that stand for no instruction. */
export const Pseudo = {
  /** End of a block: go on at the page offset the record names. */
  goOn: 'goOn',
  /** The block that began here was dropped: look it up again. */
  stale: 'stale',
  /** The bytes here are no instruction: #UD. */
  invalid: 'invalid',
  /** An AVX instruction while CR4, XCR0 or CR0 keeps it from running: #UD or #NM. */
  noAvx: 'noAvx',
  /** Longer than 15 bytes: #GP(0). */
  tooLong: 'tooLong',
  /** The instruction continues on the next page: its translation must still be the physical page in the immediate. */
  crossPage: 'crossPage',
  /** Its bytes on the next page cannot be fetched: raise that page fault. */
  fetchFault: 'fetchFault',
  /** Entry of a block that may become hot: counts down in the immediate, then asks for translation. */
  count: 'count',
  /** Entry of a block that cannot be translated: straight on to the next record. */
  skip: 'skip',
  /** MODE_TF: the one instruction before is done, trap. */
  stepDone: 'stepDone',
} as const;
export type Pseudo = (typeof Pseudo)[keyof typeof Pseudo];

/** Where handlers and translated blocks are installed and what they may call. */
export interface CodeTable {
  readonly table: WebAssembly.Table;
  /** Functions generated code imports, by name: microcode. */
  readonly functions: WebAssembly.ModuleImports;
  readonly memory: WebAssembly.Memory;
  /** A fresh slot of the table. */
  allocateSlot(): number;
}

export class Handlers {
  private readonly code: CodeTable;
  private readonly semantics: SemanticsTable;
  private readonly slots = new Map<number, number>();
  /** Shapes whose definition looks at the privilege level: one handler for each level. */
  private readonly perLevel = new Set<number>();
  private readonly pseudoSlots: Record<Pseudo, number>;
  private batch: FunctionBatch;
  generated = 0;

  constructor(code: CodeTable, semantics: SemanticsTable) {
    this.code = code;
    this.semantics = semantics;
    this.batch = new FunctionBatch(code);
    const slots: Partial<Record<Pseudo, number>> = {};
    for (const kind of Object.values(Pseudo)) {
      slots[kind] = code.allocateSlot();
      const { builder, link, handlerType } = this.batch.add(slots[kind]);
      new PseudoContext(builder, link, handlerType).build(kind);
    }
    // INVARIANT: the loop went over every kind.
    this.pseudoSlots = slots as Record<Pseudo, number>;
    this.flush();
  }

  pseudo(kind: Pseudo): number {
    return this.pseudoSlots[kind];
  }

  implemented(insn: Insn): boolean {
    return this.semantics[insn.row.name] !== undefined;
  }

  /** Slot of the handler for `insn` alone. `linkable`: it is a direct jump within its page. */
  slot(insn: Insn, mode: number, linkable: boolean): number {
    return this.lookup(shapeKey(insn, mode, linkable), [insn], mode, linkable);
  }

  /** Slot of a handler for two instructions in a row, the second a direct jump. */
  pairSlot(first: Insn, second: Insn, mode: number, linkable: boolean): number {
    const key = -(shapeKey(first, mode, false) * 64 + second.condition * 2 + (linkable ? 1 : 0)) - 1;
    return this.lookup(key, [first, second], mode, linkable);
  }

  private lookup(key: number, insns: readonly Insn[], mode: number, linkable: boolean): number {
    const levelKey = key * 4 + ((mode >> L.MODE_CPL_SHIFT) & 3) + 0.5;
    const known = this.slots.get(this.perLevel.has(key) ? levelKey : key);
    if (known !== undefined) return known;
    const slot = this.code.allocateSlot();
    const { builder, link, handlerType } = this.batch.add(slot);
    // INVARIANT: callers pass one or two instructions.
    const context = new InterpContext(builder, link, insns[0]!, mode, handlerType, linkable);
    insns.forEach((insn, i) => {
      if (i > 0) context.next(insn);
      const definition: Semantics | undefined = this.semantics[insn.row.name];
      if (definition === undefined) context.raise(L.EXC_UD);
      else definition(context);
    });
    context.finish();
    if (context.usedCpl) this.perLevel.add(key);
    this.slots.set(context.usedCpl ? levelKey : key, slot);
    this.generated++;
    return slot;
  }

  /** Compiles and installs what was asked for since the last call. */
  flush(): void {
    if (this.batch.size === 0) return;
    this.batch.install();
    this.batch = new FunctionBatch(this.code);
  }
}

/** Functions of type HANDLER that are compiled as one module and put into their slots. */
export class FunctionBatch {
  private readonly code: CodeTable;
  private readonly module = new ModuleBuilder();
  private readonly slots: number[] = [];
  private readonly imported = new Map<string, FunctionRef>();
  private readonly link: Linker = {
    function: (name, params, results) => {
      let ref = this.imported.get(name);
      if (ref === undefined) {
        ref = this.module.importFunction('m', name, { params, results });
        this.imported.set(name, ref);
      }
      return ref;
    },
  };

  constructor(code: CodeTable) {
    this.code = code;
  }

  get size(): number {
    return this.slots.length;
  }

  /** A function to be built right away; it will be found in `slot` after `install`. */
  add(slot: number): { builder: FunctionBuilder; link: Linker; handlerType: number } {
    const { builder } = this.module.define(HANDLER, `f${this.slots.length}`);
    this.slots.push(slot);
    return { builder, link: this.link, handlerType: this.module.typeIndex(HANDLER) };
  }

  install(): void {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(this.module.build()), {
      env: { memory: this.code.memory, table: this.code.table },
      m: this.code.functions,
    });
    this.slots.forEach((slot, i) => this.code.table.set(slot, instance.exports[`f${i}`]));
  }
}

/** The handlers of pseudo records; they share the record conventions of InterpContext but hold no instruction. */
class PseudoContext extends InterpContext {
  private readonly type: number;
  private readonly rec: Expr<'i32'>;

  constructor(f: FunctionBuilder, link: Linker, handlerType: number) {
    super(f, link, NO_INSN, L.MODE_64, handlerType, false);
    this.type = handlerType;
    this.rec = f.param(1, 'i32').get;
  }

  build(kind: Pseudo): void {
    const rip = this.let(this.state64(L.CPU_RIP_PAGE).add(load('i64', 16, this.rec, L.REC_OFFSET)));
    switch (kind) {
      case Pseudo.invalid:
        this.raise(L.EXC_UD);
        return;
      case Pseudo.noAvx:
        this.microVoid('avxFault');
        this.leaveHere();
        return;
      case Pseudo.tooLong:
        this.raise(L.EXC_GP);
        return;
      case Pseudo.fetchFault:
        this.f.drop(this.micro('i32', 'translateRip', this.secondPage()));
        this.leaveHere();
        return;
      case Pseudo.crossPage: {
        // translateRip leaves the physical address in the scratch area; nonzero status = page fault pending.
        this.microOrFault('translateRip', this.secondPage());
        const found = load('i64', 64, this.cpu, L.CPU_SCRATCH).shr_u(i64(12));
        this.f.if(found.ne(load('i64', 64, this.rec, L.REC_IMM)), () => {
          this.microVoid('dropBlock', this.rec);
          this.leaveHere();
        });
        this.nextRecord();
        return;
      }
      case Pseudo.count: {
        const left = this.let(load('i32', 32, this.rec, L.REC_IMM).sub(i32(1)));
        this.f.store(32, this.rec, left, L.REC_IMM);
        this.f.if(left.eqz(), () => {
          this.setState(64, L.CPU_RIP, rip);
          this.setState(32, L.CPU_EXIT, i32(L.EXIT_TRANSLATE));
          this.setState(32, L.CPU_EXIT_INFO, this.rec);
          this.f.return();
        });
        this.nextRecord();
        return;
      }
      case Pseudo.skip:
        this.nextRecord();
        return;
      default: {
        // goOn, stale, stepDone: the instructions before this record are done.
        const left = this.spendInsns(this.let(load('i32', 8, this.rec, L.REC_INDEX)));
        if (kind === Pseudo.goOn) {
          emitJumpCacheLookup(this, rip, left, (record) =>
            this.f.tailCallIndirect(this.type, [this.cpu, record], load('i32', 32, record, L.REC_HANDLER)),
          );
        }
        this.setState(64, L.CPU_RIP, rip);
        if (kind === Pseudo.stepDone) this.microVoid('singleStepTrap');
        this.f.return();
      }
    }
  }

  private nextRecord(): void {
    const next = this.rec.add(i32(L.REC_SIZE));
    this.f.tailCallIndirect(this.type, [this.cpu, next], load('i32', 32, this.rec, L.REC_SIZE));
  }

  /** rip at the start of the page after the record's. */
  private secondPage(): Expr<'i64'> {
    return this.let(this.state64(L.CPU_RIP_PAGE).add(i64(4096)));
  }
}

const NO_INSN: Insn = createInsn();

const SIZE_CODE: Record<number, number> = { 16: 0, 32: 1, 64: 2 };
/** Mode bits a handler may depend on beside the privilege level. */
const SHAPE_MODE = L.MODE_SIZE_MASK | L.MODE_STACK32 | L.MODE_FLAT | L.MODE_VM86 | L.MODE_PROTECTED | L.MODE_TF;

/** A number that is equal for instructions that one handler serves. Below 2^52. */
export function shapeKey(insn: Insn, mode: number, linkable: boolean): number {
  let bits = SIZE_CODE[insn.operandSize] ?? 0;
  bits = bits * 4 + (SIZE_CODE[insn.addressSize] ?? 0);
  bits = bits * 8 + addressForm(insn, mode);
  bits = bits * 16 + insn.condition;
  bits = bits * 2 + (insn.lock ? 1 : 0);
  bits = bits * 4 + (insn.rep === 0 ? 0 : insn.rep === 0xf2 ? 1 : 2);
  bits = bits * 2 + (insn.rexW ? 1 : 0);
  bits = bits * 2 + (linkable ? 1 : 0);
  bits = bits * 16 + fixedRegister(insn);
  bits = bits * 2 + (segmentIsFlat(insn.mem.segment, mode) ? 1 : 0);
  bits = bits * 2 + (isWide(insn) ? 1 : 0);
  // 22 bits so far; mode 9 bits, row 12 bits.
  return (insn.row.id * 512 + (mode & SHAPE_MODE)) * 0x400000 + bits;
}

/** Works on ymm registers. */
function isWide(insn: Insn): boolean {
  for (let i = 0; i < insn.operandCount; i++) {
    // INVARIANT: operandCount is at most 4, the length of `operands`.
    const { kind, bytes } = insn.operands[i]!;
    if (kind === OperandKind.xmm && bytes === 32) return true;
  }
  return false;
}

/** Number of the first operand register that handlers know at build time (segment, control, debug, st), else 0. */
function fixedRegister(insn: Insn): number {
  let value = 0;
  for (let i = 0; i < insn.operandCount; i++) {
    // INVARIANT: operandCount is at most 4, the length of `operands`.
    const operand = insn.operands[i]!;
    if (operand.kind === OperandKind.gpr8high || operand.kind === OperandKind.gpr || operand.kind === OperandKind.mem)
      continue;
    const { kind } = operand;
    if (
      kind === OperandKind.segment ||
      kind === OperandKind.control ||
      kind === OperandKind.debug ||
      kind === OperandKind.st
    ) {
      value = Math.max(value, operand.reg);
    }
  }
  return value;
}
