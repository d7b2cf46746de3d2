/**
 * From a control-flow graph to WebAssembly's blocks and loops.
 *
 * Reducible graphs follow Norman Ramsey, "Beyond Relooper" (ICFP 2022): walking the dominator tree, a node with several forward
 * predecessors becomes the end of a `block` around its dominator's other children, a node that a back edge reaches becomes a
 * `loop`.
 *
 * A region with several entries gets a node in front, DISPATCH, that branches to them by number. An edge that makes the graph
 * irreducible (a jump into a loop that has another entrance) goes by way of DISPATCH too.
 */

/** The node in front of all entries. */
export const DISPATCH = -1;

export interface Graph {
  readonly entries: readonly number[];
  successors(node: number): readonly number[];
}

export interface Structure {
  /** DISPATCH, or the only entry. */
  readonly root: number;
  /** What DISPATCH branches to, by number: the graph's entries first. Empty without it. */
  readonly dispatched: readonly number[];
  /** Whether the edge goes by way of DISPATCH. */
  redirected(from: number, to: number): boolean;
  /** Nodes reachable from the entry in reverse postorder. */
  readonly order: readonly number[];
  readonly position: ReadonlyMap<number, number>;
  readonly loopHeaders: ReadonlySet<number>;
  readonly mergeNodes: ReadonlySet<number>;
  /** Children in the dominator tree, in reverse postorder. */
  readonly dominated: ReadonlyMap<number, readonly number[]>;
}

export function analyse(graph: Graph): Structure {
  const redirected = new Set<string>();
  const dispatched = graph.entries.length > 1 ? [...graph.entries] : [];
  for (;;) {
    const root = dispatched.length > 0 ? DISPATCH : (graph.entries[0] ?? DISPATCH);
    const successors = (node: number): readonly number[] => {
      if (node === DISPATCH) return dispatched;
      const all = graph.successors(node);
      if (redirected.size === 0) return all;
      return [...new Set(all.map((to) => (redirected.has(`${node}>${to}`) ? DISPATCH : to)))];
    };
    const found = structure(root, successors);
    if ('order' in found) {
      return { ...found, root, dispatched, redirected: (from, to) => redirected.has(`${from}>${to}`) };
    }
    if (dispatched.length === 0) dispatched.push(...graph.entries);
    for (const { from, to } of found.irreducible) {
      redirected.add(`${from}>${to}`);
      if (!dispatched.includes(to)) dispatched.push(to);
    }
  }
}

type Shape = Omit<Structure, 'root' | 'dispatched' | 'redirected'>;

/** `irreducible`: back edges to a node that does not dominate their source. */
function structure(
  root: number,
  successors: (node: number) => readonly number[],
): Shape | { readonly irreducible: readonly { readonly from: number; readonly to: number }[] } {
  const order = reversePostorder(root, successors);
  const position = new Map(order.map((node, i) => [node, i]));
  const at = (node: number): number => position.get(node) ?? 0;
  const predecessors = new Map<number, number[]>(order.map((node) => [node, []]));
  for (const node of order) for (const next of successors(node)) predecessors.get(next)?.push(node);

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
  const irreducible: { from: number; to: number }[] = [];
  for (const node of order) {
    let forward = 0;
    for (const from of predecessors.get(node) ?? []) {
      if (at(from) < at(node)) forward++;
      else if (dominates(node, from)) loopHeaders.add(node);
      else irreducible.push({ from, to: node });
    }
    if (forward > 1) mergeNodes.add(node);
  }
  if (irreducible.length > 0) return { irreducible };
  // A branch by number needs a label for each of its targets.
  if (root === DISPATCH) {
    // Indirect jumps come back to it.
    loopHeaders.add(DISPATCH);
    for (const node of successors(DISPATCH)) mergeNodes.add(node);
  }
  const dominated = new Map<number, number[]>(order.map((node) => [node, []]));
  for (const node of order) {
    const up = dominator.get(node);
    if (up !== undefined && up !== node) dominated.get(up)?.push(node);
  }
  return { order, position, loopHeaders, mergeNodes, dominated };
}

function reversePostorder(root: number, successors: (node: number) => readonly number[]): number[] {
  const visited = new Set<number>([root]);
  const post: number[] = [];
  const stack: { node: number; next: number }[] = [{ node: root, next: 0 }];
  for (let top = stack[stack.length - 1]; top !== undefined; top = stack[stack.length - 1]) {
    const successor = successors(top.node)[top.next++];
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
