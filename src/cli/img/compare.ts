/** `orrery img compare`: whether two images have the same content. */
import { CompareError, compareImages } from '../../block/jobs/compare.ts';
import { Arguments, ImgFailure, SHAPES, usageError } from './arguments.ts';
import { type CacheMode, cacheMode, newGraph, openImage } from './open.ts';
import { print } from './output.ts';
import { Progress } from './progress.ts';

const { format: FORMAT, imageOpts, forceShare, quiet, progress: PROGRESS, sourceCache } = SHAPES;
const SECOND_FORMAT = { name: 'second-format', short: 'F', value: true };
const STRICT = { name: 'strict', short: 's', value: false };

/** Exit statuses. */
const DIFFERENT = 1;
const CANNOT_OPEN = 2;
const NO_STATUS = 3;
const NO_READ = 4;

const PROGRESS_STEP = 2;

export async function compare(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [
    FORMAT,
    SECOND_FORMAT,
    imageOpts,
    forceShare,
    quiet,
    PROGRESS,
    sourceCache,
    STRICT,
  ]);
  const [first, second, ...more] = args.operands;
  if (first === undefined || second === undefined || more.length > 0)
    throw usageError('Expecting two image file names');
  const cache = sourceMode(args.get(sourceCache) ?? 'writeback');
  const say = (text: string): void => {
    if (!args.quiet) print(text);
  };
  const graph = newGraph(args);
  const open = async (name: string, format: string | undefined): ReturnType<typeof openImage> => {
    const flags = { readOnly: true, direct: cache.direct, noFlush: cache.noFlush, forceShare: args.has(forceShare) };
    try {
      return await openImage(graph, name, { ...flags, imageOpts: args.has(imageOpts), ...(format !== undefined && { format }) }); // prettier-ignore
    } catch (error) {
      throw error instanceof ImgFailure ? new ImgFailure(error.message, CANNOT_OPEN) : error;
    }
  };
  const progress = new Progress(args.has(PROGRESS) && !args.quiet, PROGRESS_STEP);
  try {
    const [a, b] = [await open(first, args.get(FORMAT)), await open(second, args.get(SECOND_FORMAT))];
    const job = compareImages(a, b, {
      strict: args.has(STRICT),
      onSizeMismatch: () => say('Warning: Image size mismatch!\n'),
    });
    let step = await job.next();
    for (; step.done !== true; step = await job.next()) progress.show(step.value.done / step.value.total);
    const result = step.value;
    if (result.same) say('Images are identical.\n');
    else if (result.why === 'size') say('Strict mode: Image size mismatch!\n');
    else if (result.why === 'status') say(`Strict mode: Offset ${result.offset} block status mismatch!\n`);
    else say(`Content mismatch at offset ${result.offset}!\n`);
    return result.same ? 0 : DIFFERENT;
  } catch (error) {
    if (!(error instanceof CompareError)) throw error;
    const name = error.image === 0 ? first : second;
    if (error.what === 'status') throw new ImgFailure(`Sector allocation test failed for ${name}`, NO_STATUS);
    throw new ImgFailure(`Error while reading offset ${error.offset} of ${name}: ${error.message}`, NO_READ);
  } finally {
    progress.end(false);
    await graph.closeAll();
  }
}

function sourceMode(text: string): CacheMode {
  try {
    return cacheMode(text, 'source cache');
  } catch (error) {
    throw error instanceof ImgFailure ? new ImgFailure(error.message, CANNOT_OPEN) : error;
  }
}
