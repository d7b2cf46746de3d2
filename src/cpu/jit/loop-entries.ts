/**
 * Loops with several entries get one.
 *
 * A loop that became hot in its middle is entered there, and at its head when it is come to anew. WebAssembly has no such loops: their
 * back edges would go by way of DISPATCH (structure.ts), with all registers to memory and back. So the way from another entry
 * to the loop's head is made twice: once in the loop, once before it.
 */
import type { BasicBlock, Region } from './region.ts';

/** Instructions that are made twice, at most, in one region. */
const MAX_CLONED_INSNS = 250;

type Edges = ReadonlyMap<number, readonly number[]>;

export function successorsOf({ taken, next, expected, returns }: BasicBlock): readonly number[] {
  return [taken, next, expected?.block, returns].filter((to) => to !== undefined);
}

/** The region with as many of its loops as the limit allows entered at one block only. */
export function withSingleLoopEntries(region: Region): Region {
  let [result, left] = [region, MAX_CLONED_INSNS];
  for (;;) {
    const loop = findLoop(result, left);
    if (loop === undefined) return result;
    left -= loop.insns;
    result = split(result, loop);
  }
}

/** A loop with several entries: its blocks, those that are on the way from another entry to its head, and how long these are. */
interface SharedLoop {
  readonly blocks: ReadonlySet<number>;
  readonly copied: ReadonlySet<number>;
  readonly insns: number;
}

function findLoop(region: Region, limit: number): SharedLoop | undefined {
  const { blocks } = region;
  const edges: Edges = new Map([...blocks].map(([id, block]) => [id, successorsOf(block)]));
  const before = new Map<number, number[]>([...blocks.keys()].map((id) => [id, []]));
  for (const [id, to] of edges) for (const next of to) before.get(next)?.push(id);
  const entered = new Set(region.entries);

  const search = (nodes: ReadonlySet<number>): SharedLoop | undefined => {
    for (const loop of cycles(nodes, edges)) {
      const entries = [...loop].filter((id) => entered.has(id) || before.get(id)?.some((from) => !loop.has(from)));
      const head = entries.toSorted((a, b) => startOf(region, a) - startOf(region, b))[0];
      // Nothing leads there.
      if (head === undefined) continue;
      if (entries.length > 1) {
        const copied = reachable(entries.filter((id) => id !== head), edges, (id) => loop.has(id) && id !== head); // prettier-ignore
        const insns = [...copied].reduce((sum, id) => sum + (blocks.get(id)?.insns.length ?? 0), 0);
        if (insns <= limit) return { blocks: loop, copied, insns };
      }
      const inner = search(new Set([...loop].filter((id) => id !== head)));
      if (inner !== undefined) return inner;
    }
    return undefined;
  };
  return search(new Set(blocks.keys()));
}

function startOf(region: Region, id: number): number {
  return region.blocks.get(id)?.start ?? 0;
}

function split(region: Region, { blocks: loop, copied }: SharedLoop): Region {
  let id = Math.max(...region.blocks.keys()) + 1;
  const copies = new Map([...copied].map((block) => [block, id++]));
  const blocks = new Map<number, BasicBlock>();
  for (const [number, block] of region.blocks) {
    blocks.set(number, loop.has(number) ? block : withTargets(block, number, copies));
    const copy = copies.get(number);
    if (copy !== undefined) blocks.set(copy, withTargets(block, copy, copies));
  }
  return { ...region, blocks, entries: region.entries.map((entry) => copies.get(entry) ?? entry) };
}

function withTargets(block: BasicBlock, id: number, copies: ReadonlyMap<number, number>): BasicBlock {
  const to = <T extends number | undefined>(target: T): number | T =>
    target === undefined ? target : (copies.get(target) ?? target);
  const { expected } = block;
  return {
    ...block,
    id,
    taken: to(block.taken),
    next: to(block.next),
    returns: to(block.returns),
    expected: expected === undefined ? undefined : { ...expected, block: to(expected.block) },
  };
}

function reachable(from: readonly number[], edges: Edges, within: (id: number) => boolean): Set<number> {
  const found = new Set(from);
  const stack = [...from];
  for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
    for (const next of edges.get(id) ?? []) {
      if (found.has(next) || !within(next)) continue;
      found.add(next);
      stack.push(next);
    }
  }
  return found;
}

/** Strongly connected components with a cycle, among `nodes`. Tarjan, with a stack of its own. */
function cycles(nodes: ReadonlySet<number>, edges: Edges): Set<number>[] {
  const index = new Map<number, number>();
  const low = new Map<number, number>();
  const open: number[] = [];
  const isOpen = new Set<number>();
  const found: Set<number>[] = [];
  const lower = (id: number, to: number): void => void low.set(id, Math.min(low.get(id) ?? to, to));
  for (const root of nodes) {
    if (index.has(root)) continue;
    const work: { id: number; next: number }[] = [];
    const visit = (id: number): void => {
      low.set(id, index.size);
      index.set(id, index.size);
      open.push(id);
      isOpen.add(id);
      work.push({ id, next: 0 });
    };
    visit(root);
    for (let top = work.at(-1); top !== undefined; top = work.at(-1)) {
      const next = edges.get(top.id)?.[top.next++];
      if (next !== undefined) {
        if (!nodes.has(next)) continue;
        if (!index.has(next)) visit(next);
        else if (isOpen.has(next)) lower(top.id, index.get(next) ?? 0);
        continue;
      }
      work.pop();
      const { id } = top;
      const reached = low.get(id) ?? 0;
      const up = work.at(-1);
      if (up !== undefined) lower(up.id, reached);
      if (reached !== index.get(id)) continue;
      const component = new Set(open.splice(open.lastIndexOf(id)));
      for (const member of component) isOpen.delete(member);
      if (component.size > 1 || edges.get(id)?.includes(id)) found.push(component);
    }
  }
  return found;
}
