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
}

export class Translator {
  private readonly code: CodeTable;
  private readonly semantics: SemanticsTable;
  private batch: FunctionBatch | undefined;
  private readonly freeSlots: number[] = [];
  readonly counts: { regions: number; insns: number; evicted: number } = { regions: 0, insns: 0, evicted: 0 };

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
    const found = discoverRegion(bytes, pageStart, offset, mode, single);
    if (found === undefined) return undefined;
    const structured = structureOf(found);
    const { region } = structured;
    const slot = this.freeSlots.pop() ?? this.code.allocateSlot();
    this.batch ??= new FunctionBatch(this.code);
    compileRegion(structured, mode, this.semantics, this.batch.add(slot));
    this.counts.regions++;
    this.counts.insns += region.insnCount;
    return { slot, ranges: [...region.blocks.values()].map((block) => [block.start, block.end] as const) };
  }

  /** Puts the functions made since the last call into their slots. */
  install(): void {
    this.batch?.install();
    this.batch = undefined;
  }

  /** The function's guest code is gone; nothing refers to its slot any more. */
  release(slot: number): void {
    this.code.table.set(slot, null);
    this.freeSlots.push(slot);
    this.counts.evicted++;
  }
}
