/** `orrery img convert`: one or several images as another one. */
import { ERRNO_TEXT, errnoOf } from '../../block/block-error.ts';
import type { BlockGraph } from '../../block/graph.ts';
import { copyImage } from '../../block/jobs/copy.ts';
import { copyBitmaps } from '../../block/jobs/copy-bitmaps.ts';
import type { BlockNode } from '../../block/node.ts';
import { nodeBlockHost } from '../../host/node/block/host.ts';
import { Arguments, ImgFailure, SHAPES } from './arguments.ts';
import { createOptionsOf, forDriver, optionHelp, parseOptions, wantsHelp } from './create-options.ts';
import { backingOf, cacheMode, messageOf, newGraph, openImage, warn } from './open.ts';
import { Progress } from './progress.ts';
import { parseNumber } from './sizes.ts';
import { checkSnapshotName, snapshotOf } from './snapshot-view.ts';
import { calledAs } from '../called-as.ts';

const { format: FORMAT, imageOpts, forceShare, quiet, progress: PROGRESS, cache: CACHE, sourceCache, options: OPTIONS, backingFormat: BACKING_FORMAT } = SHAPES; // prettier-ignore
const OUTPUT_FORMAT = { name: 'output-format', short: 'O', value: true };
const BACKING = { name: 'backing', short: 'B', value: true };
const COMPRESS = { name: 'compress', short: 'c', value: false };
const OFFLOAD = { name: 'copy-offload', short: 'C', value: false };
const NO_CREATE = { name: 'no-create', short: 'n', value: false };
const SNAPSHOT = { name: 'snapshot', short: 'l', value: true };
const SPARSE = { name: 'sparse-size', short: 'S', value: true };
const PARALLEL = { name: 'num-coroutines', short: 'm', value: true };
const UNORDERED = { name: 'out-of-order', short: 'W', value: false };
const RATE = { name: 'rate-limit', short: 'r', value: true };
const TARGET_OPTS = { name: 'target-image-opts', value: false };
const TARGET_ZERO = { name: 'target-is-zero', value: false };
const SALVAGE = { name: 'salvage', value: false };
const BITMAPS = { name: 'bitmaps', value: false };
const SKIP_BROKEN = { name: 'skip-broken-bitmaps', value: false };
const SHAPE_LIST = [
  FORMAT, imageOpts, forceShare, quiet, PROGRESS, CACHE, sourceCache, OPTIONS, BACKING_FORMAT, OUTPUT_FORMAT, BACKING, COMPRESS,
  OFFLOAD, NO_CREATE, SNAPSHOT, SPARSE, PARALLEL, UNORDERED, RATE, TARGET_OPTS, TARGET_ZERO, SALVAGE, BITMAPS, SKIP_BROKEN,
]; // prettier-ignore

const MAX_PARALLEL = 16;
const SECTOR = 512;

export async function convert(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, SHAPE_LIST);
  const list = args.optionList;
  checkArguments(args, list);
  const graph = newGraph(args);
  const target = args.operands.length > 1 ? args.operands.at(-1) : undefined;
  if (list !== undefined && wantsHelp(list)) {
    process.stdout.write(optionHelp(graph, args.get(OUTPUT_FORMAT) ?? 'raw', target));
    return 0;
  }
  if (target === undefined) throw new ImgFailure('Must specify image file name');
  const progress = new Progress(args.has(PROGRESS) && !args.quiet);
  let done = false;
  try {
    await new Conversion(args, graph, target).run(progress);
    done = true;
    return 0;
  } finally {
    progress.end(done);
    await graph.closeAll();
  }
}

function checkArguments(args: Arguments, list: string | undefined): void {
  const refuse = (wrong: boolean, sentence: string): void => {
    if (wrong) throw new ImgFailure(sentence);
  };
  const parallel = args.get(PARALLEL);
  if (parallel !== undefined && (!/^\d+$/.test(parallel) || Number(parallel) < 1 || Number(parallel) > MAX_PARALLEL))
    throw new ImgFailure(`Invalid number of coroutines. Allowed number of coroutines is between 1 and ${MAX_PARALLEL}`);
  const skipsCreation = args.has(NO_CREATE);
  refuse(args.has(SKIP_BROKEN) && !args.has(BITMAPS), 'Use of --skip-broken-bitmaps requires --bitmaps');
  refuse(args.has(COMPRESS) && args.has(OFFLOAD), 'Cannot enable copy offloading when -c is used');
  refuse(args.has(SPARSE) && args.has(OFFLOAD), 'Cannot enable copy offloading when -S is used');
  refuse(args.has(SALVAGE) && args.has(OFFLOAD), 'Cannot use copy offloading in salvaging mode');
  refuse(args.has(TARGET_OPTS) && !skipsCreation, '--target-image-opts requires use of -n flag');
  refuse(skipsCreation && list !== undefined, '-o has no effect when skipping image creation');
  refuse(args.has(TARGET_OPTS) && args.has(OUTPUT_FORMAT), '--image-opts and --format are mutually exclusive');
  refuse(args.has(TARGET_ZERO) && !skipsCreation, '--target-is-zero requires use of -n flag');
}

