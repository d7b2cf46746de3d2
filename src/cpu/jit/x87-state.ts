/**
 * TOP, the tags and the status word of the x87, and what follows from its mode, in locals within a basic block, for tier 1: each instruction would else wait for what
 * the one before it stored. The state is always up to date; the locals are taken anew after microcode that may change it.
 */
import * as L from '../layout.ts';
import { type Expr, load } from '../../wasm/expr.ts';
import type { FunctionBuilder, Local } from '../../wasm/function-builder.ts';

const FIELDS: ReadonlyMap<number, number> = new Map([
  [L.CPU_FTOP, 32],
  [L.CPU_FTAG, 8],
  [L.CPU_FSW, 16],
]);

export class X87State {
  private readonly f: FunctionBuilder;
  private readonly cpu: Expr<'i32'>;
  private readonly locals = new Map<number, Local<'i32'>>();
  /** What decides whether an instruction may run, and run in the common way: it changes only where microcode runs. */
  private readonly conditions: () => readonly [Expr<'i32'>, Expr<'i32'>];
  private readonly answers: Local<'i32'>[] = [];
  private valid = false;
  /** Registers, counted from TOP, that are known to hold something (true) or nothing; of the instruction before, and at hand. */
  private after = new Map<number, boolean>();
  private before: ReadonlyMap<number, boolean> = new Map();

  /** `conditions`: X86.x87Trouble and X86.x87Unusual as the fields say. */
  constructor(f: FunctionBuilder, cpu: Expr<'i32'>, conditions: () => readonly [Expr<'i32'>, Expr<'i32'>]) {
    this.f = f;
    this.cpu = cpu;
    this.conditions = conditions;
  }

  /** A block begins. */
  forget(): void {
    this.valid = false;
    this.after.clear();
  }

  // ---- which registers hold something ----

  /** An instruction begins. What is known is lost with it unless it says what it does (`done`). */
  begin(): void {
    this.before = this.after;
    this.after = new Map();
  }

  /** Tags change in a way that nobody follows. */
  forgetTags(): void {
    this.after.clear();
  }

  holds(i: number): boolean | undefined {
    return this.before.get(i & 7);
  }

  /** On every way on which execution goes on, `filled` (counted from the old TOP) hold something now, and TOP moved by `step`. */
  done(step: -1 | 0 | 1, filled: readonly number[]): void {
    const tags = new Map(this.before);
    for (const i of filled) tags.set(i & 7, true);
    if (step > 0) tags.set(0, false);
    this.after = new Map([...tags].map(([i, holds]) => [(i - step) & 7, holds]));
  }

  /** Takes the fields into locals, unless they are there. Comes where every way through the instruction comes by. */
  prepare(): void {
    if (this.valid) return;
    this.valid = true;
    this.reload();
  }

  /** Microcode has run. */
  reload(): void {
    if (!this.valid) return;
    for (const [offset, bits] of FIELDS) this.f.set(this.local(offset), load('i32', bits, this.cpu, offset));
    this.conditions().forEach((condition, i) => this.f.set((this.answers[i] ??= this.f.local('i32')), condition));
  }

  trouble(): Expr<'i32'> {
    return this.answer(0);
  }

  unusual(): Expr<'i32'> {
    return this.answer(1);
  }

  private answer(i: 0 | 1): Expr<'i32'> {
    const answer = this.answers[i];
    return this.valid && answer !== undefined ? answer.get : this.conditions()[i];
  }

  private local(offset: number): Local<'i32'> {
    let local = this.locals.get(offset);
    if (local === undefined) {
      local = this.f.local('i32');
      this.locals.set(offset, local);
    }
    return local;
  }

  /** The local that holds the field at `offset`, if one does. */
  at(offset: number): Local<'i32'> | undefined {
    return this.valid && FIELDS.has(offset) ? this.local(offset) : undefined;
  }

  /** Bits of the field at `offset`. */
  width(offset: number): number {
    return FIELDS.get(offset) ?? 0;
  }
}
