/** The loops of a region, as far as translation wants to know them: for each block the smallest one around it. */
import { DISPATCH, type Structure } from './structure.ts';

export interface Loop {
  readonly header: number;
  readonly blocks: ReadonlySet<number>;
  /** No other loop is in it. */
  readonly innermost: boolean;
}

/** By block. A loop by way of DISPATCH is none. */
export function smallestLoops(
  structure: Structure,
  successors: (node: number) => readonly number[],
): ReadonlyMap<number, Loop> {
  const { order, position, loopHeaders } = structure;
  const predecessors = new Map<number, number[]>(order.map((node) => [node, []]));
  for (const node of order) {
    if (node === DISPATCH) continue;
    for (const to of successors(node)) if (!structure.redirected(node, to)) predecessors.get(to)?.push(node);
  }
  const at = (node: number): number => position.get(node) ?? 0;
  const headers = order.filter((node) => node !== DISPATCH && loopHeaders.has(node));
  const found = new Map<number, Loop>();
  // Inner headers come behind outer ones in reverse postorder.
  for (const header of headers) {
    const blocks = new Set([header]);
    const work = (predecessors.get(header) ?? []).filter((from) => at(from) >= at(header));
    for (let node = work.pop(); node !== undefined; node = work.pop()) {
      if (blocks.has(node)) continue;
      blocks.add(node);
      work.push(...(predecessors.get(node) ?? []));
    }
    const innermost = headers.every((other) => other === header || !blocks.has(other));
    for (const node of blocks) {
      const known = found.get(node);
      if (known === undefined || known.blocks.size > blocks.size) found.set(node, { header, blocks, innermost });
    }
  }
  return found;
}
