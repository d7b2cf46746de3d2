/** `orrery img measure`: how large an image will be. */
import { Arguments, ImgFailure, SHAPES } from './arguments.ts';
import { createOptionsOf, parseOptions } from './create-options.ts';
import { jsonText, knownMembers } from './json.ts';
import { messageOf, newGraph, openImage } from './open.ts';
import { MAX_SIZE, parseNumber } from './sizes.ts';
import { checkSnapshotName, snapshotOf } from './snapshot-view.ts';
import { calledAs } from '../called-as.ts';

const { format: FORMAT, imageOpts, output: OUTPUT, forceShare, options: OPTIONS } = SHAPES;
const OUTPUT_FORMAT = { name: 'output-format', short: 'O', value: true };
const SNAPSHOT = { name: 'snapshot', short: 'l', value: true };
const SIZE = { name: 'size', value: true };

export async function measure(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, OUTPUT, forceShare, OPTIONS, OUTPUT_FORMAT, SNAPSHOT, SIZE]);
  const { output, optionList } = args;
  const sizeText = args.get(SIZE);
  const given = sizeText === undefined ? undefined : parseNumber('image size', sizeText, 0, MAX_SIZE);
  const snapshot = args.get(SNAPSHOT);
  if (snapshot !== undefined) checkSnapshotName(snapshot);
  const [filename, ...more] = args.operands;
  const outputFormat = args.get(OUTPUT_FORMAT) ?? 'raw';
  const graph = newGraph(args);
  if (more.length > 0) throw new ImgFailure('At most one filename argument is allowed.');
  if (filename === undefined && (args.has(imageOpts) || args.has(FORMAT) || args.has(SNAPSHOT)))
    throw new ImgFailure('--image-opts, -f, and -l require a filename argument.');
  if (filename !== undefined && given !== undefined)
    throw new ImgFailure('--size N cannot be used together with a filename.');
  if (filename === undefined && given === undefined)
    throw new ImgFailure('Either --size N or one filename must be specified.');
  try {
    const format = args.get(FORMAT);
    const image =
      filename === undefined
        ? undefined
        : await openImage(graph, filename, {
            imageOpts: args.has(imageOpts),
            readOnly: true,
            forceShare: args.has(forceShare),
            ...(format !== undefined && { format }),
          });
    const source = image === undefined || snapshot === undefined ? image : await snapshotOf(image, snapshot);
    const driver = graph.driver(outputFormat);
    if (driver === undefined) throw new ImgFailure(`Unknown file format '${outputFormat}'`);
    if (driver.create === undefined)
      throw new ImgFailure(`Format driver '${outputFormat}' does not support image creation`);
    if (driver.measure === undefined)
      throw new ImgFailure(`Block driver '${outputFormat}' does not support size measurement`);
    const options = optionsOf(optionList, createOptionsOf(graph, driver), outputFormat);
    const size = source?.size ?? given ?? 0;
    const { required, fullyAllocated, bitmaps } = await driver.measure(size, options, source);
    const members = knownMembers({ required, 'fully-allocated': fullyAllocated, bitmaps });
    const human = `required size: ${required}\nfully allocated size: ${fullyAllocated}\n`;
    const bitmapLine = bitmaps === undefined ? '' : `bitmaps size: ${bitmaps}\n`;
    process.stdout.write(output === 'json' ? `${jsonText(members)}\n` : human + bitmapLine);
    return 0;
  } finally {
    await graph.closeAll();
  }
}

function optionsOf(
  list: string | undefined,
  declarations: Parameters<typeof parseOptions>[1],
  format: string,
): Record<string, string> {
  try {
    return parseOptions(list, declarations);
  } catch (error) {
    throw new ImgFailure(`${messageOf(error)}\n${calledAs('img')}: Invalid options for file format '${format}'`);
  }
}
