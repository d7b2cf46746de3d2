/** `orrery img bench`: many requests of one size, and how long they took. */
import type { BlockNode } from '../../block/node.ts';
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

const MAX_INT = 0x7fffffff;

export async function bench(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, SHAPE_LIST);
  const number = (shape: (typeof SHAPE_LIST)[number], what: string, otherwise: number, min: number): number => {
    const text = args.get(shape);
    return text === undefined ? otherwise : parseNumber(what, text, min, MAX_INT);
  };
  const count = number(COUNT, 'request count', 75_000, 1);
  const depth = number(DEPTH, 'queue depth', 64, 1);
  const flushInterval = number(FLUSH, 'flush interval', 0, 0);
  const offsetText = args.get(OFFSET);
  const offset = offsetText === undefined ? 0 : parseNumber('offset', offsetText);
  const size = number(SIZE, 'buffer size', 4096, 1);
  const step = number(STEP, 'step size', 0, 0) || size;
  const patternText = args.get(PATTERN);
  const pattern = patternText === undefined ? 0 : parseNumber('pattern byte', patternText, 0, 0xff);
  const write = args.has(WRITE);
  const filename = args.only('Expecting one image file name');
  if (!write && flushInterval > 0) throw new ImgFailure('--flush-interval is only available in write tests');
  if (flushInterval > 0 && flushInterval < depth) throw new ImgFailure("Flush interval can't be smaller than depth");
  const cache = cacheMode(args.get(CACHE) ?? 'writeback', 'cache');
  const format = args.get(FORMAT);
  const graph = newGraph(args);
  try {
    const node = await openImage(graph, filename, {
      imageOpts: args.has(imageOpts),
      readOnly: !write,
      direct: cache.direct,
      noFlush: cache.noFlush,
      forceShare: args.has(forceShare),
      ...(format !== undefined && { format }),
    });
    const say = (text: string): void => {
      if (!args.quiet) process.stdout.write(text);
    };
    say(
      `Sending ${count} ${write ? 'write' : 'read'} requests, ${size} bytes each, ${depth} in parallel ` +
        `(starting at offset ${offset}, step size ${step})\n`,
    );
    const drain = !args.has(NO_DRAIN);
    if (flushInterval > 0) say(`Sending flush every ${flushInterval} ${drain ? 'draining ' : ''}requests\n`);
    const start = performance.now();
    await new Load(node, { count, depth, flushInterval, drain, offset, size, step, pattern, write }).run();
    say(`Run completed in ${((performance.now() - start) / 1000).toFixed(3)} seconds.\n`);
    return 0;
  } finally {
    await graph.closeAll();
  }
}

interface LoadOptions {
  readonly count: number;
  readonly depth: number;
  readonly flushInterval: number;
  /** Nothing is under way while a flush is. */
  readonly drain: boolean;
  readonly offset: number;
  readonly size: number;
  readonly step: number;
  readonly pattern: number;
  readonly write: boolean;
}

class Load {
  private readonly node: BlockNode;
  private readonly options: LoadOptions;
  private started = 0;
  private offset: number;
  private flushing: Promise<void> | undefined;
  private readonly underWay = new Set<Promise<void>>();

  constructor(node: BlockNode, options: LoadOptions) {
    this.node = node;
    this.options = options;
    this.offset = options.offset;
  }

  async run(): Promise<void> {
    const { depth, size, pattern } = this.options;
    const workers = Array.from({ length: depth }, () => this.work(new Uint8Array(size).fill(pattern)));
    await Promise.all(workers);
  }

  private async work(buffer: Uint8Array): Promise<void> {
    const { count, write, step, size, flushInterval } = this.options;
    while (this.started < count) {
      if (this.flushing !== undefined) {
        await this.flushing;
        continue;
      }
      this.started++;
      const at = this.offset;
      const next = at + step;
      this.offset = next + size > this.node.size ? this.options.offset : next;
      const request = write ? this.node.write(at, [buffer]) : this.node.read(at, [buffer]);
      this.underWay.add(request);
      if (flushInterval > 0 && this.started % flushInterval === 0) this.flush();
      await request;
      this.underWay.delete(request);
    }
    await this.flushing;
  }

  private flush(): void {
    const before = this.options.drain ? Promise.allSettled([...this.underWay]) : Promise.resolve();
    const flushing = before.then(() => this.node.flush());
    if (!this.options.drain) {
      this.underWay.add(flushing);
      return;
    }
    this.flushing = flushing.finally(() => {
      this.flushing = undefined;
    });
  }
}
