/** Tier 1: turns hot blocks into WebAssembly functions and keeps their table slots. */
import { type CodeTable, FunctionBatch } from '../interp/handlers.ts';
import type { SemanticsTable } from '../x86/semantics/context.ts';
import { compileRegion, structureOf } from './compile-region.ts';
import { discoverRegion } from './region.ts';

export interface Translation {
  /** Slot of the function in the handler table. */
  readonly slot: number;
  /** Page offsets [from, to) of guest bytes it was made from. */
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

  constructor(code: CodeTable, semantics: SemanticsTable) {
    this.code = code;
    this.semantics = semantics;
  }

  /**
   * Translates the region that begins at `offset` of the page at `bytes[pageStart]`; `single`: only the first instruction.
   * Undefined when that instruction is not whole in the page or no instruction. The function is in its slot after `install`:
   * a module with several functions costs less time and memory than several modules.
   */
  translate(
    bytes: Uint8Array,
    pageStart: number,
    offset: number,
    mode: number,
    single: boolean,
  ): Translation | undefined {
    const startMs = performance.now();
    const found = discoverRegion(bytes, pageStart, offset, mode, single);
    if (found === undefined) return undefined;
    const structured = structureOf(found);
    const discoveredMs = performance.now();
    const { region } = structured;
    const slot = this.freeSlots.pop() ?? this.code.allocateSlot();
    this.batch ??= new FunctionBatch(this.code);
    const target = this.batch.add(slot);
    compileRegion(structured, mode, this.semantics, target);
    const ranges = [...region.blocks.values()].map((block) => [block.start, block.end] as const);
    const made: Translation = {
      slot,
      ranges,
      blocks: ranges.length,
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
    this.code.table.set(slot, null);
    this.freeSlots.push(slot);
    this.counts.evicted++;
    this.counts.live--;
    this.counts.liveBytes -= this.sizeOf(slot);
  }
}
