/** One function body under construction: locals, statements and structured control flow. */
import { ByteWriter } from './byte-writer.ts';
import { callExpr, type Expr, i32, localGet, storeOp, VAL_TYPE_CODE, type ValType } from './expr.ts';

export interface Signature {
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
}

/** A variable of the function. `get` may be used any number of times. */
export interface Local<T extends ValType> {
  readonly type: T;
  readonly index: number;
  readonly get: Expr<T>;
}

/** Target of a branch: a `block` (branch leaves it) or a `loop` (branch repeats it). */
export interface Label {
  readonly depth: number;
}

/** An imported or defined function that bodies can call. */
export interface FunctionRef {
  readonly index: number;
  readonly signature: Signature;
}

/** Which way an `if` or a `br_if` usually goes (branch hinting, custom section metadata.code.branch_hint). */
export interface BranchHint {
  readonly offset: number;
  readonly likely: boolean;
}

const TYPES: readonly ValType[] = ['i32', 'i64', 'f32', 'f64', 'v128'];

export class FunctionBuilder {
  readonly signature: Signature;
  private body = new ByteWriter();
  private readonly prologueBody = new ByteWriter();
  private readonly late: { readonly at: number; readonly statements: () => void; bytes: number }[] = [];
  private readonly hintedBranches: { readonly at: number; readonly likely: boolean }[] = [];
  private readonly localTypes: ValType[] = [];
  private free: Record<ValType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  /** Indices of all temporaries. */
  private readonly made: Record<ValType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  private temporaries: Local<ValType>[] = [];
  /** What `let` gave out. */
  private readonly evaluated = new WeakSet<Expr>();
  private depth = 0;

  constructor(signature: Signature) {
    this.signature = signature;
  }

  param<T extends ValType>(index: number, type: T): Local<T> {
    if (this.signature.params[index] !== type) throw new TypeError(`parameter ${index} is not ${type}`);
    return { type, index, get: localGet(type, index) };
  }

  /** Bytes of all variables so far. */
  get localBytes(): number {
    return this.localTypes.reduce((bytes, type) => bytes + (type === 'v128' ? 16 : 8), 0);
  }

  /** A variable that lives to the end of the function; starts as zero. */
  local<T extends ValType>(type: T): Local<T> {
    const index = this.signature.params.length + this.localTypes.length;
    this.localTypes.push(type);
    return { type, index, get: localGet(type, index) };
  }

  /** A variable that `releaseTemporaries` gives back. Its first value is undefined: set it before use. */
  temporary<T extends ValType>(type: T): Local<T> {
    const reused = this.free[type].pop();
    const local: Local<T> =
      reused === undefined ? this.local(type) : { type, index: reused, get: localGet(type, reused) };
    if (reused === undefined) this.made[type].push(local.index);
    this.temporaries.push(local);
    return local;
  }

  /** Called between guest instructions: what `temporary` and `let` gave out may be used again. */
  releaseTemporaries(): void {
    for (const local of this.temporaries) this.free[local.type].push(local.index);
    this.temporaries = [];
  }

  /** Gives back all temporaries but those that `kept` read. */
  releaseTemporariesExcept(kept: readonly Expr[]): void {
    const needed = new Set<number>();
    for (const value of kept) value.collectLocals(needed);
    const held: Local<ValType>[] = [];
    for (const local of this.temporaries) {
      if (needed.has(local.index)) held.push(local);
      else this.free[local.type].push(local.index);
    }
    this.temporaries = held;
  }

  /**
   * Runs `path`, which emits code that control never comes back from to what is emitted afterwards: it may use the temporaries
   * over again, and afterwards they stand as before.
   */
  divergent(path: () => void): void {
    const held = [...this.temporaries];
    const before = TYPES.map((type) => ({ type, free: [...this.free[type]], made: this.made[type].length }));
    path();
    for (const { type, free, made } of before) this.free[type] = [...free, ...this.made[type].slice(made)];
    this.temporaries = held;
  }

