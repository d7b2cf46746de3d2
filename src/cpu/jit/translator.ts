/** Tier 1: turns hot blocks into WebAssembly functions and keeps their table slots. */
import { type CodeTable, FunctionBatch } from '../interp/handlers.ts';
import type { SemanticsTable } from '../x86/semantics/context.ts';
import { PAGE } from '../page.ts';
import { compileRegion } from './compile-region.ts';
import type { DispatchMap, DispatchMaps } from './dispatch-maps.ts';
import { type CodeView, discoverRegion, type RegionPage } from './region.ts';

/** A place where a function can be entered; addresses count from the start of the page that it was translated for. */
export interface TranslationEntry {
  readonly address: number;
  /** Number that the function knows it by. */
  readonly number: number;
}

export interface Translation {
  /** Slot of the function in the handler table. */
  readonly slot: number;
  /** What it was asked for first. */
  readonly entries: readonly TranslationEntry[];
  readonly pages: readonly RegionPage[];
  /** Addresses of its blocks, those of functions taken in aside. */
  readonly ownBlocks: readonly number[];
  /** Addresses [from, to) of guest bytes it was made from; none goes across a page boundary. */
  readonly ranges: readonly (readonly [number, number])[];
  readonly blocks: number;
  readonly insns: number;
  readonly guestBytes: number;
  readonly wasmBytes: number;
  /** Finding and decoding the region, and emitting it. */
  readonly discoverMs: number;
  readonly generateMs: number;
}

/** What `install` compiled. */
export interface InstalledBatch {
  readonly functions: number;
  readonly wasmBytes: number;
  readonly compileMs: number;
}

/** Totals since the translator was made; `live*` are present values. */
export interface TranslatorCounts {
  regions: number;
  insns: number;
  evicted: number;
  guestBytes: number;
  wasmBytes: number;
  modules: number;
  live: number;
  liveBytes: number;
  discoverMs: number;
  generateMs: number;
  compileMs: number;
}

export class Translator {
  private readonly code: CodeTable;
  private readonly semantics: SemanticsTable;
  private batch: FunctionBatch | undefined;
  private readonly maps: DispatchMaps;
  private readonly mapOf = new Map<number, DispatchMap>();
  private readonly freeSlots: number[] = [];
  /** Bytes of WebAssembly by slot. */
  private readonly sizes: number[] = [];
  private batchBytes = 0;
  readonly counts: TranslatorCounts = {
    regions: 0,
    insns: 0,
    evicted: 0,
    guestBytes: 0,
    wasmBytes: 0,
    modules: 0,
    live: 0,
    liveBytes: 0,
    discoverMs: 0,
    generateMs: 0,
    compileMs: 0,
  };

  /** `maps`: where the tables of regions with several entries go. */
  constructor(code: CodeTable, semantics: SemanticsTable, maps: DispatchMaps) {
    this.maps = maps;
    this.code = code;
    this.semantics = semantics;
  }

  /**
   * Translates the region that begins at `entry`, an address in page 0 of `view`, and can be entered at `others` too. Undefined
   * when its first instruction is not whole in the page or no instruction. The function is in its slot after `install`: a module
   * with several functions costs less time and memory than several modules.
   */
  translate(view: CodeView, entry: number, others: readonly number[] = []): Translation | undefined {
    const startMs = performance.now();
    const region = discoverRegion(view, entry, others);
    if (region === undefined) return undefined;
    const discoveredMs = performance.now();
    const slot = this.freeSlots.pop() ?? this.code.allocateSlot();
    this.batch ??= new FunctionBatch(this.code);
    const target = this.batch.add(slot);
    const { entered, map } = compileRegion(region, view.mode, this.semantics, { ...target, maps: this.maps });
    if (map !== undefined) this.mapOf.set(slot, map);
    const ranges = [...region.blocks.values()].flatMap((block) => split(block.start, block.end));
    const made: Translation = {
      slot,
      entries: entered.map(({ start }, number) => ({ address: start, number })),
      pages: region.pages,
      ownBlocks: region.own,
      ranges,
      blocks: region.blocks.size,
      insns: region.insnCount,
      guestBytes: ranges.reduce((sum, [from, to]) => sum + to - from, 0),
      wasmBytes: target.builder.sizeBytes,
      discoverMs: discoveredMs - startMs,
      generateMs: performance.now() - discoveredMs,
    };
    this.account(made);
    return made;
  }

  private account({ slot, insns, guestBytes, wasmBytes, discoverMs, generateMs }: Translation): void {
    this.sizes[slot] = wasmBytes;
    this.batchBytes += wasmBytes;
    const { counts } = this;
    counts.regions++;
    counts.live++;
    counts.insns += insns;
    counts.guestBytes += guestBytes;
    counts.wasmBytes += wasmBytes;
    counts.liveBytes += wasmBytes;
    counts.discoverMs += discoverMs;
    counts.generateMs += generateMs;
  }

  /** Puts the functions made since the last call into their slots. */
  install(): InstalledBatch {
    const startMs = performance.now();
    this.batch?.install();
    const compileMs = performance.now() - startMs;
    const installed = { functions: this.batch?.size ?? 0, wasmBytes: this.batchBytes, compileMs };
    if (this.batch !== undefined) this.counts.modules++;
    this.counts.compileMs += compileMs;
    this.batch = undefined;
    this.batchBytes = 0;
    return installed;
  }

  /** Size of the function in a slot. */
  sizeOf(slot: number): number {
    return this.sizes[slot] ?? 0;
  }

  /** The function's guest code is gone; nothing refers to its slot any more. */
  release(slot: number): void {
    const map = this.mapOf.get(slot);
    if (map !== undefined) this.maps.release(map);
    this.mapOf.delete(slot);
    this.code.table.set(slot, null);
    this.freeSlots.push(slot);
    this.counts.evicted++;
    this.counts.live--;
    this.counts.liveBytes -= this.sizeOf(slot);
  }
}

/** A range of addresses at page boundaries. */
function split(from: number, to: number): [number, number][] {
  const boundary = (Math.floor(from / PAGE) + 1) * PAGE;
  if (to <= boundary) return [[from, to]];
  return [
    [from, boundary],
    [boundary, to],
  ];
}
