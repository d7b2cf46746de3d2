/** Between the region compiler (compile-region.ts), which knows the blocks, and the context, which emits one of them. */
import type { Expr } from '../../wasm/expr.ts';
import type { DispatchMap } from './dispatch-maps.ts';
import type { FlagForm } from './region-flags.ts';
import type { BasicBlock, RegionPage } from './region.ts';

/** A way from the block being emitted to another of the region. */
export interface Way {
  readonly target: number;
  /** Leads back, so that the budget must be looked at. */
  readonly back: boolean;
  /** Control comes back from elsewhere: all registers are in the state. */
  readonly fromState: boolean;
  /** The target is emitted right there, for this alone: it goes on with what is known here. Otherwise: how it wants the flags. */
  readonly flags: FlagForm | 'known';
  /** Pages of the target that the block being emitted does not lie in. */
  readonly newPages: readonly number[];
}

/** How indirect jumps come back into a region with several entries. */
export interface Again {
  /** How its entries want the flags. */
  readonly flags: FlagForm;
  readonly map: DispatchMap | undefined;
}

/** What the region compiler knows of the block being emitted. */
export interface Edges {
  readonly block: BasicBlock;
  readonly pages: readonly RegionPage[];
  /** When indirect jumps may come back into the region. */
  readonly again: Again | undefined;
  way(target: number, fromState?: boolean): Way;
  /** The block being emitted is in a loop that does nothing to this vector register but float arithmetic. */
  steady(vector: number): boolean;
  /** Emits the transfer; may emit the target block, and all it dominates, in place. */
  go(way: Way): void;
  /** Emits the transfer to the entry with this number, or to the one at the goal (`entryByAddress`). */
  dispatch(entry?: Expr<'i32'>): void;
}
