/** The tree of regions flattened into a sorted list of ranges that do not overlap: what the guest really sees. */
import type { MemoryRegion } from './region.ts';

/** Bytes `start` up to but not including `end` of guest physical memory, served by one leaf region. */
export interface FlatRange {
  readonly start: number;
  readonly end: number;
  readonly region: MemoryRegion;
  /** Offset in the region of the byte at `start`. */
  readonly offset: number;
  readonly readonly: boolean;
}

export function flatten(root: MemoryRegion): FlatRange[] {
  const ranges: FlatRange[] = [];
  render(root, 0, 0, root.sizeBytes, false, ranges);
  return merged(ranges);
}

/**
 * Adds what `region`, whose byte 0 lies at `base`, shows between `from` and `to` to those places of `ranges` that are
 * still free. Rendering the winner of an overlap first therefore settles it.
 */
function render(
  region: MemoryRegion,
  base: number,
  from: number,
  to: number,
  readonly: boolean,
  ranges: FlatRange[],
): void {
  if (!region.enabled) return;
  const start = Math.max(base, from);
  const end = Math.min(base + region.sizeBytes, to);
  if (start >= end) return;
  if (region.target) {
    render(region.target, base - region.targetOffset, start, end, readonly || region.readonly, ranges);
    return;
  }
  if (region.kind === 'container') {
    for (const { region: child, offset } of region.placements)
      render(child, base + offset, start, end, readonly, ranges);
    return;
  }
  insertIntoGaps({ start, end, region, offset: start - base, readonly: readonly || region.readonly }, ranges);
}

function insertIntoGaps(range: FlatRange, ranges: FlatRange[]): void {
  let start = range.start;
  let at = firstEndingAfter(ranges, start);
  while (start < range.end) {
    const next = ranges[at];
    const gapEnd = next ? Math.min(next.start, range.end) : range.end;
    if (start < gapEnd) {
      ranges.splice(at, 0, { ...range, start, end: gapEnd, offset: range.offset + (start - range.start) });
      at++;
    }
    if (!next) return;
    start = Math.max(start, next.end);
    at++;
  }
}

/** Index of the first range whose end lies above `address`. */
export function firstEndingAfter(ranges: readonly FlatRange[], address: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    // INVARIANT: middle < high <= length.
    if (ranges[middle]!.end <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

function merged(ranges: readonly FlatRange[]): FlatRange[] {
  const result: FlatRange[] = [];
  for (const range of ranges) {
    const last = result.at(-1);
    const continues =
      last &&
      last.end === range.start &&
      last.region === range.region &&
      last.readonly === range.readonly &&
      last.offset + (last.end - last.start) === range.offset;
    if (continues) result[result.length - 1] = { ...last, end: range.end };
    else result.push(range);
  }
  return result;
}
