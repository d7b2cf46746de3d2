/**
 * The arithmetic flags while a region is translated.
 *
 * An instruction that sets flags only leaves expressions behind (`pending`); they are computed where somebody looks. Where
 * control flow merges, the flags must be in locals, in one of two forms that the target block decides:
 *   'parts'  the four parts of docs/devel/flags.md, each in its local;
 *   'lazy'   when nobody but exits will look at them: the kind of the operation (lazyKind), its result and one operand, from
 *            which microcode computes the parts at an exit. Kind 0: the parts are in their locals after all.
 * A block that begins with 'parts' finds kind 0.
 *
 * Outside, and where the region is entered, the parts are in the state. Their locals are loaded and written back as those of registers
 * are (register-use.ts).
 */
import * as L from '../layout.ts';
import { type Expr, i32, load, select } from '../../wasm/expr.ts';
import type { Local } from '../../wasm/function-builder.ts';
import type { FlagPart, X86 } from '../x86/semantics/context.ts';
import { FLAG_KEYS, KeySet } from './register-use.ts';

export type FlagForm = 'parts' | 'lazy';

const FLAG_OFFSET: Record<FlagPart, number> = {
  res: L.CPU_FLAG_RES,
  cf: L.CPU_FLAG_CF,
  ov: L.CPU_FLAG_OV,
  aux: L.CPU_FLAG_AUX,
};
const FLAG_PARTS: readonly FlagPart[] = ['res', 'cf', 'ov', 'aux'];

interface Lazy {
  readonly kind: number;
  readonly result: Expr<'i64'>;
  readonly source: Expr<'i64'>;
}

/** What is known of the flags at a place, while code is generated. */
export interface FlagState {
  readonly pending: ReadonlyMap<FlagPart, Expr<'i64'>>;
  readonly lazy: Lazy | undefined;
  readonly form: FlagForm;
}

/** Keeps account of what the block at hand does with the parts, by key. */
export interface FlagEvents {
  used(key: number): void;
  changed(key: number): void;
  /** What the block at hand must write back, for statements that are emitted last. */
  dirty(): () => KeySet;
}

export class RegionFlags {
  private readonly x: X86;
  private readonly events: FlagEvents;
  private readonly locals = new Map<FlagPart, Local<'i64'>>();
  private lazyLocals: { kind: Local<'i32'>; result: Local<'i64'>; source: Local<'i64'> } | undefined;
  /** Expressions that `conditionally` made. */
  private readonly chosen = new WeakSet<Expr>();
  private pending = new Map<FlagPart, Expr<'i64'>>();
  /** When all four pending parts come of one operation: what that was. */
  private lazy: Lazy | undefined;
  /** What the locals hold of what is not pending. */
  private form: FlagForm = 'parts';

  constructor(x: X86, events: FlagEvents) {
    this.x = x;
    this.events = events;
  }

  private local(part: FlagPart): Local<'i64'> {
    let local = this.locals.get(part);
    if (local === undefined) {
      local = this.x.f.local('i64');
      this.locals.set(part, local);
    }
    return local;
  }

  private get lazily(): { kind: Local<'i32'>; result: Local<'i64'>; source: Local<'i64'> } {
    const { f } = this.x;
    this.lazyLocals ??= { kind: f.local('i32'), result: f.local('i64'), source: f.local('i64') };
    return this.lazyLocals;
  }

  private set(part: FlagPart, value: Expr<'i64'>): void {
    this.x.f.set(this.local(part), value);
    this.events.changed(keyOf(part));
  }

  private get(part: FlagPart): Expr<'i64'> {
    this.events.used(keyOf(part));
    return this.local(part).get;
  }

  // ---- for instructions ----

  part(part: FlagPart): Expr<'i64'> {
    const pending = this.pending.get(part);
    if (pending !== undefined) return this.x.let(pending);
    this.makeParts();
    return this.get(part);
  }

  setPart(part: FlagPart, value: Expr<'i64'>): void {
    // Temporaries are assigned once a block, so what the expression refers to stays; what reads memory is computed now.
    this.pending.set(part, value.volatile ? this.x.let(value) : value);
    this.lazy = undefined;
  }

  setLazy(kind: number, result: Expr<'i64'>, source: Expr<'i64'> | undefined): void {
    this.lazy = { kind, result, source: source ?? this.part('cf') };
  }

  /** No branch: the flags that `set` sets become expressions that choose between the new value and the one before. */
  conditionally(truth: Expr<'i32'>, set: () => void): void {
    this.makeParts();
    const before = new Map(FLAG_PARTS.map((part) => [part, this.pending.get(part)]));
    set();
    for (const part of FLAG_PARTS) {
      const old = before.get(part);
      const value = this.pending.get(part);
      if (value === undefined || value === old) continue;
      // Every exit computes what is pending, so what was conditional already is computed once, here.
      const kept = old === undefined ? this.get(part) : this.chosen.has(old) ? this.x.let(old) : old;
      const choice = select(truth, value, kept);
      this.chosen.add(choice);
      this.pending.set(part, choice);
    }
    this.lazy = undefined;
  }

  /** Puts all into the locals as parts, for good: what follows reads them. */
  commit(): void {
    this.makeParts();
    this.settle();
    this.pending = new Map();
    this.lazy = undefined;
  }

