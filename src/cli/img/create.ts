/** `orrery img create`: a new image. */
import { ImageError } from '../../block/block-error.ts';
import type { BlockGraph } from '../../block/graph.ts';
import { Arguments, ImgFailure, SHAPES, usageError } from './arguments.ts';
import { createOptionsOf, forDriver, optionHelp, parseOptions, tellOptions, wantsHelp } from './create-options.ts';
import { messageOf, newGraph } from './open.ts';
import { digitsOf, MAX_SIZE, parseNumber } from './sizes.ts';

const BACKING = { name: 'backing', short: 'b', value: true };
const UNSAFE = { name: 'unsafe', short: 'u', value: false };
const { format: FORMAT, backingFormat, quiet, options } = SHAPES;

export async function create(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, BACKING, backingFormat, options, quiet, UNSAFE]);
  const graph = newGraph(args);
  const format = args.get(FORMAT) ?? 'raw';
  const list = args.optionList;
  const [filename, size, ...more] = args.operands;
  if (list !== undefined && wantsHelp(list)) {
    process.stdout.write(optionHelp(graph, format, filename));
    return 0;
  }
  if (filename === undefined) throw usageError('Expecting image file name');
  const bytes = size === undefined ? undefined : parseNumber('image size', size, 0, MAX_SIZE);
  if (more[0] !== undefined) throw usageError(`Unexpected argument: ${more[0]}`);
  await createImage(graph, {
    filename,
    format,
    options: list,
    size: bytes,
    backing: args.get(BACKING),
    backingFormat: args.get(backingFormat),
    unsafe: args.has(UNSAFE),
    quiet: args.quiet,
  });
  return 0;
}

export interface NewImage {
  readonly filename: string;
  readonly format: string;
  /** An `-o` list. */
  readonly options: string | undefined;
  readonly size: number | undefined;
  readonly backing: string | undefined;
  readonly backingFormat: string | undefined;
  /** The backing image need not be there. */
  readonly unsafe: boolean;
  readonly quiet: boolean;
}

/** Makes an image and tells how; failures name it. */
export async function createImage(graph: BlockGraph, request: NewImage): Promise<void> {
  try {
    await make(graph, request);
  } catch (error) {
    throw new ImgFailure(`${request.filename}: ${messageOf(error)}`);
  }
}

async function make(graph: BlockGraph, request: NewImage): Promise<void> {
  const { filename, format } = request;
  const driver = graph.driver(format);
  if (driver === undefined) throw new ImageError(`Unknown file format '${format}'`);
  if (driver.create === undefined) throw new ImageError(`Format driver '${format}' does not support image creation`);
  const declarations = createOptionsOf(graph, driver);
  const given = parseOptions(request.options, declarations);
  for (const [name, value] of [
    ['backing_file', request.backing],
    ['backing_fmt', request.backingFormat],
  ] as const) {
    if (value === undefined) continue;
    if (declarations.every((option) => option.name !== name)) {
      const what = name === 'backing_file' ? 'Backing file' : 'Backing file format';
      throw new ImageError(`${what} not supported for file format '${format}'`);
    }
    given[name] = value;
  }
  const { backing_file: backing, backing_fmt: backingFormat } = given;
  if (backing === '') throw new ImageError('Expected backing file name, got empty string');
  if (request.size !== undefined && given['size'] !== undefined)
    throw new ImageError('The image size must be specified only once');
  if (backing !== undefined && backing === filename) {
    throw new ImageError('Error: Trying to create an image with the same filename as the backing file');
  }
  let size = request.size ?? (given['size'] === undefined ? undefined : Number(given['size']));
  if (backing !== undefined && !request.unsafe) {
    const found = await sizeOfBacking(graph, filename, backing, backingFormat);
    size ??= found;
  } else if (backing !== undefined && backingFormat === undefined) {
    throw new ImageError('Backing file specified without backing format');
  }
  if (size === undefined) throw new ImageError('Image creation needs a size parameter');
  const told = { ...given, size: digitsOf(size) };
  if (!request.quiet) {
    process.stdout.write(`Formatting '${filename}', fmt=${format} ${tellOptions(format, told, declarations)}\n`);
  }
  await graph.create({ format, filename, size, options: forDriver(driver.createOptions ?? [], told) });
}

async function sizeOfBacking(
  graph: BlockGraph,
  filename: string,
  backing: string,
  format: string | undefined,
): Promise<number> {
  const path = graph.filenames.backingFilename(filename, backing);
  const node = await graph
    .open(path, { readOnly: true, noIo: true, ...(format !== undefined && { format }) })
    .catch((error: unknown) => {
      throw new ImageError(`${messageOf(error)}\nCould not open backing image.`);
    });
  try {
    if (format === undefined) {
      throw new ImageError(`Backing file specified without backing format\nDetected format of ${node.driver}.`);
    }
    return node.size;
  } finally {
    await graph.close(node);
  }
}
