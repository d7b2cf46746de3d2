/** `orrery img commit`: what an overlay has goes into an image below it. */
import { commitImage } from '../../block/jobs/commit.ts';
import type { BlockGraph } from '../../block/graph.ts';
import type { BlockNode } from '../../block/node.ts';
import { nodeBlockHost } from '../../host/node/block/host.ts';
import { parseOptionList } from '../system/option-text.ts';
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
  let done = false;
  try {
    const { top, base } = await openForCommit(graph, args, chain, cache);
    const sleep = (ms: number): Promise<void> => nodeBlockHost.sleep(ms);
    const job = commitImage(top, base, { sleep, ...(rateLimit !== undefined && { rateLimit }) });
    for await (const { done: bytes, total } of job) progress.show(bytes / total);
    // Images between would still show what was there before: then the overlay keeps what it has.
    if (!args.has(KEEP) && !args.has(BASE) && top.makeEmpty !== undefined) await top.makeEmpty();
    done = true;
  } finally {
    progress.end(done);
    await graph.closeAll();
  }
  if (!args.quiet) process.stdout.write('Image committed.\n');
  return 0;
}

interface Link {
  readonly filename: string;
  readonly driver: string;
}

/** The image and those below it, down to the one that is committed to. */
async function chainOf(args: Arguments, filename: string): Promise<readonly Link[]> {
  const graph = newGraph(args);
  const format = args.get(FORMAT);
  const top = await openImage(graph, filename, {
    imageOpts: args.has(imageOpts),
    ...(format !== undefined && { format }),
  });
  try {
    const base = args.get(BASE);
    const wanted = base === undefined ? undefined : graph.filenames.backingFilename(top.filename, base);
    const chain: Link[] = [];
    for (let node: BlockNode | undefined = top; node !== undefined; node = backingOf(node)) {
      chain.push({ filename: node.filename, driver: node.driver });
      const below = chain.length > 1;
      if (below && (base === undefined || node.filename === base || node.filename === wanted)) return chain;
    }
    if (base === undefined) throw new ImgFailure('Image does not have a backing file');
    throw new ImgFailure(`Did not find '${base}' in the backing chain of '${filename}'`);
  } finally {
    await graph.closeAll();
  }
}

/** The same chain again, from the bottom: the first and the last for writing. */
async function openForCommit(
  graph: BlockGraph,
  args: Arguments,
  chain: readonly Link[],
  cache: CacheMode,
): Promise<{ readonly top: BlockNode; readonly base: BlockNode }> {
  const flags = { direct: cache.direct, noFlush: cache.noFlush };
  const [overlay, ...below] = chain;
  const last = below.at(-1);
  if (overlay === undefined || last === undefined) throw new ImgFailure('Image does not have a backing file');
  const base = await graph.open(last.filename, { ...flags, format: last.driver, unmap: true });
  let node = base;
  for (const { driver, filename } of below.slice(0, -1).reverse()) {
    const options = { driver, file: graph.filenames.protocolOptions(filename), backing: node.name };
    node = await graph.open(options, { readOnly: true });
  }
  const own = args.has(imageOpts)
    ? parseOptionList('-image-opts', args.operands[0] ?? '').properties
    : { file: graph.filenames.protocolOptions(overlay.filename) };
  const top = await graph.open({ driver: overlay.driver, ...own, backing: node.name }, { ...flags, unmap: true });
  return { top, base };
}
