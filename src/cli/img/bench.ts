/** `orrery img bench`: many requests of one size, and how long they took. */
import { ERRNO_TEXT, errnoOf } from '../../block/block-error.ts';
import { benchImage } from '../../block/jobs/bench.ts';
import { Arguments, ImgFailure, SHAPES } from './arguments.ts';
import { cacheMode, newGraph, openImage } from './open.ts';
import { parseNumber } from './sizes.ts';

const { format: FORMAT, imageOpts, quiet, cache: CACHE, forceShare } = SHAPES;
const COUNT = { name: 'count', short: 'c', value: true };
const DEPTH = { name: 'depth', short: 'd', value: true };
const FLUSH = { name: 'flush-interval', value: true };
const AIO = { name: 'aio', short: 'i', value: true };
const NATIVE = { name: 'native', short: 'n', value: false };
const NO_DRAIN = { name: 'no-drain', value: false };
const OFFSET = { name: 'offset', short: 'o', value: true };
const PATTERN = { name: 'pattern', value: true };
const SIZE = { name: 'buffer-size', short: 's', value: true };
const STEP = { name: 'step-size', short: 'S', value: true };
const WRITE = { name: 'write', short: 'w', value: false };
const SHAPE_LIST = [FORMAT, imageOpts, quiet, CACHE, forceShare, COUNT, DEPTH, FLUSH, AIO, NATIVE, NO_DRAIN, OFFSET, PATTERN, SIZE, STEP, WRITE]; // prettier-ignore

const AIO_MODES: readonly string[] = ['threads', 'native', 'io_uring'];
const MAX_INT = 0x7fffffff;
const MAX_BYTE = 0xff;
const COUNT_DEFAULT = 75_000;
const DEPTH_DEFAULT = 64;
const SIZE_DEFAULT = 4096;

export async function bench(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, SHAPE_LIST);
  const count = integer('request count', args.get(COUNT), COUNT_DEFAULT);
  const depth = integer('queue depth', args.get(DEPTH), DEPTH_DEFAULT);
  // Nothing would ever be done.
  if (depth === 0) throw new ImgFailure('Invalid queue depth specified');
  const flushInterval = integer('flush interval', args.get(FLUSH), 0);
  const pattern = integer('pattern byte', args.get(PATTERN), 0, MAX_BYTE);
  const offset = bytesOf('offset', args.get(OFFSET), 0);
  const size = bytesOf('buffer size', args.get(SIZE), SIZE_DEFAULT, MAX_INT);
  const step = bytesOf('step_size', args.get(STEP), 0, MAX_INT) || size;
  const write = args.has(WRITE);
  const cache = cacheMode(args.get(CACHE) ?? 'writeback', 'cache', 'Invalid cache mode');
  const aio = args.has(NATIVE) ? 'native' : (args.get(AIO) ?? 'threads');
  if (!AIO_MODES.includes(aio)) throw new ImgFailure(`Invalid aio option: ${aio}`);
  const filename = args.only('Expecting one image file name');
  if (!write && flushInterval > 0) throw new ImgFailure('--flush-interval is only available in write tests');
  if (flushInterval > 0 && flushInterval < depth) throw new ImgFailure("Flush interval can't be smaller than depth");
  const format = args.get(FORMAT);
  const graph = newGraph(args);
  try {
    if (aio === 'native' && !cache.direct) {
      const why = 'aio=native was specified, but it requires cache.direct=on, which was not specified.';
      throw new ImgFailure(`Could not open '${filename}': ${why}`);
    }
    const node = await openImage(graph, filename, {
      imageOpts: args.has(imageOpts),
      readOnly: !write,
      direct: cache.direct,
      noFlush: cache.noFlush,
      forceShare: args.has(forceShare),
      ...(format !== undefined && { format }),
    });
    process.stdout.write(
      `Sending ${count} ${write ? 'write' : 'read'} requests, ${size} bytes each, ${depth} in parallel ` +
        `(starting at offset ${offset}, step size ${step})\n`,
    );
    if (flushInterval > 0) process.stdout.write(`Sending flush every ${flushInterval} requests\n`);
    const start = performance.now();
    const drain = !args.has(NO_DRAIN);
    const job = benchImage(node, { count, depth, flushInterval, drain, offset, size, step, pattern, write });
    try {
      for await (const _ of job);
    } catch (error) {
      throw new ImgFailure(`Failed request: ${ERRNO_TEXT[errnoOf(error)]}`);
    }
    process.stdout.write(`Run completed in ${((performance.now() - start) / 1000).toFixed(3)} seconds.\n`);
    return 0;
  } finally {
    await graph.closeAll();
  }
}

/** A whole number as strtoul(3) of the C library takes it, octal and hexadecimal too. */
function integer(what: string, text: string | undefined, otherwise: number, max = MAX_INT): number {
  if (text === undefined) return otherwise;
  const match = /^\s*\+?(?:(0x[0-9a-f]+)|(0[0-7]*)|([1-9]\d*))$/i.exec(text);
  const [, hex, octal, decimal] = match ?? [];
  const value = octal === undefined ? Number(hex ?? decimal ?? Number.NaN) : Number.parseInt(octal, 8);
  if (!(value <= max)) throw new ImgFailure(`Invalid ${what} specified`);
  return value;
}

function bytesOf(what: string, text: string | undefined, otherwise: number, max?: number): number {
  return text === undefined ? otherwise : parseNumber(what, text, 0, max);
}
