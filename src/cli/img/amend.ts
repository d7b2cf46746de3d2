/** `orrery img amend`: options of an image that is there already. */
import type { BlockGraph } from '../../block/graph.ts';
import type { OptionDeclaration } from '../../block/driver.ts';
import { Arguments, ImgFailure, SHAPES, usageError } from './arguments.ts';
import { describeOptions, parseOptions, wantsHelp } from './create-options.ts';
import { cacheMode, messageOf, newGraph, openImage } from './open.ts';
import { Progress } from './progress.ts';

const { format: FORMAT, imageOpts, quiet, progress: PROGRESS, cache: CACHE, options: OPTIONS } = SHAPES;
const FORCE = { name: 'force', value: false };

export async function amend(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, quiet, PROGRESS, CACHE, OPTIONS, FORCE]);
  const list = args.optionList;
  if (list === undefined) throw usageError('Must specify options (-o)');
  const format = args.get(FORMAT);
  const graph = newGraph(args);
  if (format !== undefined && wantsHelp(list)) return tellOptions(graph, format);
  const [filename, ...more] = args.operands;
  if (filename === undefined || more.length > 0) throw new ImgFailure('Expecting one image file name');
  const cache = cacheMode(args.get(CACHE) ?? 'writeback', 'cache');
  let progress: Progress | undefined;
  let done = false;
  try {
    const node = await openImage(graph, filename, {
      imageOpts: args.has(imageOpts),
      direct: cache.direct,
      noFlush: cache.noFlush,
      ...(format !== undefined && { format }),
    });
    if (wantsHelp(list)) return tellOptions(graph, node.driver);
    const declarations = amendOptionsOf(graph, node.driver);
    if (node.amend === undefined) return unsupported(node.driver);
    progress = new Progress(args.has(PROGRESS) && !args.quiet);
    const options = parse(graph, node.driver, list, declarations);
    await node.amend(options, args.has(FORCE), (share) => progress?.show(share));
    done = true;
    return 0;
  } finally {
    progress?.end(done);
    await graph.closeAll();
  }
}

function unsupported(format: string): never {
  throw new ImgFailure(`Format driver '${format}' does not support option amendment`);
}

function amendOptionsOf(graph: BlockGraph, format: string): readonly OptionDeclaration[] {
  const driver = graph.driver(format);
  if (driver === undefined) throw new ImgFailure(`Unknown file format '${format}'`);
  return driver.amendOptions ?? unsupported(format);
}

function tellOptions(graph: BlockGraph, format: string): number {
  process.stdout.write(`Amend options for '${format}':\n${describeOptions(amendOptionsOf(graph, format))}`);
  return 0;
}

function parse(
  graph: BlockGraph,
  format: string,
  list: string,
  declarations: readonly OptionDeclaration[],
): Record<string, string> {
  try {
    return parseOptions(list, declarations);
  } catch (error) {
    try {
      parseOptions(list, [...declarations, ...(graph.driver(format)?.createOptions ?? [])]);
    } catch {
      throw error;
    }
    throw new ImgFailure(`${messageOf(error)}\nThis option is only supported for image creation`);
  }
}
