/** `orrery img bitmap`: persistent dirty bitmaps of an image. */
import { type BitmapAction, changeBitmap } from '../../block/jobs/bitmap-actions.ts';
import type { BlockNode } from '../../block/node.ts';
import { Arguments, ImgFailure, SHAPES } from './arguments.ts';
import { messageOf, newGraph, openImage } from './open.ts';
import { parseNumber } from './sizes.ts';

const { format: FORMAT, imageOpts } = SHAPES;
const SOURCE_FILE = { name: 'source-file', short: 'b', value: true };
const SOURCE_FORMAT = { name: 'source-format', short: 'F', value: true };
const GRANULARITY = { name: 'granularity', short: 'g', value: true };
const ACTIONS = [
  { name: 'add', value: false },
  { name: 'remove', value: false },
  { name: 'clear', value: false },
  { name: 'enable', value: false },
  { name: 'disable', value: false },
  { name: 'merge', value: true },
] as const;

export async function bitmap(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, SOURCE_FILE, SOURCE_FORMAT, GRANULARITY, ...ACTIONS]);
  const granularityText = args.get(GRANULARITY);
  // None is the usual one.
  const granularity = (granularityText === undefined ? 0 : parseNumber('granularity', granularityText)) || undefined;
  const sourceFile = args.get(SOURCE_FILE);
  const sourceFormat = args.get(SOURCE_FORMAT);
  const given = args.all.flatMap(({ name, value }) => {
    const kind = ACTIONS.find((action) => action.name === name)?.name;
    return kind === undefined ? [] : [{ kind, value }];
  });
  const does = (kind: BitmapAction['kind']): boolean => given.some((action) => action.kind === kind);
  const refuse = (wrong: boolean, sentence: string): void => {
    if (wrong) throw new ImgFailure(sentence);
  };
  refuse(given.length === 0, 'Need at least one of --add, --remove, --clear, --enable, --disable, or --merge');
  refuse(granularityText !== undefined && !does('add'), 'granularity only supported with --add');
  refuse(sourceFormat !== undefined && sourceFile === undefined, '-F only supported with -b');
  refuse(sourceFile !== undefined && !does('merge'), 'Merge bitmap source file only supported with --merge');
  const [filename, name, ...more] = args.operands;
  if (filename === undefined || name === undefined || more.length > 0)
    throw new ImgFailure('Expecting filename and bitmap name');
  const graph = newGraph(args);
  const format = args.get(FORMAT);
  try {
    const node = await openImage(graph, filename, {
      imageOpts: args.has(imageOpts),
      ...(format !== undefined && { format }),
    });
    let source: BlockNode | undefined;
    if (sourceFile !== undefined) {
      // Its bitmaps are all that is read of it; the image may well be its backing image.
      const how = {
        readOnly: true,
        noIo: true,
        noBacking: true,
        ...(sourceFormat !== undefined && { format: sourceFormat }),
      };
      source = await openImage(graph, sourceFile, how);
    }
    for (const { kind, value } of given) {
      const action: BitmapAction =
        kind === 'merge'
          ? { kind, bitmap: value, ...(source !== undefined && { source }) }
          : kind === 'add'
            ? { kind, ...(granularity !== undefined && { granularity }) }
            : { kind };
      await changeBitmap(node, name, action).catch((error: unknown) => {
        throw new ImgFailure(`Operation ${kind} on bitmap ${name} failed: ${messageOf(error)}`);
      });
    }
    return 0;
  } finally {
    await graph.closeAll();
  }
}
