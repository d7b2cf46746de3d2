import { expect, test } from 'vitest';
import * as L from '../layout.ts';
import { successorsOf } from './loop-entries.ts';
import { type CodeView, discoverRegion, type Region } from './region.ts';

/** Code at address 0 that tier 0 ran often, but for the blocks at `cold`. */
function discover(bytes: readonly number[], cold: readonly number[]): Region | undefined {
  const page = new Uint8Array(4096 + 16).fill(0xf4); // HLT
  page.set(bytes);
  const view: CodeView = {
    bytes: page,
    mode: L.MODE_64,
    single: false,
    eager: false,
    page: (delta) => (delta === 0 ? { start: 0, ppn: 1 } : undefined),
    heat: (address) => (cold.includes(address) ? 0 : 1_000_000),
    known: () => [],
    elsewhere: () => 0,
    absorb: () => [],
    pointer: () => undefined,
  };
  return discoverRegion(view, 0);
}

function reached({ entries, blocks }: Region): Set<number> {
  const found = new Set<number>();
  const stack = [...entries];
  for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
    const block = blocks.get(id);
    if (block === undefined || found.has(id)) continue;
    found.add(id);
    stack.push(...successorsOf(block));
  }
  return found;
}

test('what follows a call that never returns is no part of a region', () => {
  const region = discover(
    [
      0xe8, 3, 0, 0, 0, // 0: call 8
      0xff, 0xc1, 0xc3, // 5: inc ecx; ret
      0xe8, 6, 0, 0, 0, // 8: call 19
      0xff, 0xc9, 0x75, 0xfc, // 13: dec ecx; jnz 13
      0xc3, 0x90, // 17: ret
      0x84, 0xc0, // 19: test al, al
      0x75, 0x0b, // 21: jnz 34
      0xeb, 0xfa, // 23: jmp 19
    ],
    [34],
  ); // prettier-ignore
  expect(region).toBeDefined();
  if (region === undefined) return;
  expect([...region.blocks.values()].map(({ start }) => start)).toContain(19);
  expect(reached(region)).toEqual(new Set(region.blocks.keys()));
});
