import { expect, test } from 'vitest';
import { successorsOf, withSingleLoopEntries } from './loop-entries.ts';
import type { BasicBlock, Region } from './region.ts';
import { analyse, DISPATCH } from './structure.ts';

/** Blocks of one instruction at addresses 0, 1, ...; `edges[i]` are the successors of block i, two at most. */
function region(edges: readonly (readonly number[])[], entries: readonly number[]): Region {
  const blocks = new Map<number, BasicBlock>();
  edges.forEach(([taken, next], id) => {
    // INVARIANT: only its length is looked at.
    const insns = [{}] as unknown as BasicBlock['insns'];
    blocks.set(id, {
      id,
      start: id,
      insns,
      end: id + 1,
      taken,
      next,
      expected: undefined,
      returns: undefined,
      pages: [0],
    });
  });
  return { entries, blocks, pages: [], own: [...blocks.keys()], insnCount: blocks.size };
}

/** Edges that need DISPATCH although they are no entries. */
function redirections({ entries, blocks }: Region): number {
  const successors = (node: number): readonly number[] => {
    const block = blocks.get(node);
    return block === undefined ? [] : successorsOf(block);
  };
  const structure = analyse({ entries, successors });
  const inside = structure.order.filter((node) => node !== DISPATCH);
  return inside.flatMap((from) => successors(from).filter((to) => structure.redirected(from, to))).length;
}

/** Addresses along every way of `steps` steps from the entry at address `start`. */
function ways({ entries, blocks }: Region, start: number, steps: number): string[] {
  const from = (id: number, left: number): string[] => {
    const block = blocks.get(id);
    if (block === undefined) return ['?'];
    const next = successorsOf(block);
    if (left === 0 || next.length === 0) return [`${block.start}`];
    return next.flatMap((to) => from(to, left - 1).map((rest) => `${block.start} ${rest}`));
  };
  return entries.filter((id) => blocks.get(id)?.start === start).flatMap((id) => from(id, steps));
}

const LOOPS: readonly { what: string; edges: readonly (readonly number[])[]; entries: readonly number[] }[] = [
  { what: 'entered at its head and in its middle', edges: [[1], [2], [3], [1, 4], []], entries: [2, 0] },
  { what: 'around another, entered in the inner one', edges: [[1], [2], [3], [2, 4], [1, 5], []], entries: [3, 0] },
  { what: 'with a jump into it from the region', edges: [[1, 3], [2], [3], [1, 4], []], entries: [0] },
  { what: 'entered at all of its blocks', edges: [[1], [2], [0]], entries: [0, 1, 2] },
];

for (const { what, edges, entries } of LOOPS) {
  test(`a loop ${what} needs no way by DISPATCH, and goes the same ways`, () => {
    const before = region(edges, entries);
    expect(redirections(before)).toBeGreaterThan(0);
    const after = withSingleLoopEntries(before);
    expect(redirections(after)).toBe(0);
    for (const start of entries) expect(ways(after, start, 7)).toEqual(ways(before, start, 7));
  });
}

test('what is entered at one block stays as it is', () => {
  const before = region([[1], [2, 1], [0, 3], []], [0]);
  expect(withSingleLoopEntries(before)).toBe(before);
});

test('a loop that is too long stays as it is', () => {
  const long = Array.from({ length: 400 }, (_, i) => [(i + 1) % 400]);
  const before = region(long, [0, 1]);
  expect(withSingleLoopEntries(before)).toBe(before);
});

test('a loop that nothing leads to stays as it is', () => {
  const before = region([[1], [], [3], [2]], [0]);
  expect(withSingleLoopEntries(before)).toBe(before);
});
