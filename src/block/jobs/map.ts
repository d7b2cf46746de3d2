/** Where an image's bytes come from: run by run, the node of the backing chain that says it, and the place in its file. */
import type { BlockNode, BlockStatus, ChildRole } from '../node.ts';

export interface MapEntry {
  readonly offset: number;
  readonly bytes: number;
  /** How far down the backing chain: 0 the image itself. */
  readonly depth: number;
  /** Some node of the chain says what is there. */
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  /** Where these very bytes are, when they are anywhere as they are. */
  readonly at?: { readonly filename: string; readonly offset: number };
}

/** Questions are about so many bytes at most, so that an answer is not long in coming. */
const STEP_BYTES: number = 1024 ** 3;

/** Runs of [from, end), neighbours that are alike as one; a run of no bytes when there are none. */
export async function* mapImage(
  top: BlockNode,
  from: number,
  end: number,
  { signal }: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<MapEntry, void, void> {
  let last: MapEntry = { offset: from, bytes: 0, depth: 0, present: false, zero: false, data: false };
  for (let offset = from; offset < end;) {
    signal?.throwIfAborted();
    const next = await entryAt(top, offset, Math.min(end - offset, STEP_BYTES));
    if (follows(last, next)) last = { ...last, bytes: last.bytes + next.bytes };
    else {
      if (last.bytes > 0) yield last;
      last = next;
    }
    offset += next.bytes;
  }
  yield last;
}

function follows(last: MapEntry, next: MapEntry): boolean {
  if (last.bytes === 0) return false;
  if (last.zero !== next.zero || last.data !== next.data) return false;
  if (last.present !== next.present || last.depth !== next.depth) return false;
  if (last.at === undefined || next.at === undefined) return last.at === next.at;
  return last.at.filename === next.at.filename && last.at.offset + last.bytes === next.at.offset;
}

async function entryAt(top: BlockNode, offset: number, bytes: number): Promise<MapEntry> {
  let node = withoutFilters(top);
  let left = bytes;
  for (let depth = 0; ; depth++) {
    const status = await node.status(offset, left);
    left = Math.min(left, Math.max(1, status.bytes));
    const below = childOf(node, 'backing');
    if (status.allocated || below === undefined) return entryOf(status, { offset, bytes: left, depth });
    const backing = withoutFilters(below);
    // Behind the end of a shorter backing image there is nothing.
    if (offset >= backing.size) return { offset, bytes: left, depth, present: false, zero: true, data: false };
    left = Math.min(left, backing.size - offset);
    node = backing;
  }
}

async function entryOf(
  status: BlockStatus,
  where: { readonly offset: number; readonly bytes: number; readonly depth: number },
): Promise<MapEntry> {
  const { data, allocated, at } = status;
  let { zero } = status;
  let { bytes } = where;
  if (data && !zero && status.sparse === true && at !== undefined && at.offset < at.node.size) {
    const below = await at.node.status(at.offset, Math.min(bytes, at.node.size - at.offset));
    bytes = Math.min(bytes, Math.max(1, below.bytes));
    zero = below.zero;
  }
  // What is neither data nor zeroes is what a server does not care to tell: dirty parts, when a bitmap is asked for.
  const present = allocated && (data || zero);
  const place = at === undefined || !present ? {} : { at: { filename: at.node.filename, offset: at.offset } };
  return { ...where, bytes, present, zero: zero || !allocated, data, ...place };
}

function withoutFilters(node: BlockNode): BlockNode {
  let at = node;
  for (let below = childOf(at, 'filtered'); below !== undefined; below = childOf(at, 'filtered')) at = below;
  return at;
}

function childOf(node: BlockNode, role: ChildRole): BlockNode | undefined {
  return node.children.find((child) => child.role === role)?.node;
}
