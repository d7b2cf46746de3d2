/**
 * From a control-flow graph to WebAssembly's blocks and loops.
 *
 * Reducible graphs follow Norman Ramsey, "Beyond Relooper" (ICFP 2022): walking the dominator tree, a node with several forward
 * predecessors becomes the end of a `block` around its dominator's other children, a node that a back edge reaches becomes a
 * `loop`. Irreducible graphs are reported, and the caller cuts the region down.
 */

export interface Graph {
  readonly entry: number;
  successors(node: number): readonly number[];
}

export interface Structure {
  /** Nodes reachable from the entry in reverse postorder. */
  readonly order: readonly number[];
  readonly position: ReadonlyMap<number, number>;
  readonly loopHeaders: ReadonlySet<number>;
  readonly mergeNodes: ReadonlySet<number>;
  /** Children in the dominator tree, in reverse postorder. */
  readonly dominated: ReadonlyMap<number, readonly number[]>;
}

/** Undefined when a back edge reaches a node that does not dominate its source. */
export function analyse(graph: Graph): Structure | undefined {
  const order = reversePostorder(graph);
  const position = new Map(order.map((node, i) => [node, i]));
  const at = (node: number): number => position.get(node) ?? 0;
  const predecessors = new Map<number, number[]>(order.map((node) => [node, []]));
  for (const node of order) for (const next of graph.successors(node)) predecessors.get(next)?.push(node);

  const dominator = immediateDominators(order, predecessors, at);
  const dominates = (a: number, b: number): boolean => {
    for (let node: number = b; ;) {
      if (node === a) return true;
      const up = dominator.get(node);
      if (up === undefined || up === node) return false;
      node = up;
    }
  };

  const loopHeaders = new Set<number>();
  const mergeNodes = new Set<number>();
  for (const node of order) {
    let forward = 0;
    for (const from of predecessors.get(node) ?? []) {
      if (at(from) < at(node)) {
        forward++;
      } else if (dominates(node, from)) {
        loopHeaders.add(node);
      } else {
        return undefined;
      }
    }
    if (forward > 1) mergeNodes.add(node);
  }
  const dominated = new Map<number, number[]>(order.map((node) => [node, []]));
  for (const node of order) {
    const up = dominator.get(node);
    if (up !== undefined && up !== node) dominated.get(up)?.push(node);
  }
  return { order, position, loopHeaders, mergeNodes, dominated };
}

function reversePostorder(graph: Graph): number[] {
  const visited = new Set<number>([graph.entry]);
  const post: number[] = [];
  const stack: { node: number; next: number }[] = [{ node: graph.entry, next: 0 }];
  for (let top = stack[stack.length - 1]; top !== undefined; top = stack[stack.length - 1]) {
    const successor = graph.successors(top.node)[top.next++];
    if (successor === undefined) {
      post.push(top.node);
      stack.pop();
    } else if (!visited.has(successor)) {
      visited.add(successor);
      stack.push({ node: successor, next: 0 });
    }
  }
  return post.reverse();
}

/** Cooper, Harvey, Kennedy: "A Simple, Fast Dominance Algorithm". The entry is its own dominator. */
function immediateDominators(
  order: readonly number[],
  predecessors: ReadonlyMap<number, readonly number[]>,
  at: (node: number) => number,
): Map<number, number> {
  const dominator = new Map<number, number>();
  const entry = order[0];
  if (entry === undefined) return dominator;
  dominator.set(entry, entry);
  const meet = (a: number, b: number): number => {
    let [x, y] = [a, b];
    while (x !== y) {
      while (at(x) > at(y)) x = dominator.get(x) ?? entry;
      while (at(y) > at(x)) y = dominator.get(y) ?? entry;
    }
    return x;
  };
  for (let changed = true; changed;) {
    changed = false;
    for (const node of order.slice(1)) {
      let best: number | undefined;
      for (const from of predecessors.get(node) ?? []) {
        if (dominator.has(from)) best = best === undefined ? from : meet(best, from);
      }
      if (best !== undefined && dominator.get(node) !== best) {
        dominator.set(node, best);
        changed = true;
      }
    }
  }
  return dominator;
}
