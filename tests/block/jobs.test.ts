/** Jobs over nodes in memory: what they copy, how they are stopped, and what they say of reads that fail. */
import { describe, expect, it, vi } from 'vitest';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';
import { BlockError } from '../../src/block/block-error.ts';
import { BlockGraph } from '../../src/block/graph.ts';
import type { IoVector } from '../../src/block/io-vector.ts';
import type { BlockNode } from '../../src/block/node.ts';
import { firstDifference, firstNonZero } from '../../src/block/jobs/buffers.ts';
import { compareImages } from '../../src/block/jobs/compare.ts';
import { copyImage } from '../../src/block/jobs/copy.ts';
import { rebaseImage } from '../../src/block/jobs/rebase.ts';

const MIB = 1024 ** 2;
const SIZE = 9 * MIB + 512;

/** A disk with data in its first part and a little at its end. */
async function disk(graph: BlockGraph, size = SIZE): Promise<BlockNode> {
  const node = await graph.open({ driver: 'memory', size });
  await node.write(0, [Uint8Array.from({ length: 3 * MIB }, (_, at) => (at % 251) + 1)]);
  await node.write(size - 512, [new Uint8Array(512).fill(7)]);
  return node;
}

async function bytesOf(node: BlockNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size);
  await node.read(0, [bytes]);
  return bytes;
}

async function ended<Result>(job: AsyncGenerator<unknown, Result, void>): Promise<Result> {
  for (;;) {
    const step = await job.next();
    if (step.done === true) return step.value;
  }
}

/** Reads of one sector fail. */
function breakReads(node: BlockNode, sector: number): void {
  const read = node.read.bind(node);
  node.read = async (offset: number, into: IoVector) => {
    const bytes = into.reduce((sum, piece) => sum + piece.length, 0);
    if (offset < (sector + 1) * 512 && offset + bytes > sector * 512) throw new BlockError('EIO');
    return read(offset, into);
  };
}

describe('copyImage', () => {
  it.each([{}, { outOfOrder: true }, { parallel: 1 }, { sparseBytes: 0 }])('copies with %o', async (options) => {
    const graph = new BlockGraph(nodeBlockHost);
    const [source, target] = [await disk(graph), await graph.open({ driver: 'memory', size: SIZE })];
    const shares: number[] = [];
    for await (const { done, total } of copyImage({ sources: [source], target, targetIsZero: true, ...options }))
      shares.push(done / total);
    expect(firstDifference(await bytesOf(target), await bytesOf(source))).toBe(-1);
    expect(shares.at(-1)).toBe(1);
    expect(shares.toSorted((a, b) => a - b)).toEqual(shares);
  });

  it('puts sources one behind the other, over what the target had', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    const sources = [await disk(graph), await disk(graph, 4 * MIB)];
    const target = await graph.open({ driver: 'memory', size: SIZE + 4 * MIB });
    await target.write(0, [new Uint8Array(target.size).fill(0xff)]);
    await ended(copyImage({ sources, target, targetIsZero: false }));
    const [first, second] = await Promise.all(sources.map(bytesOf));
    const found = await bytesOf(target);
    expect(firstDifference(found.subarray(0, SIZE), first ?? found)).toBe(-1);
    expect(firstDifference(found.slice(SIZE), second ?? found)).toBe(-1);
  });

  it('stops when it is told to, and when nobody asks any more', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    const [source, target] = [await disk(graph), await graph.open({ driver: 'memory', size: SIZE })];
    const aborted = AbortSignal.abort(new Error('enough'));
    const job = copyImage({ sources: [source], target, targetIsZero: true, signal: aborted });
    await expect(ended(job)).rejects.toThrow('enough');
    let writes = 0;
    const write = target.write.bind(target);
    target.write = (...words) => (writes++, write(...words));
    for await (const _ of copyImage({ sources: [source], target, targetIsZero: true, parallel: 1 })) break;
    const after = writes;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(writes).toBe(after);
  });

  it('fails where a read fails, or goes on with zeroes', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    const [source, target] = [await disk(graph), await graph.open({ driver: 'memory', size: SIZE })];
    const whole = await bytesOf(source);
    breakReads(source, 3);
    const options = { sources: [source], target, targetIsZero: true };
    await expect(ended(copyImage(options))).rejects.toThrow('error while reading at byte 0: Input/output error');
    const skipped: number[] = [];
    await ended(copyImage({ ...options, salvage: (offset) => skipped.push(offset) }));
    expect(skipped).toEqual([3 * 512]);
    whole.fill(0, 3 * 512, 4 * 512);
    expect(firstDifference(await bytesOf(target), whole)).toBe(-1);
    const told: string[] = [];
    const status = source.status.bind(source);
    vi.spyOn(source, 'status').mockImplementation((offset, bytes) =>
      offset <= 5 * 512 && offset + bytes > 5 * 512 ? Promise.reject(new BlockError('EIO')) : status(offset, bytes),
    );
    await ended(copyImage({ ...options, salvage: (offset, _error, what) => told.push(`${what} ${offset}`) }));
    expect(told.toSorted()).toEqual(['data 1536', 'status 2560', 'status 2560']);
    expect(firstDifference(await bytesOf(target), whole)).toBe(-1);
  });
});

describe('compareImages', () => {
  it('tells where content differs, and that a longer image is the same when it goes on with zeroes', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    const [a, b] = [await disk(graph), await disk(graph)];
    expect(await ended(compareImages(a, b))).toEqual({ same: true });
    await b.truncate(SIZE + MIB);
    let longer = false;
    expect(await ended(compareImages(a, b, { onSizeMismatch: () => (longer = true) }))).toEqual({ same: true });
    expect(longer).toBe(true);
    expect(await ended(compareImages(a, b, { strict: true }))).toEqual({ same: false, why: 'size' });
    await b.write(2 * MIB + 700, [Uint8Array.of(0)]);
    const place = 2 * MIB + 512;
    expect(await ended(compareImages(a, b))).toEqual({ same: false, why: 'content', offset: place });
    breakReads(a, 0);
    await expect(ended(compareImages(a, b))).rejects.toMatchObject({ image: 0, what: 'read', code: 'EIO' });
  });
});

describe('rebaseImage', () => {
  it('writes what the old backing image has otherwise than the new one', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    const [old, other] = [await disk(graph), await disk(graph)];
    await other.write(MIB, [new Uint8Array(512).fill(0xee)]);
    const image = await graph.open({ driver: 'memory', size: SIZE });
    image.status = (offset, bytes) => Promise.resolve({ bytes, data: false, zero: false, allocated: offset < 0 });
    await ended(rebaseImage(image, { oldBacking: old, newBacking: other }));
    const written = await bytesOf(image);
    expect(firstNonZero(written)).toBe(MIB);
    expect(firstDifference(written.slice(MIB, MIB + 512), (await bytesOf(old)).slice(MIB, MIB + 512))).toBe(-1);
    expect(firstNonZero(written, MIB + 512)).toBe(-1);
  });
});
