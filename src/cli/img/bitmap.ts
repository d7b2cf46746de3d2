/** `orrery img bitmap`: persistent dirty bitmaps of an image. */
import { ImageError } from '../../block/block-error.ts';
import { mergeBitmap } from '../../block/jobs/copy-bitmaps.ts';
import type { BitmapStore, BlockNode } from '../../block/node.ts';
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
];

const [GRANULARITY_MIN, GRANULARITY_MAX] = [4096, 65536];

export async function bitmap(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, SOURCE_FILE, SOURCE_FORMAT, GRANULARITY, ...ACTIONS]);
  const granularityText = args.get(GRANULARITY);
  const granularity = granularityText === undefined ? undefined : parseNumber('granularity', granularityText, 1);
  const [filename, name, ...more] = args.operands;
  if (filename === undefined || name === undefined || more.length > 0)
    throw new ImgFailure('Expecting filename and bitmap name');
  const actions = args.all.filter((option) => ACTIONS.some((action) => action.name === option.name));
  const does = (action: string): boolean => actions.some((given) => given.name === action);
  if (actions.length === 0)
    throw new ImgFailure('Need at least one of --add, --remove, --clear, --enable, --disable, or --merge');
  if (granularity !== undefined && !does('add')) throw new ImgFailure('granularity only supported with --add');
  const sourceFile = args.get(SOURCE_FILE);
  const sourceFormat = args.get(SOURCE_FORMAT);
  if (sourceFormat !== undefined && sourceFile === undefined) throw new ImgFailure('-F only supported with -b');
  if (sourceFile !== undefined && !does('merge')) throw new ImgFailure('-b only supported with --merge');
  const graph = newGraph(args);
  const format = args.get(FORMAT);
  try {
    const node = await openImage(graph, filename, {
      imageOpts: args.has(imageOpts),
      ...(format !== undefined && { format }),
    });
    const source =
      sourceFile === undefined
        ? node
        : await openImage(graph, sourceFile, {
            readOnly: true,
            ...(sourceFormat !== undefined && { format: sourceFormat }),
          });
    for (const { name: action, value } of actions) {
      const request = { node, source, name, action, from: value, granularity };
      await act(request).catch((error: unknown) => {
        throw new ImgFailure(`Operation ${action} on bitmap ${name} failed: ${messageOf(error)}`);
      });
    }
    return 0;
  } finally {
    await graph.closeAll();
  }
}

interface Request {
  readonly node: BlockNode;
  readonly source: BlockNode;
  readonly name: string;
  readonly action: string;
  /** Name of the bitmap to merge. */
  readonly from: string;
  readonly granularity: number | undefined;
}

async function act({ node, source, name, action, from, granularity }: Request): Promise<void> {
  const store = storeOf(node);
  if (action === 'add') {
    const cluster = node.imageInfo?.().clusterSize ?? GRANULARITY_MAX;
    await store.add(name, granularity ?? Math.min(GRANULARITY_MAX, Math.max(GRANULARITY_MIN, cluster)), true);
    return;
  }
  if (!store.list().some((known) => known.name === name)) notFound(name);
  switch (action) {
    case 'remove':
      return store.remove(name);
    case 'clear':
      return store.find(name)?.clear();
    case 'enable':
    case 'disable':
      return store.enable(name, action === 'enable');
    case 'merge': {
      const [into, other] = [store.find(name), storeOf(source).find(from)];
      if (other === undefined) return notFound(from);
      if (into !== undefined) mergeBitmap(other, into, node.size);
    }
  }
}

function notFound(name: string): never {
  throw new ImageError(`Dirty bitmap '${name}' not found`, 'ENOENT');
}

function storeOf(node: BlockNode): BitmapStore {
  const { bitmaps } = node;
  if (bitmaps === undefined)
    throw new ImageError(`Driver '${node.driver}' does not support persistent bitmaps`, 'ENOTSUP');
  return bitmaps;
}
