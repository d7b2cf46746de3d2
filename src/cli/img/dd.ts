/** `orrery img dd`: a part of an image as another one, in dd's words. */
import { copyImage } from '../../block/jobs/copy.ts';
import type { BlockGraph } from '../../block/graph.ts';
import type { BlockNode } from '../../block/node.ts';
import { Arguments, ImgFailure, SHAPES } from './arguments.ts';
import { messageOf, newGraph, openImage, warn } from './open.ts';
import { parseNumber } from './sizes.ts';
import { calledAs } from '../called-as.ts';

const { format: FORMAT, imageOpts, forceShare } = SHAPES;
const OUTPUT_FORMAT = { name: 'output-format', short: 'O', value: true };

const MAX_BLOCK = 0x7fffffff;
const BLOCK_BYTES = 512;

interface Operands {
  readonly input: string;
  readonly output: string;
  readonly blockBytes: number;
  readonly count: number | undefined;
  readonly skip: number;
}

export async function dd(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, forceShare, OUTPUT_FORMAT]);
  const outputFormat = args.get(OUTPUT_FORMAT) ?? 'raw';
  const operands = parseOperands(args.operands);
  const { input, output } = operands;
  const graph = newGraph(args);
  const format = args.get(FORMAT);
  try {
    const source = await openImage(graph, input, {
      imageOpts: args.has(imageOpts),
      readOnly: true,
      forceShare: args.has(forceShare),
      ...(format !== undefined && { format }),
    });
    const { from, bytes } = partOf(source, operands);
    await create(graph, outputFormat, output, bytes);
    const target = await openImage(graph, output, { format: outputFormat });
    const part = await graph.open({ driver: 'raw', offset: from, size: bytes, file: source.name }, { readOnly: true });
    for await (const _ of copyImage({ sources: [part], target, targetIsZero: target.zeroWhenNew }));
    await target.flush();
    return 0;
  } finally {
    await graph.closeAll();
  }
}

function parseOperands(words: readonly string[]): Operands {
  const given = new Map<string, string>();
  for (const word of words) {
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    if (equals < 0 || !['if', 'of', 'bs', 'count', 'skip'].includes(name))
      throw new ImgFailure(`unrecognized operand ${name}`);
    given.set(name, word.slice(equals + 1));
  }
  const [input, output] = [given.get('if'), given.get('of')];
  const [block, count, skip] = [given.get('bs'), given.get('count'), given.get('skip')];
  const blockBytes = block === undefined ? BLOCK_BYTES : parseNumber('bs', block, 1, MAX_BLOCK);
  const blocks = count === undefined ? undefined : parseNumber('count', count);
  const skipped = skip === undefined ? 0 : parseNumber('skip', skip);
  if (input === undefined || output === undefined) throw new ImgFailure('Must specify both input and output files');
  return { input, output, blockBytes, count: blocks, skip: skipped };
}

function partOf(source: BlockNode, { input, blockBytes, count, skip }: Operands): { from: number; bytes: number } {
  const end = Math.min(source.size, count === undefined ? source.size : count * blockBytes);
  const from = skip * blockBytes;
  if (from <= end) return { from, bytes: end - from };
  warn(`${calledAs('img')}: ${input}: cannot skip to specified offset`);
  return { from: 0, bytes: 0 };
}

async function create(graph: BlockGraph, format: string, filename: string, size: number): Promise<void> {
  const driver = graph.driver(format);
  if (driver === undefined) throw new ImgFailure('Unknown file format');
  if (driver.create === undefined) throw new ImgFailure(`Format driver '${format}' does not support image creation`);
  await graph.create({ format, filename, size }).catch((error: unknown) => {
    throw new ImgFailure(`${filename}: error while creating output image: ${messageOf(error)}`);
  });
}
