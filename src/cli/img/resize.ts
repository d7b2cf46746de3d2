/** `orrery img resize`: more of a disk, or less. */
import type { Preallocation } from '../../block/node.ts';
import { Arguments, ImgFailure, SHAPES, usageError } from './arguments.ts';
import { parseOptions } from './create-options.ts';
import { newGraph, openImage } from './open.ts';
import { calledAs } from '../called-as.ts';

const { format: FORMAT, imageOpts, quiet } = SHAPES;
const PREALLOCATION = { name: 'preallocation', value: true };
const SHRINK = { name: 'shrink', value: false };
const MODES: readonly Preallocation[] = ['off', 'metadata', 'falloc', 'full'];

export async function resize(words: readonly string[]): Promise<number> {
  // The size comes last, and may begin with a dash.
  const size = words.at(-1);
  if (size === undefined || words.length < 2) {
    const wantsHelp = words.some((word) => word === '-h' || word === '--help');
    if (!wantsHelp) throw usageError('Not enough arguments');
  }
  const args = new Arguments(words.slice(0, -1), [FORMAT, imageOpts, quiet, PREALLOCATION, SHRINK]);
  const mode = args.get(PREALLOCATION) ?? 'off';
  const preallocation = MODES.find((candidate) => candidate === mode);
  if (preallocation === undefined) throw new ImgFailure(`Invalid preallocation mode '${mode}'`);
  const filename = args.only('Expecting image file name and size');
  const relative = size?.startsWith('+') === true ? 1 : size?.startsWith('-') === true ? -1 : 0;
  const text = relative === 0 ? (size ?? '') : (size ?? '').slice(1);
  const { size: given = '' } = parseOptions(`size=${text}`, [{ name: 'size', type: 'size', help: '' }]);
  const graph = newGraph(args);
  const format = args.get(FORMAT);
  const node = await openImage(graph, filename, {
    imageOpts: args.has(imageOpts),
    // What is cut off is given back.
    unmap: true,
    ...(format !== undefined && { format }),
  });
  try {
    const total = relative === 0 ? Number(given) : node.size + relative * Number(given);
    if (total > Number.MAX_SAFE_INTEGER) throw new ImgFailure('The new size is too large');
    if (total <= 0) throw new ImgFailure('New image size must be positive');
    if (total <= node.size && preallocation !== 'off')
      throw new ImgFailure('Preallocation can only be used for growing images');
    if (total < node.size && !args.has(SHRINK)) {
      throw new ImgFailure(
        'Use the --shrink option to perform a shrink operation.\n' +
          `${calledAs('img')}: warning: Shrinking an image will delete all data beyond the shrunken image's end. ` +
          'Before performing such an operation, make sure there is no important data there.',
      );
    }
    // What a longer backing image has there must not appear.
    await node.truncate(total, { preallocation, exact: true, zero: true });
    await node.flush();
    if (!args.quiet) process.stdout.write('Image resized.\n');
    return 0;
  } finally {
    await graph.closeAll();
  }
}