class Conversion {
  private readonly args: Arguments;
  private readonly graph: BlockGraph;
  private readonly target: string;
  private readonly outputFormat: string;

  constructor(args: Arguments, graph: BlockGraph, target: string) {
    this.args = args;
    this.graph = graph;
    this.target = target;
    this.outputFormat = args.get(OUTPUT_FORMAT) ?? 'raw';
  }

  async run(progress: Progress): Promise<void> {
    const { args } = this;
    const sparse = args.get(SPARSE);
    const sparseBytes = sparse === undefined ? undefined : parseSparse(sparse);
    const rate = args.get(RATE);
    const rateLimit = rate === undefined ? undefined : parseNumber('rate limit', rate);
    let sources = await this.openSources();
    const total = sources.reduce((sum, { size }) => sum + Math.ceil(size / SECTOR) * SECTOR, 0);
    const options = args.has(NO_CREATE) ? {} : this.targetOptions(total);
    const backing = options['backing_file'] ?? args.get(BACKING);
    this.checkTarget(options, backing, sources.length);
    if (!args.has(NO_CREATE)) await this.create(options, total);
    const target = await this.openTarget(options);
    if (args.has(BITMAPS)) this.checkBitmaps(sources, target);
    if (target.size < total) {
      if (args.has(NO_CREATE)) throw new ImgFailure('output file is smaller than input file');
      if (backing === undefined) sources = await this.shortened(sources, target.size);
    }
    const below = backing === undefined ? undefined : backingOf(target);
    const targetIsZero = args.has(TARGET_ZERO) || (!args.has(NO_CREATE) && backing === undefined && target.zeroWhenNew);
    const parallel = args.get(PARALLEL);
    const job = copyImage({
      sources,
      target,
      targetIsZero,
      ...aboveBacking(backing === undefined ? undefined : sources[0]),
      ...(below !== undefined && { backingBytes: below.size }),
      compressed: args.has(COMPRESS) || target.imageInfo?.().compressed === true,
      ...(sparseBytes !== undefined && { sparseBytes }),
      ...(parallel !== undefined && { parallel: Number(parallel) }),
      outOfOrder: args.has(UNORDERED),
      ...(args.has(SALVAGE) && { salvage: args.quiet ? () => {} : tellSkipped }),
      ...(rateLimit !== undefined && { rateLimit, sleep: (ms: number) => nodeBlockHost.sleep(ms) }),
    });
    for await (const { done, total: all } of job) progress.show(done / all);
    if (args.has(BITMAPS)) await this.copyBitmaps(sources, target);
    await target.flush();
  }

  private async openSources(): Promise<BlockNode[]> {
    const { args, graph } = this;
    const cache = cacheMode(args.get(sourceCache) ?? 'writeback', 'source cache');
    const format = args.get(FORMAT);
    const snapshot = args.get(SNAPSHOT);
    if (snapshot !== undefined) checkSnapshotName(snapshot);
    const nodes: BlockNode[] = [];
    for (const name of args.operands.slice(0, -1)) {
      const node = await openImage(graph, name, {
        imageOpts: args.has(imageOpts),
        readOnly: true,
        direct: cache.direct,
        noFlush: cache.noFlush,
        forceShare: args.has(forceShare),
        ...(format !== undefined && { format }),
      });
      nodes.push(node);
    }
    if (snapshot === undefined) return nodes;
    const [only] = nodes;
    if (only === undefined || nodes.length > 1) throw new ImgFailure('No support for concatenating multiple snapshot');
    return [await snapshotOf(only, snapshot)];
  }

  private targetOptions(total: number): Record<string, string> {
    const { args, graph, outputFormat } = this;
    const driver = graph.driver(outputFormat);
    if (driver === undefined) throw new ImgFailure(`Unknown file format '${outputFormat}'`);
    if (driver.create === undefined)
      throw new ImgFailure(`Format driver '${outputFormat}' does not support image creation`);
    const declarations = createOptionsOf(graph, driver);
    const given = parseOptions(args.optionList, declarations);
    const shorthand = [
      ['backing_file', args.get(BACKING), 'Backing file'],
      ['backing_fmt', args.get(BACKING_FORMAT), 'Backing format'],
    ] as const;
    for (const [name, value, what] of shorthand) {
      if (value === undefined) continue;
      if (declarations.every((option) => option.name !== name))
        throw new ImgFailure(`${what} not supported for file format '${outputFormat}'`);
      given[name] = value;
    }
    return { size: String(total), ...given };
  }

