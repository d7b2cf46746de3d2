/** What is read at an offset, whichever node of the backing chain says it. */
import type { BlockNode, BlockStatus } from './node.ts';

export interface ChainStatus {
  readonly bytes: number;
  /** Stored somewhere in the chain. */
  readonly data: boolean;
  readonly zero: boolean;
  /** Which node says so: 1 the topmost, 2 its backing node …; 0: none does, and it reads as zeroes. */
  readonly depth: number;
}

/**
 * The run at `offset`, at most `bytes` long (more than 0), as the topmost node's reader sees it. With `above`, a node of the chain, only
 * nodes above it are asked, and depth 0 means that none of them says anything.
 */
export async function statusOfChain(
  top: BlockNode,
  offset: number,
  bytes: number,
  above?: BlockNode,
): Promise<ChainStatus> {
  let node = top;
  let left = bytes;
  for (let depth = 1; ;) {
    const filtered = childOf(node, 'filtered');
    if (filtered !== undefined && offset < filtered.size) {
      // A filter has nothing of its own to tell, but may fail to tell it.
      left = Math.min(left, Math.max(1, (await node.status(offset, left)).bytes));
      node = filtered;
      continue;
    }
    const status = await node.status(offset, left);
    left = Math.min(left, Math.max(1, status.bytes));
    const below = childOf(node, 'backing');
    if (status.allocated || below === undefined) {
      return {
        bytes: left,
        data: status.data,
        zero: status.zero || !status.allocated,
        depth: status.allocated ? depth : 0,
        ...(await holeBelow(node, status, left)),
      };
    }
    // Beyond the end of a shorter backing node the one above it reads as zeroes.
    if (below === above) return { bytes: left, data: false, zero: false, depth: 0 };
    if (offset >= below.size) return { bytes: left, data: false, zero: true, depth };
    left = Math.min(left, below.size - offset);
    node = below;
    depth++;
  }
}

/** Data of a format may lie in a hole of the file below it, which reads as zeroes. */
async function holeBelow(
  node: BlockNode,
  { data, zero, at, sparse }: BlockStatus,
  bytes: number,
): Promise<Partial<ChainStatus>> {
  if (!data || zero || sparse === false || at === undefined || at.node === node || at.offset >= at.node.size) return {};
  const below = await at.node.status(at.offset, Math.min(bytes, at.node.size - at.offset));
  return { bytes: Math.min(bytes, Math.max(1, below.bytes)), zero: below.zero };
}

function childOf(node: BlockNode, role: 'filtered' | 'backing'): BlockNode | undefined {
  return node.children.find((child) => child.role === role)?.node;
}
