/**
 * Meta contexts: what a client can ask of a range beside its bytes. `base:allocation` tells holes and zeroes, QEMU's own two how
 * deep in the backing chain data is, and what a dirty bitmap holds.
 */
import type { BlockNode, DirtyBitmap } from '../../node.ts';
import {
  CONTEXT_ALLOCATION_DEPTH,
  CONTEXT_BASE_ALLOCATION,
  NBD_STATE_DIRTY,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
} from '../constants.ts';
import { statusOfChain } from '../../chain-status.ts';

export interface Extent {
  readonly bytes: number;
  readonly flags: number;
}

export interface MetaContext {
  readonly name: string;
  /** The run at `offset` of the node, at most `bytes` long. */
  extent(offset: number, bytes: number): Promise<Extent>;
}

export class BaseAllocation implements MetaContext {
  readonly name: string = CONTEXT_BASE_ALLOCATION;
  private readonly node: BlockNode;

  constructor(node: BlockNode) {
    this.node = node;
  }

  async extent(offset: number, bytes: number): Promise<Extent> {
    const status = await statusOfChain(this.node, offset, bytes);
    return { bytes: status.bytes, flags: (status.data ? 0 : NBD_STATE_HOLE) | (status.zero ? NBD_STATE_ZERO : 0) };
  }
}

export class AllocationDepth implements MetaContext {
  readonly name: string = CONTEXT_ALLOCATION_DEPTH;
  private readonly node: BlockNode;

  constructor(node: BlockNode) {
    this.node = node;
  }

  async extent(offset: number, bytes: number): Promise<Extent> {
    const status = await statusOfChain(this.node, offset, bytes);
    return { bytes: status.bytes, flags: status.depth };
  }
}

export class BitmapContext implements MetaContext {
  readonly name: string;
  private readonly bitmap: DirtyBitmap;

  constructor(name: string, bitmap: DirtyBitmap) {
    this.name = name;
    this.bitmap = bitmap;
  }

  async extent(offset: number, bytes: number): Promise<Extent> {
    const run = this.bitmap.run(offset, bytes);
    return { bytes: Math.min(run.bytes, bytes), flags: run.dirty ? NBD_STATE_DIRTY : 0 };
  }
}

/**
 * Runs of [offset, offset + bytes), neighbours with the same flags joined, at most `most` of them (then they end before the range does).
 * `stopped` is asked between two: a client that is gone wants no answer.
 */
export async function collectExtents(
  context: MetaContext,
  offset: number,
  bytes: number,
  most: number,
  stopped: () => boolean,
): Promise<Extent[]> {
  const extents: Extent[] = [];
  let last: Extent | undefined;
  // GUEST: a client chooses the range; it was checked against the export, and what is looked at is bounded by MAX_STEPS.
  for (let [at, steps] = [offset, 0]; at < offset + bytes && steps < MAX_STEPS && !stopped(); steps++) {
    const next = await context.extent(at, offset + bytes - at);
    at += next.bytes;
    if (last !== undefined && last.flags === next.flags) {
      last = { bytes: last.bytes + next.bytes, flags: last.flags };
      extents[extents.length - 1] = last;
      continue;
    }
    if (extents.length === most) break;
    extents.push(next);
    last = next;
  }
  return extents;
}

/** Questions to the node for one request: runs of single clusters that all join would keep one request going over a whole disk. */
const MAX_STEPS = 65_536;
