/** A region as one WebAssembly function: structured control flow over its basic blocks. */
import type { FunctionBuilder, Label, Local } from '../../wasm/function-builder.ts';
import { type Expr, i32 } from '../../wasm/expr.ts';
import { isConditional } from '../interp/interp-context.ts';
import * as L from '../layout.ts';
import { OperandKind } from '../x86/decode/insn.ts';
import type { Linker, SemanticsTable } from '../x86/semantics/context.ts';
import { blocksThatNeedFlags } from './flag-needs.ts';
import type { DispatchMap, DispatchMaps } from './dispatch-maps.ts';
import type { Again, Edges, Way } from './edges.ts';
import { JitContext } from './jit-context.ts';
import { successorsOf, withSingleLoopEntries } from './loop-entries.ts';
import { type Loop, smallestLoops } from './loops.ts';
import type { FlagForm } from './region-flags.ts';
import type { BasicBlock, Region, RegionPage } from './region.ts';
import { analyse, DISPATCH, type Structure } from './structure.ts';

/** Instead of an entry's number: the one whose address the context has. */
const BY_ADDRESS = -1;

/** What a function is made with. */
export interface Target {
  readonly builder: FunctionBuilder;
  readonly link: Linker;
  readonly handlerType: number;
  readonly maps: DispatchMaps;
}

export interface CompiledRegion {
  /** Blocks it can be entered at, by entry number. */
  readonly entered: readonly BasicBlock[];
  readonly map: DispatchMap | undefined;
}

/** Emits `region` into a function. */
export function compileRegion(region: Region, mode: number, semantics: SemanticsTable, target: Target): CompiledRegion {
  return new RegionEmitter(withSingleLoopEntries(region), mode, semantics, target).emit();
}

class RegionEmitter implements Edges {
  readonly pages: readonly RegionPage[];
  readonly again: Again | undefined;
  block: BasicBlock;
  private readonly region: Region;
  private readonly structure: Structure;
  private readonly semantics: SemanticsTable;
  private readonly f: FunctionBuilder;
  private readonly context: JitContext;
  private readonly needsFlags: ReadonlySet<number>;
  private readonly labels = new Map<number, Label>();
  private readonly loops = new Map<number, Label>();
  private readonly smallestLoops: ReadonlyMap<number, Loop>;
  /** By loop: vector registers that it does more with than float arithmetic. */
  private readonly moved = new WeakMap<Loop, ReadonlySet<number>>();
  /** Number of the entry that DISPATCH goes to. */
  private readonly entry: Local<'i32'>;

  constructor(region: Region, mode: number, semantics: SemanticsTable, target: Target) {
    this.region = region;
    this.semantics = semantics;
    this.f = target.builder;
    this.pages = region.pages;
    const successors = (node: number): readonly number[] => successorsOf(this.at(node));
    this.structure = analyse({ entries: region.entries, successors });
    this.smallestLoops = smallestLoops(this.structure, successors);
    const { root, dispatched } = this.structure;
    this.needsFlags = blocksThatNeedFlags(region.blocks);
    const flags: FlagForm = dispatched.some((node) => this.needsFlags.has(node)) ? 'parts' : 'lazy';
    const map = root === DISPATCH ? target.maps.make(dispatched.map((node) => this.at(node).start)) : undefined;
    this.again = root === DISPATCH ? { flags, map } : undefined;
    this.block = this.at(root === DISPATCH ? (dispatched[0] ?? root) : root);
    const first = this.block.insns[0];
    if (first === undefined) throw new Error('a region without instructions');
    this.context = new JitContext(target.builder, target.link, first.insn, mode, target.handlerType, this);
    this.entry = target.builder.local('i32');
  }

  emit(): CompiledRegion {
    const { root, dispatched } = this.structure;
    this.context.function(() => {
      if (root === DISPATCH) this.f.set(this.entry, this.context.entryNumber());
      else this.context.enter(this.at(root));
      this.tree(root, this.form(root));
    });
    const entered = (root === DISPATCH ? dispatched : [root]).map((node) => this.at(node));
    return { entered, map: this.again?.map };
  }

  private at(node: number): BasicBlock {
    const block = this.region.blocks.get(node);
    if (block === undefined) throw new Error(`a region without its block ${node}`);
    return block;
  }

  private position(node: number): number {
    return this.structure.position.get(node) ?? -1;
  }

  private isBack(target: number): boolean {
    return this.position(target) <= this.position(this.block.id);
  }

  /** How a block that several ways lead to finds the flags. */
  private form(node: number): FlagForm {
    if (this.again !== undefined && (node === DISPATCH || this.structure.dispatched.includes(node))) {
      return this.again.flags;
    }
    return this.needsFlags.has(node) ? 'parts' : 'lazy';
  }

  way(target: number, fromState = false): Way {
    const { structure } = this;
    const { pages } = this.at(target);
    const newPages = fromState ? pages : pages.filter((page) => !this.block.pages.includes(page));
    if (structure.redirected(this.block.id, target)) {
      return { target, back: true, fromState, flags: this.form(DISPATCH), newPages };
    }
    const back = this.isBack(target);
    const joint = back || fromState || structure.mergeNodes.has(target) || structure.loopHeaders.has(target);
    return { target, back, fromState, flags: joint ? this.form(target) : 'known', newPages };
  }