  /** Evaluates `value` here and now; the result may be used any number of times. */
  let<T extends ValType>(value: Expr<T>): Expr<T> {
    if (value.constant !== undefined || this.evaluated.has(value)) return value;
    const local = this.temporary(value.type);
    this.set(local, value);
    this.evaluated.add(local.get);
    return local.get;
  }

  set<T extends ValType>(local: Local<T>, value: Expr<T>): void {
    if (local.type !== value.type) throw new TypeError(`local of type ${local.type} set to ${value.type}`);
    value.emit(this.body);
    this.body.byte(0x21);
    this.body.u32(local.index);
  }

  /** Stores the low `bits` of `value` at `address + offset`. */
  store(bits: number, address: Expr<'i32'>, value: Expr, offset = 0): void {
    address.emit(this.body);
    value.emit(this.body);
    const opcode = storeOp(value.type, bits);
    if (opcode > 0xff) {
      this.body.byte(0xfd);
      this.body.u32(opcode & 0xfff);
    } else {
      this.body.byte(opcode);
    }
    this.body.u32(0);
    this.body.u32(offset);
  }

  /** Evaluates for its effects. */
  drop(value: Expr): void {
    value.emit(this.body);
    this.body.byte(0x1a);
  }

  call(target: FunctionRef, args: readonly Expr[]): void {
    checkArguments(target, args);
    for (const arg of args) arg.emit(this.body);
    this.body.byte(0x10);
    this.body.u32(target.index);
    for (let i = 0; i < target.signature.results.length; i++) this.body.byte(0x1a);
  }

  callValue<T extends ValType>(type: T, target: FunctionRef, args: readonly Expr[]): Expr<T> {
    checkArguments(target, args);
    if (target.signature.results[0] !== type) throw new TypeError(`call result is not ${type}`);
    return callExpr(type, target.index, args);
  }

  /** `likely`: whether the condition is expected to hold, for engines that read branch hints; left out when nobody knows. */
  if(condition: Expr<'i32'>, then: () => void, otherwise?: () => void, likely?: boolean): void {
    condition.emit(this.body);
    if (likely !== undefined && this.body !== this.prologueBody)
      this.hintedBranches.push({ at: this.body.length, likely });
    this.body.bytes([0x04, 0x40]);
    this.depth++;
    then();
    if (otherwise !== undefined) {
      this.body.byte(0x05);
      otherwise();
    }
    this.depth--;
    this.body.byte(0x0b);
  }

  /** Runs `body`; a branch to the label given to it goes to the end. */
  block(body: (end: Label) => void): void {
    this.structured(0x02, body);
  }

  /** Runs `body` once; a branch to the label given to it goes back to the start. */
  loop(body: (start: Label) => void): void {
    this.structured(0x03, body);
  }

  private structured(opcode: number, body: (label: Label) => void): void {
    this.body.bytes([opcode, 0x40]);
    this.depth++;
    body({ depth: this.depth });
    this.depth--;
    this.body.byte(0x0b);
  }

  branch(label: Label): void {
    this.body.byte(0x0c);
    this.body.u32(this.depth - label.depth);
  }

  /** `likely` as for `if`. */
  branchIf(label: Label, condition: Expr<'i32'>, likely?: boolean): void {
    condition.emit(this.body);
    if (likely !== undefined && this.body !== this.prologueBody)
      this.hintedBranches.push({ at: this.body.length, likely });
    this.body.byte(0x0d);
    this.body.u32(this.depth - label.depth);
  }

  /** Goes to `labels[index]`, or to `otherwise` when index is beyond them. */
  branchTable(index: Expr<'i32'>, labels: readonly Label[], otherwise: Label): void {
    index.emit(this.body);
    this.body.byte(0x0e);
    this.body.u32(labels.length);
    for (const label of labels) this.body.u32(this.depth - label.depth);
    this.body.u32(this.depth - otherwise.depth);
  }

  return(value?: Expr): void {
    value?.emit(this.body);
    this.body.byte(0x0f);
  }

  unreachable(): void {
    this.body.byte(0x00);
  }

