/** `orrery img map`: where the bytes of an image come from. */
import { type MapEntry, mapImage } from '../../block/jobs/map.ts';
import { Arguments, ImgFailure, SHAPES } from './arguments.ts';
import { asciiJson } from './json.ts';
import { newGraph, openImage } from './open.ts';
import { parseNumber } from './sizes.ts';

const { format: FORMAT, imageOpts, output: OUTPUT, forceShare } = SHAPES;
const START = { name: 'start-offset', short: 's', value: true };
const LENGTH = { name: 'max-length', short: 'l', value: true };
const COLUMN = 16;

export async function map(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, OUTPUT, forceShare, START, LENGTH]);
  const start = args.get(START);
  const length = args.get(LENGTH);
  const from = start === undefined ? 0 : parseNumber('start offset', start);
  const most = length === undefined ? undefined : parseNumber('max length', length);
  const filename = args.only('Expecting one image file name');
  const { output } = args;
  const graph = newGraph(args);
  const format = args.get(FORMAT);
  const node = await openImage(graph, filename, {
    readOnly: true,
    imageOpts: args.has(imageOpts),
    forceShare: args.has(forceShare),
    ...(format !== undefined && { format }),
  });
  try {
    const end = most === undefined ? node.size : Math.min(node.size, from + most);
    if (output === 'human') {
      process.stdout.write(`${'Offset'.padEnd(COLUMN)}${'Length'.padEnd(COLUMN)}${'Mapped to'.padEnd(COLUMN)}File\n`);
      for await (const entry of mapImage(node, from, end)) process.stdout.write(humanLine(entry));
    } else {
      let first = true;
      for await (const entry of mapImage(node, from, end)) {
        process.stdout.write(`${first ? '[' : ',\n'}${jsonLine(entry)}`);
        first = false;
      }
      process.stdout.write(first ? '[]\n' : ']\n');
    }
    return 0;
  } finally {
    await graph.closeAll();
  }
}

function humanLine({ offset, bytes, data, zero, at }: MapEntry): string {
  if (data && at === undefined) throw new ImgFailure('File contains external, encrypted or compressed clusters.');
  if (!data || zero || at === undefined) return '';
  return `${hex(offset)}${hex(bytes)}${hex(at.offset)}${at.filename}\n`;
}

function hex(value: number): string {
  return (value === 0 ? '0' : `0x${value.toString(16)}`).padEnd(COLUMN);
}

function jsonLine({ offset, bytes, depth, present, zero, data, at }: MapEntry): string {
  const where = at === undefined ? '' : `, "offset": ${at.offset}`;
  return (
    `{ "start": ${offset}, "length": ${bytes}, "depth": ${depth}, "present": ${asciiJson(present)}, ` +
    `"zero": ${asciiJson(zero)}, "data": ${asciiJson(data)}${where}}`
  );
}