  steady(vector: number): boolean {
    const loop = this.smallestLoops.get(this.block.id);
    if (loop === undefined) return false;
    let moved = this.moved.get(loop);
    if (moved === undefined) {
      moved = new Set([...loop.blocks].flatMap((node) => movedVectors(this.at(node))));
      this.moved.set(loop, moved);
    }
    return !moved.has(vector);
  }

  go({ target, back, fromState, flags }: Way): void {
    if (this.structure.redirected(this.block.id, target)) {
      const entry = i32(this.structure.dispatched.indexOf(target));
      if (fromState) this.dispatch(entry);
      else this.context.comeInto(entry);
      return;
    }
    if (fromState) this.context.enter(this.at(target));
    else this.context.edge(this.block.id, target);
    const label = back ? this.loops.get(target) : this.labels.get(target);
    if (label !== undefined) {
      this.f.branch(label);
      return;
    }
    const here = this.block;
    this.tree(target, flags);
    this.block = here;
  }

  dispatch(entry?: Expr<'i32'>): void {
    const again = this.loops.get(DISPATCH);
    if (again === undefined) throw new Error('a region with one entry has nothing to go back to');
    this.f.set(this.entry, entry ?? i32(BY_ADDRESS));
    this.f.branch(again);
  }

  /** The block and everything it dominates. */
  private tree(node: number, flags: FlagForm | 'known'): void {
    const merges = (this.structure.dominated.get(node) ?? []).filter((child) => this.structure.mergeNodes.has(child));
    // The latest in reverse postorder becomes the outermost block, so that earlier ones can branch forward to it.
    const outermostFirst = merges.toSorted((a, b) => this.position(b) - this.position(a));
    if (!this.structure.loopHeaders.has(node)) {
      this.within(node, outermostFirst, flags);
      return;
    }
    this.f.loop((again) => {
      this.loops.set(node, again);
      this.within(node, outermostFirst, flags);
      this.loops.delete(node);
    });
  }

  private within(node: number, merges: readonly number[], flags: FlagForm | 'known'): void {
    const [outermost, ...rest] = merges;
    if (outermost === undefined) {
      if (node === DISPATCH) this.branches();
      else this.body(this.at(node), flags);
      return;
    }
    this.f.block((end) => {
      this.labels.set(outermost, end);
      this.within(node, rest, flags);
      this.labels.delete(outermost);
    });
    this.tree(outermost, this.form(outermost));
  }

  /** What DISPATCH does. */
  private branches(): void {
    const labels = this.structure.dispatched.map((node) => {
      const label = this.labels.get(node);
      if (label === undefined) throw new Error(`block ${node} is an entry without a label`);
      return label;
    });
    const sought = this.entry.get.lt_s(i32(0));
    this.f.if(sought, () => this.f.set(this.entry, this.context.entryByAddress()), undefined, false);
    this.stubs(labels, []);
  }

  /** For each entry, a place where its registers are taken from the state on the way to its label. */
  private stubs(labels: readonly Label[], stubs: readonly Label[]): void {
    const label = labels[stubs.length];
    const node = this.structure.dispatched[stubs.length];
    if (label === undefined || node === undefined) {
      // INVARIANT: there are at least two.
      this.f.branchTable(this.entry.get, stubs, stubs[0]!);
      return;
    }
    this.f.block((stub) => this.stubs(labels, [...stubs, stub]));
    this.context.enter(this.at(node));
    this.f.branch(label);
  }

  private body(block: BasicBlock, flags: FlagForm | 'known'): void {
    this.block = block;
    if (flags === 'known') {
      this.context.shareExit();
      this.instructions(block, flags);
    } else this.context.leavable(() => this.instructions(block, flags));
  }

  private instructions(block: BasicBlock, flags: FlagForm | 'known'): void {
    const x = this.context;
    x.beginBlock(flags);
    block.insns.forEach((at, index) => {
      x.begin(at, index);
      const definition = this.semantics[at.insn.row.name];
      if (definition === undefined) x.raise(L.EXC_UD);
      else definition(x);
      if (!x.ended && at.insn.row.endsBlock === true && !isConditional(at.insn)) x.goOnNext();
    });
    if (!x.ended) x.fallThrough();
  }
}

/** What gives numbers that are normal, or leaves the region. */
const FLOAT_ARITHMETIC =
  /^V?(ADD|SUB|ADDSUB|HADD|HSUB|MUL|DIV|SQRT|MIN|MAX|FN?M(ADD|SUB|ADDSUB|SUBADD)(132|213|231))[PS][SD]$/;

/** Vector registers that the block may give other values. */
function movedVectors({ insns }: BasicBlock): number[] {
  return insns.flatMap(({ insn }) => {
    const [to] = insn.operands;
    return to.kind === OperandKind.xmm && !FLOAT_ARITHMETIC.test(insn.row.name) ? [to.reg] : [];
  });
}