  /** return_call of a function of this module. */
  tailCall(target: FunctionRef, args: readonly Expr[]): void {
    checkArguments(target, args);
    for (const arg of args) arg.emit(this.body);
    this.body.byte(0x12);
    this.body.u32(target.index);
  }

  /** return_call_indirect through table 0. `typeIndex` as ModuleBuilder.typeIndex gives it. */
  tailCallIndirect(typeIndex: number, args: readonly Expr[], slot: Expr<'i32'>): void {
    for (const arg of args) arg.emit(this.body);
    slot.emit(this.body);
    this.body.byte(0x13);
    this.body.u32(typeIndex);
    this.body.u32(0);
  }

  callIndirect(typeIndex: number, args: readonly Expr[], slot: Expr<'i32'>): void {
    for (const arg of args) arg.emit(this.body);
    slot.emit(this.body);
    this.body.byte(0x11);
    this.body.u32(typeIndex);
    this.body.u32(0);
  }

  /** memory.copy and memory.fill within memory 0. */
  memoryCopy(destination: Expr<'i32'>, source: Expr<'i32'>, bytes: Expr<'i32'>): void {
    destination.emit(this.body);
    source.emit(this.body);
    bytes.emit(this.body);
    this.body.bytes([0xfc, 10, 0, 0]);
  }

  atomicFence(): void {
    this.body.bytes([0xfe, 0x03, 0x00]);
  }

  /** Emits statements that run before everything else, however late this is called. */
  prologue(statements: () => void): void {
    const body = this.body;
    this.body = this.prologueBody;
    statements();
    this.body = body;
  }

  /**
   * Leaves a place for statements that are asked for when everything else is emitted. They may neither branch nor call what
   * the module does not import yet.
   */
  deferred(statements: () => void): void {
    this.late.push({ at: this.body.length, statements, bytes: 0 });
  }

  /** The body with the deferred statements in their places. */
  private assemble(): ByteWriter {
    if (this.late.length === 0) return this.body;
    const body = this.body;
    const whole = new ByteWriter();
    let from = 0;
    for (const late of this.late) {
      whole.bytes(body.view().subarray(from, late.at));
      from = late.at;
      this.body = whole;
      const before = whole.length;
      late.statements();
      late.bytes = whole.length - before;
    }
    whole.bytes(body.view().subarray(from));
    this.body = body;
    return whole;
  }

  /**
   * The body as the code section wants it: run-length coded locals, instructions, end. `hints` are the branches whose direction is
   * known, by the offset of the instruction in the body.
   */
  finish(): { body: ByteWriter; hints: readonly BranchHint[] } {
    const body = this.assemble();
    const out = new ByteWriter();
    const runs: [number, ValType][] = [];
    for (const type of this.localTypes) {
      const last = runs[runs.length - 1];
      if (last !== undefined && last[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    out.u32(runs.length);
    for (const [count, type] of runs) {
      out.u32(count);
      out.byte(VAL_TYPE_CODE[type]);
    }
    out.bytes(this.prologueBody.view());
    const hints = this.hintsFrom(out.length);
    out.bytes(body.view());
    out.byte(0x0b);
    return { body: out, hints };
  }

  private hintsFrom(start: number): BranchHint[] {
    let inserted = 0;
    let next = 0;
    return this.hintedBranches.map(({ at, likely }) => {
      for (let late = this.late[next]; late !== undefined && late.at <= at; late = this.late[++next]) {
        inserted += late.bytes;
      }
      return { offset: start + at + inserted, likely };
    });
  }

  get sizeBytes(): number {
    return this.body.length;
  }
}

function checkArguments(target: FunctionRef, args: readonly Expr[]): void {
  const params = target.signature.params;
  if (params.length !== args.length || params.some((type, i) => type !== args[i]?.type)) {
    throw new TypeError(`call wants (${params.join(', ')}) and got (${args.map((a) => a.type).join(', ')})`);
  }
}

/** An i32 truth value of a build-time boolean. */
export function bool(value: boolean): Expr<'i32'> {
  return i32(value ? 1 : 0);
}
