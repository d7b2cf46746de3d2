/** `orrery img commit`: what an overlay has goes into an image below it. */
import { realpathSync } from 'node:fs';
import { ERRNO_TEXT, errnoOf } from '../../block/block-error.ts';
import { commitImage } from '../../block/jobs/commit.ts';
import type { NodeOptions } from '../../block/driver.ts';
import type { BlockGraph } from '../../block/graph.ts';
import type { BlockNode } from '../../block/node.ts';
import { nodeBlockHost } from '../../host/node/block/host.ts';
import { Arguments, ImgFailure, SHAPES } from './arguments.ts';
import { backingOf, type CacheMode, cacheMode, newGraph, openImage } from './open.ts';
import { Progress } from './progress.ts';
import { parseNumber } from './sizes.ts';

const { format: FORMAT, imageOpts, quiet, progress: PROGRESS, cache: CACHE } = SHAPES;
const BASE = { name: 'base', short: 'b', value: true };
const RATE = { name: 'rate-limit', short: 'r', value: true };
const KEEP = { name: 'keep', short: 'd', value: false };

export async function commit(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, quiet, PROGRESS, CACHE, BASE, RATE, KEEP]);
  const rate = args.get(RATE);
  const rateLimit = rate === undefined ? undefined : parseNumber('rate limit', rate);
  const filename = args.only('Expecting one image file name');
  const cache = cacheMode(args.get(CACHE) ?? 'writeback', 'cache');
  const chain = await chainOf(args, filename);
  const graph = newGraph(args);
  const progress = new Progress(args.has(PROGRESS) && !args.quiet);
  try {
    const { top, base } = await openForCommit(graph, chain, cache);
    const sleep = (ms: number): Promise<void> => nodeBlockHost.sleep(ms);
    const job = commitImage(top, base, { sleep, ...(rateLimit !== undefined && { rateLimit }) });
    try {
      for await (const { done: bytes, total } of job) progress.show(bytes / total);
    } catch (error) {
      throw new ImgFailure(`Block job failed: ${ERRNO_TEXT[errnoOf(error)]}`);
    }
    // Images between would still show what was there before: then the overlay keeps what it has.
    if (!args.has(KEEP) && !args.has(BASE)) {
      await top.makeEmpty?.().catch((error: unknown) => {
        throw new ImgFailure(`Failed to empty ${filename}: ${ERRNO_TEXT[errnoOf(error)]}`);
      });
    }
    progress.end(true);
  } catch (error) {
    progress.end(false);
    // What becomes of the images matters less than why.
    await graph.closeAll().catch(() => undefined);
    throw error;
  }
  await graph.closeAll();
  if (!args.quiet) process.stdout.write('Image committed.\n');
  return 0;
}

/** Options of the image and those below it, down to the one that is committed to. */
async function chainOf(args: Arguments, filename: string): Promise<readonly NodeOptions[]> {
  const graph = newGraph(args);
  const format = args.get(FORMAT);
  const top = await openImage(graph, filename, {
    imageOpts: args.has(imageOpts),
    ...(format !== undefined && { format }),
  });
  try {
    const base = args.get(BASE);
    const chain = [graph.optionsOf(top)];
    let above = top;
    for (let node = backingOf(top); node !== undefined; node = backingOf(node)) {
      chain.push(graph.optionsOf(node));
      // Names are relative to the image that would have them in it.
      if (base === undefined || isSamePlace(graph.filenames.backingFilename(above.filename, base), node.filename))
        return chain;
      above = node;
    }
    if (base === undefined) throw new ImgFailure('Image does not have a backing file');
    throw new ImgFailure(`Did not find '${base}' in the backing chain of '${filename}'`);
  } finally {
    await graph.closeAll();
  }
}

function isSamePlace(one: string, other: string): boolean {
  try {
    return one === other || realpathSync(one) === realpathSync(other);
  } catch {
    return false;
  }
}

/** The same chain again, from the bottom: the first and the last for writing. */
async function openForCommit(
  graph: BlockGraph,
  chain: readonly NodeOptions[],
  cache: CacheMode,
): Promise<{ readonly top: BlockNode; readonly base: BlockNode }> {
  const flags = { direct: cache.direct, noFlush: cache.noFlush };
  const [overlay, ...below] = chain;
  const last = below.at(-1);
  if (overlay === undefined || last === undefined) throw new ImgFailure('Image does not have a backing file');
  const base = await graph.open(last, { ...flags, unmap: true });
  let node = base;
  for (const options of below.slice(0, -1).reverse())
    node = await graph.open({ ...options, backing: node.name }, { readOnly: true });
  const top = await graph.open({ ...overlay, backing: node.name }, { ...flags, unmap: true });
  return { top, base };
}
