/**
 * Tier 1's translation context: the instructions of a region become one function. Here is how it is entered and left; what operands are
 * is jit-operands.ts.
 *
 * - Registers are loaded where the region is entered, those that are used from there on; where a block leaves the region, what
 *   may have changed by then is written back, so a fault anywhere leaves exactly the state before the faulting instruction.
 *   The sets are known when everything is emitted (register-use.ts), so these places are filled in last.
 * - The instruction budget is a local too; around calls that the host may see it is in the state.
 */
import * as L from '../layout.ts';
import { emitJumpCacheLookup, isReturn, nothingRaised } from '../interp/interp-context.ts';
import { type Expr, i32, i64, load, select, type ValType } from '../../wasm/expr.ts';
import type { FunctionBuilder, Label, Local } from '../../wasm/function-builder.ts';
import { PAGE } from '../page.ts';
import type { Insn } from '../x86/decode/insn.ts';
import type { Linker } from '../x86/semantics/context.ts';
import type { Edges, Way } from './edges.ts';
import { JitOperands } from './jit-operands.ts';
import type { FlagForm } from './region-flags.ts';
import { KeySet } from './register-use.ts';
import type { BasicBlock } from './region.ts';

/**
 * Bytes of the host's stack for translations that wait for a return; engines give a megabyte or less, and a guest chooses how large its
 * functions are. One call more, and all of them are left, so that a guest which calls and does not return (a thread is switched, a
 * stack unwound) costs no more than that.
 */
const MAX_HOST_STACK_BYTES = 256 * 1024;
/** What a frame has beside its variables. */
const FRAME_BYTES = 96;
/** Bits of TLB_PPN above the page number. */
const TLB_PPN_FLAG_BITS = 4;

export class JitContext extends JitOperands {
  private readonly handlerType: number;
  /** Bit i: page i of the region is still what it was translated from. */
  private readonly verified: Local<'i32'>;
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
    super(f, link, first, mode, edges);
    this.handlerType = handlerType;
    this.verified = f.local('i32');
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

  override beginBlock(flags: FlagForm | 'known'): void {
    this.ended = false;
    super.beginBlock(flags);
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
      const used = this.let(this.state32(L.CPU_HOST_STACK));
      const wait = (): void => this.callAndWait(record, used, back, returns);
      this.f.if(used.lt_u(i32(MAX_HOST_STACK_BYTES)), wait, undefined, true);
    });
    this.f.set(this.goal, rip);
    this.leave();
  }

  private callAndWait(record: Expr<'i32'>, used: Expr<'i32'>, back: Expr<'i64'>, returns: number): void {
    this.writeBack(this.edges.block.id);
    this.setState(32, L.CPU_BUDGET, this.left.get);
    const generation = this.let(this.state32(L.CPU_JUMP_GEN));
    const outer = this.let(this.state64(L.CPU_EXPECTED_RETURN));
    this.setState(64, L.CPU_EXPECTED_RETURN, back);
    // A baseline compiler gives every variable a place of its own.
    this.f.deferred(() => this.setState(32, L.CPU_HOST_STACK, used.add(i32(this.f.localBytes + FRAME_BYTES))));
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
    this.setState(32, L.CPU_HOST_STACK, used);
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
