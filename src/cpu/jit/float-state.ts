/**
 * What tier 1 knows of floats: the bounds that plain arithmetic is held against (microcode/mxcsr.ts) and constants in locals, and
 * which registers hold no denormal number, so that an operand that came out of a checked operation is not looked at again.
 *
 * Knowledge ends with the basic block. For registers that a loop only computes with (see `steady` of Edges), a flag in a local carries
 * it on, from one turn to the next. Where exact microcode meets a denormal number after all, the region is left behind that
 * instruction (X86.settleOdd), so whatever goes on may rely on it.
 */
import * as L from '../layout.ts';
import { type Expr, i32 } from '../../wasm/expr.ts';
import type { Local } from '../../wasm/function-builder.ts';
import type { FloatBound, Int, Precision, X86 } from '../x86/semantics/context.ts';

interface Known {
  readonly bits: Precision;
  /** All lanes, or only the lowest. */
  readonly all: boolean;
}

/** What is known in the middle of a block. */
export interface FloatKnowledge {
  readonly known: ReadonlyMap<number, Known>;
  readonly written: ReadonlySet<number> | 'all';
}

export class FloatState {
  private readonly x: X86;
  private readonly bounds = new Map<FloatBound, Local<'i32' | 'i64' | 'v128'>>();
  private readonly constants = new Map<string, { readonly local: Local<'v128'>; readonly value: Expr<'v128'> }>();
  /** By register * 2 + half. */
  private known = new Map<number, Known>();
  /** Halves that were written in this block; 'all' when nobody knows. */
  private written: Set<number> | 'all' = new Set();
  /** Nonzero: when a block begins, the half is known as said. */
  private readonly flags: { readonly key: number; readonly is: Known; readonly local: Local<'i32'> }[] = [];

  constructor(x: X86) {
    this.x = x;
  }

  // ---- bounds and constants ----

  private bound<T extends 'i32' | 'i64' | 'v128'>(name: FloatBound, type: T): Expr<T> {
    let local = this.bounds.get(name);
    if (local === undefined) {
      local = this.x.f.local<'i32' | 'i64' | 'v128'>(type);
      this.bounds.set(name, local);
    }
    // INVARIANT: the name decides the type.
    return local.get as Expr<ValTypeOf> as Expr<T>;
  }

  scalar(bits: Precision): Int {
    return bits === 64 ? this.bound('64', 'i64') : this.bound('32', 'i32');
  }

  vector(bits: Precision): Expr<'v128'> {
    return this.bound(bits === 64 ? '64x2' : '32x4', 'v128');
  }

  constant(name: string, value: Expr<'v128'>): Expr<'v128'> {
    let found = this.constants.get(name);
    if (found === undefined) {
      found = { local: this.x.f.local('v128'), value };
      this.constants.set(name, found);
    }
    return found.local.get;
  }

  /** Takes the bounds in use from the state. */
  loadBounds(): void {
    for (const [name, local] of this.bounds) {
      if (name === '64') this.x.f.set(local, this.x.state64(L.CPU_SSE_BOUND64));
      else if (name === '32') this.x.f.set(local, this.x.state32(L.CPU_SSE_BOUND32));
      else this.x.f.set(local, this.x.state('v128', 128, name === '64x2' ? L.CPU_SSE_BOUNDS64 : L.CPU_SSE_BOUNDS32));
    }
  }

  loadConstants(): void {
    for (const { local, value } of this.constants.values()) this.x.f.set(local, value);
  }

  // ---- knowledge ----

  get state(): FloatKnowledge {
    return { known: new Map(this.known), written: this.written === 'all' ? 'all' : new Set(this.written) };
  }

  set state({ known, written }: FloatKnowledge) {
    this.known = new Map(known);
    this.written = written === 'all' ? 'all' : new Set(written);
  }

  /** A block begins. */
  begin(): void {
    this.known.clear();
    this.written = new Set();
  }

  /** Any register may have changed. */
  lose(): void {
    this.known.clear();
    this.written = 'all';
  }

  /** The half gets a new value. */
  change(key: number): void {
    this.known.delete(key);
    if (this.written !== 'all') this.written.add(key);
  }

  /** The flag of a half that has the value it had when the block began. */
  flag(key: number, bits: Precision, all: boolean): Local<'i32'> | undefined {
    if (this.written === 'all' || this.written.has(key)) return undefined;
    const found = this.flags.find(({ key: of, is }) => of === key && is.bits === bits && is.all === all);
    if (found !== undefined) return found.local;
    const local = this.x.f.local('i32');
    this.flags.push({ key, is: { bits, all }, local });
    return local;
  }

  /** On the way to another block: the flags of what was written say what is known of it. */
  settle(): void {
    const { written } = this;
    if (written !== 'all' && written.size === 0) return;
    const changed = written === 'all' ? written : new Set(written);
    const known = new Map(this.known);
    // Which flags there are is known when everything is emitted.
    this.x.f.deferred(() => {
      for (const { key, is, local } of this.flags) {
        if (changed !== 'all' && !changed.has(key)) continue;
        const now = known.get(key);
        const holds = now !== undefined && now.bits === is.bits && (now.all || !is.all);
        this.x.f.set(local, i32(holds ? 1 : 0));
      }
    });
  }

  holdsNoDenormal(key: number, bits: Precision, all: boolean): boolean {
    const known = this.known.get(key);
    return known !== undefined && known.bits === bits && (known.all || !all);
  }

  note(key: number, bits: Precision, all: boolean): void {
    const known = this.known.get(key);
    this.known.set(key, { bits, all: all || (known?.bits === bits && known.all) });
  }

  copy(from: number, to: number): void {
    const known = this.known.get(from);
    if (known === undefined) this.known.delete(to);
    else this.known.set(to, known);
  }
}

type ValTypeOf = 'i32' | 'i64' | 'v128';