  private checkTarget(options: Readonly<Record<string, string>>, backing: string | undefined, sources: number): void {
    const { args, graph, outputFormat } = this;
    const refuse = (wrong: boolean, sentence: string): void => {
      if (wrong) throw new ImgFailure(sentence);
    };
    refuse(
      args.has(TARGET_ZERO) && backing !== undefined,
      'Cannot use --target-is-zero when the destination image has a backing file',
    );
    refuse(
      sources > 1 && backing !== undefined,
      'Having a backing file for the target makes no sense when concatenating multiple input images',
    );
    refuse(
      options['backing_file'] !== undefined && options['backing_fmt'] === undefined,
      'Use of backing file requires explicit backing format',
    );
    if (!args.has(COMPRESS)) return;
    const canCompress = graph.driver(outputFormat)?.compresses === true;
    refuse(!args.has(NO_CREATE) && !canCompress, 'Compression not supported for this file format');
    refuse(options['encrypt.format'] !== undefined, 'Compression and encryption not supported at the same time');
    refuse(
      (options['preallocation'] ?? 'off') !== 'off',
      'Compression and preallocation not supported at the same time',
    );
  }

  private async create(options: Readonly<Record<string, string>>, total: number): Promise<void> {
    const { graph, outputFormat, target } = this;
    try {
      await graph.create({
        format: outputFormat,
        filename: target,
        size: Number(options['size'] ?? total),
        options: forDriver(graph.driver(outputFormat)?.createOptions ?? [], options),
        noFlush: true,
      });
    } catch (error) {
      throw new ImgFailure(`${target}: error while converting ${outputFormat}: ${messageOf(error)}`);
    }
  }

  private openTarget(options: Readonly<Record<string, string>>): Promise<BlockNode> {
    const { args, graph, outputFormat, target } = this;
    const cache = cacheMode(args.get(CACHE) ?? 'unsafe', 'cache');
    const flags = { direct: cache.direct, noFlush: cache.noFlush, unmap: true };
    if (args.has(TARGET_OPTS)) return openImage(graph, target, { ...flags, imageOpts: true });
    const secret = Object.entries(options).filter(([name]) => name.endsWith('key-secret'));
    if (secret.length === 0) return openImage(graph, target, { ...flags, format: outputFormat });
    const file = graph.filenames.protocolOptions(target);
    return graph.open({ driver: outputFormat, file, ...Object.fromEntries(secret) }, flags);
  }

  private checkBitmaps(sources: readonly BlockNode[], target: BlockNode): void {
    if (sources.length !== 1) throw new ImgFailure('Copying bitmaps only possible with single source');
    if (sources[0]?.bitmaps === undefined) throw new ImgFailure('Source lacks bitmap support');
    const stores = target.bitmaps !== undefined && target.specificInfo?.().data['compat'] !== '0.10';
    if (!stores) throw new ImgFailure(`Format driver '${target.driver}' does not support bitmaps`);
  }

  /** The sources as far as they fit into the target, whose size was given. */
  private async shortened(sources: readonly BlockNode[], bytes: number): Promise<BlockNode[]> {
    const fitting: BlockNode[] = [];
    let left = bytes;
    for (const source of sources) {
      const size = Math.min(left, source.size);
      if (size === source.size) fitting.push(source);
      else if (size > 0)
        fitting.push(await this.graph.open({ driver: 'raw', size, file: source.name }, { readOnly: true }));
      left -= size;
    }
    return fitting;
  }

  private async copyBitmaps(sources: readonly BlockNode[], target: BlockNode): Promise<void> {
    const skipped = await copyBitmaps(sources[0], target, { skipBroken: this.args.has(SKIP_BROKEN) }).catch(
      (error: unknown) => {
        const hint = `Try --skip-broken-bitmaps, or use '${calledAs('img')} bitmap --remove' to delete it`;
        const broken = messageOf(error).startsWith('Cannot copy inconsistent bitmap');
        throw new ImgFailure(broken ? `${messageOf(error)}\n${hint}` : messageOf(error));
      },
    );
    for (const name of skipped) warn(`${calledAs('img')}: warning: Skipping inconsistent bitmap '${name}'`);
  }
}

/** With a backing image for the target, only what the source itself has is copied. */
function aboveBacking(source: BlockNode | undefined): { readonly above?: BlockNode } {
  const above = source === undefined ? undefined : backingOf(source);
  return above === undefined ? {} : { above };
}

function parseSparse(text: string): number {
  const bytes = parseNumber('buffer size for sparse output', text);
  const largest = 1024 ** 2 * 16;
  if (bytes % SECTOR !== 0 || bytes > largest) {
    throw new ImgFailure(
      `Invalid buffer size for sparse output specified. Valid sizes are multiples of ${SECTOR} up to ${largest}. ` +
        'Select 0 to disable sparse detection (fully allocates output).',
    );
  }
  return bytes;
}

function tellSkipped(offset: number, error: unknown, what: 'data' | 'status'): void {
  const reading = what === 'status' ? 'reading block status at' : 'reading';
  warn(`${calledAs('img')}: warning: error while ${reading} offset ${offset}: ${ERRNO_TEXT[errnoOf(error)]}`);
}