  /** The locals that nothing pending replaces hold parts from here on. */
  private makeParts(): void {
    if (this.form === 'parts') return;
    this.form = 'parts';
    const { kind } = this.lazily;
    if (FLAG_PARTS.every((part) => this.pending.has(part))) {
      this.x.f.set(kind, i32(0));
      return;
    }
    this.x.f.if(kind.get.ne(i32(0)), () => {
      this.fromLazy();
      for (const part of FLAG_PARTS) this.set(part, load('i64', 64, this.x.cpu, FLAG_OFFSET[part]));
      this.x.f.set(kind, i32(0));
    });
  }

  private fromLazy(): void {
    const { kind, result, source } = this.lazily;
    this.x.microVoid('flagsFromLazy', kind.get, result.get, source.get);
  }

  /** What is pending, computed here. */
  private values(): { part: FlagPart; value: Expr<'i64'> }[] {
    return FLAG_PARTS.flatMap((part) => {
      const value = this.pending.get(part);
      return value === undefined ? [] : [{ part, value: this.x.let(value) }];
    });
  }

  /** Computes what is pending into the locals. */
  private settle(): void {
    for (const { part, value } of this.values()) this.set(part, value);
  }

  // ---- where control leaves a block; what is known afterwards is not changed, for this is one of several ways out ----

  /** On a way out of the region that is rarely taken. */
  leaveRarely(): void {
    if (this.lazy === undefined) this.leave();
    else this.remember(this.lazy);
  }

  /** On a way out of the region, by its exit. */
  leave(): void {
    if (this.pending.size > 0) this.toState();
  }

  /** On a way to where the parts are taken from the state, when what is dirty has been written back. */
  toState(): void {
    const dirty = this.events.dirty();
    const late = (values: () => readonly { part: FlagPart; value: Expr<'i64'> }[]): void =>
      this.x.f.deferred(() => {
        // What is not written back from a local is not put into one. No local is made here: it would not have been loaded.
        for (const { part, value } of values()) {
          const local = dirty().has(keyOf(part)) ? this.locals.get(part) : undefined;
          if (local === undefined) this.x.setState(64, FLAG_OFFSET[part], value);
          else this.x.f.set(local, value);
        }
      });
    if (this.form === 'lazy') {
      const { kind } = this.lazily;
      if (!FLAG_PARTS.every((part) => this.pending.has(part))) {
        this.x.f.if(kind.get.ne(i32(0)), () => {
          this.fromLazy();
          late(() =>
            [...this.locals.keys()].filter((part) => dirty().has(keyOf(part))).map((part) => this.inState(part)),
          );
        });
      }
      this.x.f.set(kind, i32(0));
    }
    const values = this.values();
    late(() => values);
  }

  private inState(part: FlagPart): { part: FlagPart; value: Expr<'i64'> } {
    return { part, value: load('i64', 64, this.x.cpu, FLAG_OFFSET[part]) };
  }

  /**
   * Towards a block that takes the flags from the locals in the form `form`. Gives the parts, by key, whose locals get their value
   * here, or have none because the kind is not 0.
   */
  handOver(form: FlagForm): KeySet {
    const handed = new KeySet();
    if (form === 'lazy' && this.lazy !== undefined) {
      this.remember(this.lazy);
      for (const part of FLAG_PARTS) handed.add(keyOf(part));
      return handed;
    }
    if (form === 'lazy' && this.pending.size === 0) return handed;
    const before = this.form;
    this.makeParts();
    this.form = before;
    for (const { part, value } of this.values()) {
      this.x.f.set(this.local(part), value);
      handed.add(keyOf(part));
    }
    return handed;
  }

  private remember({ kind, result, source }: Lazy): void {
    const to = this.lazily;
    // The source may be CF of a part's local, which stays; none of the three reads another.
    this.x.f.set(to.result, result);
    this.x.f.set(to.source, source);
    this.x.f.set(to.kind, i32(kind));
  }

  // ---- blocks ----

  /** A block begins that is reached from several places, and finds the flags in this form. */
  begin(form: FlagForm): void {
    this.pending = new Map();
    this.lazy = undefined;
    this.form = form;
  }

  /** Expressions that must stay valid for what is pending. */
  get expressions(): readonly Expr[] {
    return [...this.pending.values(), ...(this.lazy === undefined ? [] : [this.lazy.result, this.lazy.source])];
  }

  get state(): FlagState {
    return { pending: new Map(this.pending), lazy: this.lazy, form: this.form };
  }

  set state(state: FlagState) {
    this.pending = new Map(state.pending);
    this.lazy = state.lazy;
    this.form = state.form;
  }

  // ---- state in memory; complete when all blocks are emitted ----

  /** Takes parts from the state. */
  load(keys: KeySet): void {
    for (const [part, local] of this.locals) if (keys.has(keyOf(part))) this.x.f.set(local, this.inState(part).value);
  }

  /** Writes parts to the state. */
  store(keys: KeySet): void {
    for (const [part, local] of this.locals)
      if (keys.has(keyOf(part))) this.x.setState(64, FLAG_OFFSET[part], local.get);
  }

  /** At the region's exit, when what is dirty has been written back. */
  exit(): void {
    const { lazyLocals } = this;
    if (lazyLocals !== undefined) this.x.f.if(lazyLocals.kind.get.ne(i32(0)), () => this.fromLazy());
  }
}

function keyOf(part: FlagPart): number {
  return FLAG_KEYS + FLAG_PARTS.indexOf(part);
}
