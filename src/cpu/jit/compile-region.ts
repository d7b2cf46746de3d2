/** A region as one WebAssembly function: structured control flow over its basic blocks. */
import { type FunctionBuilder, type Label } from '../../wasm/function-builder.ts';
import { isConditional } from '../interp/interp-context.ts';
import * as L from '../layout.ts';
import type { Linker, SemanticsTable } from '../x86/semantics/context.ts';
import { type Edges, JitContext } from './jit-context.ts';
import type { BasicBlock, Region } from './region.ts';
import { analyse, type Structure } from './structure.ts';

/** Control flow of a region whose loops all have one entry; a region with others is cut down to its entry block. */
export function structureOf(region: Region): { region: Region; structure: Structure } {
  const graph = (r: Region): Structure | undefined =>
    analyse({ entry: r.entry, successors: (node) => r.blocks.get(node)?.successors ?? [] });
  const structure = graph(region);
  if (structure !== undefined) return { region, structure };
  const first = region.blocks.get(region.entry);
  if (first === undefined) throw new Error('a region without its entry block');
  const alone: BasicBlock = { ...first, successors: first.successors.filter((s) => s === first.start) };
  const cut: Region = { entry: region.entry, blocks: new Map([[alone.start, alone]]), insnCount: alone.insns.length };
  const trivial = graph(cut);
  if (trivial === undefined) throw new Error('a single block cannot be irreducible');
  return { region: cut, structure: trivial };
}

/** Emits `region`, whose control flow is `structure`, into the function `builder`. */
export function compileRegion(
  { region, structure }: { readonly region: Region; readonly structure: Structure },
  mode: number,
  semantics: SemanticsTable,
  {
    builder,
    link,
    handlerType,
  }: { readonly builder: FunctionBuilder; readonly link: Linker; readonly handlerType: number },
): void {
  new RegionEmitter(region, structure, mode, semantics, builder, link, handlerType).emit();
}

class RegionEmitter implements Edges {
  private readonly region: Region;
  private readonly structure: Structure;
  private readonly semantics: SemanticsTable;
  private readonly f: FunctionBuilder;
  private readonly context: JitContext;
  private readonly labels = new Map<number, Label>();
  private readonly loops = new Map<number, Label>();
  private current: number;

  constructor(
    region: Region,
    structure: Structure,
    mode: number,
    semantics: SemanticsTable,
    builder: FunctionBuilder,
    link: Linker,
    handlerType: number,
  ) {
    this.region = region;
    this.structure = structure;
    this.semantics = semantics;
    this.f = builder;
    this.current = region.entry;
    const first = this.block(region.entry).insns[0];
    if (first === undefined) throw new Error('a region without instructions');
    this.context = new JitContext(builder, link, first.insn, mode, handlerType, this);
  }

  emit(): void {
    this.context.function(() => this.tree(this.region.entry));
  }

  private block(start: number): BasicBlock {
    const block = this.region.blocks.get(start);
    if (block === undefined) throw new Error(`no block at page offset ${start}`);
    return block;
  }

  private at(node: number): number {
    return this.structure.position.get(node) ?? -1;
  }

  has(target: number): boolean {
    // A jump of a single-stepped block to itself is no edge of the region.
    return this.structure.position.has(target) && this.block(this.current).successors.includes(target);
  }

  isBack(target: number): boolean {
    return this.at(target) <= this.at(this.current);
  }

  go(target: number): void {
    const label = this.isBack(target) ? this.loops.get(target) : this.labels.get(target);
    if (label !== undefined) {
      this.f.branch(label);
      return;
    }
    const here = this.current;
    this.tree(target);
    this.current = here;
  }

  /** The block and everything it dominates. */
  private tree(node: number): void {
    const merges = (this.structure.dominated.get(node) ?? []).filter((child) => this.structure.mergeNodes.has(child));
    // The latest in reverse postorder becomes the outermost block, so that earlier ones can branch forward to it.
    const outermostFirst = merges.toSorted((a, b) => this.at(b) - this.at(a));
    if (!this.structure.loopHeaders.has(node)) {
      this.within(node, outermostFirst);
      return;
    }
    this.f.loop((again) => {
      this.loops.set(node, again);
      this.within(node, outermostFirst);
      this.loops.delete(node);
    });
  }

  private within(node: number, merges: readonly number[]): void {
    const [outermost, ...rest] = merges;
    if (outermost === undefined) {
      this.body(this.block(node));
      return;
    }
    this.f.block((end) => {
      this.labels.set(outermost, end);
      this.within(node, rest);
      this.labels.delete(outermost);
    });
    this.tree(outermost);
  }

  private body(block: BasicBlock): void {
    this.current = block.start;
    const x = this.context;
    block.insns.forEach((at, index) => {
      x.begin(at, index);
      const definition = this.semantics[at.insn.row.name];
      if (definition === undefined) x.raise(L.EXC_UD);
      else definition(x);
      if (!x.ended && at.insn.row.endsBlock === true && !isConditional(at.insn)) x.goOnNext();
    });
    if (!x.ended) x.fallThrough(block.end);
  }
}
