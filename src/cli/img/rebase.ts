/** `orrery img rebase`: another backing image. */
import { ERRNO_TEXT, errnoOf } from '../../block/block-error.ts';
import type { BlockGraph } from '../../block/graph.ts';
import { rebaseImage } from '../../block/jobs/rebase.ts';
import type { BlockNode } from '../../block/node.ts';
import { Arguments, ImgFailure, SHAPES, usageError } from './arguments.ts';
import { backingOf, cacheMode, messageOf, newGraph, openImage, skipFilters } from './open.ts';
import { Progress } from './progress.ts';

const { format: FORMAT, imageOpts, quiet, progress: PROGRESS, cache: CACHE, sourceCache, forceShare, backingFormat } = SHAPES; // prettier-ignore
const BACKING = { name: 'backing', short: 'b', value: true };
const UNSAFE = { name: 'unsafe', short: 'u', value: false };

export async function rebase(words: readonly string[]): Promise<number> {
  const shapes = [FORMAT, imageOpts, quiet, PROGRESS, CACHE, sourceCache, forceShare, backingFormat, BACKING, UNSAFE];
  const args = new Arguments(words, shapes);
  const filename = args.only('Expecting one image file name');
  const unsafe = args.has(UNSAFE);
  const backing = args.get(BACKING);
  if (!unsafe && backing === undefined) throw usageError('Must specify backing file (-b) or use unsafe mode (-u)');
  const cache = cacheMode(args.get(CACHE) ?? 'writeback', 'cache');
  const source = cacheMode(args.get(sourceCache) ?? 'writeback', 'source cache');
  const progress = new Progress(args.has(PROGRESS) && !args.quiet);
  const graph = newGraph(args);
  const format = args.get(FORMAT);
  let done = false;
  try {
    const image = await openImage(graph, filename, {
      imageOpts: args.has(imageOpts),
      noBacking: unsafe,
      direct: cache.direct,
      noFlush: cache.noFlush,
      ...(format !== undefined && { format }),
    });
    const newFormat = args.get(backingFormat);
    if (newFormat !== undefined && graph.driver(newFormat) === undefined)
      throw new ImgFailure(`Invalid format name: '${newFormat}'`);
    if (!unsafe) {
      const oldBacking = backingOf(image);
      const found = await openNew(graph, image, { backing: backing ?? '', format: newFormat, direct: source.direct });
      for await (const { done: bytes, total } of rebaseImage(image, { oldBacking, ...found }))
        progress.show(bytes / total);
    }
    await setReference(skipFilters(image), backing ?? '', newFormat);
    await image.flush();
    done = true;
    return 0;
  } finally {
    progress.end(done);
    await graph.closeAll();
  }
}

interface NewBacking {
  readonly backing: string;
  readonly format: string | undefined;
  readonly direct: boolean;
}

async function openNew(
  graph: BlockGraph,
  image: BlockNode,
  { backing, format, direct }: NewBacking,
): Promise<{ readonly newBacking: BlockNode | undefined; readonly common: BlockNode | undefined }> {
  if (backing === '') return { newBacking: undefined, common: undefined };
  let path: string;
  try {
    path = graph.filenames.backingFilename(image.filename, backing);
  } catch (error) {
    throw new ImgFailure(`Could not resolve backing filename: ${messageOf(error)}`);
  }
  for (let node = backingOf(image); node !== undefined; node = backingOf(node))
    if (node.filename === path) return { newBacking: node, common: node };
  const newBacking = await graph
    .open(path, { readOnly: true, direct, ...(format !== undefined && { format }) })
    .catch((error: unknown) => {
      throw new ImgFailure(`Could not open new backing file '${backing}': ${messageOf(error)}`);
    });
  return { newBacking, common: undefined };
}

async function setReference(image: BlockNode, file: string, format: string | undefined): Promise<void> {
  const fail = (why: string): never => {
    throw new ImgFailure(`Could not change the backing file to '${file}': ${why}`);
  };
  if (file !== '' && format === undefined) return fail('backing format must be specified');
  if (image.setBackingReference === undefined) return fail(ERRNO_TEXT.ENOTSUP);
  const reference = file === '' ? null : { file, ...(format !== undefined && { format }) };
  await image.setBackingReference(reference).catch((error: unknown) => {
    const code = errnoOf(error);
    return fail(code === 'ENOSPC' ? 'No space left in the file header' : ERRNO_TEXT[code]);
  });
}
