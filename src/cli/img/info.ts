/** `orrery img info`: what an image is. */
import { type ImageFacts, imageFacts } from '../../block/jobs/image-facts.ts';
import { Arguments, ImgFailure, SHAPES } from './arguments.ts';
import { describeFacts, factsAsJson } from './describe-image.ts';
import { jsonText } from './json.ts';
import { newGraph, openImage } from './open.ts';

const { format: FORMAT, imageOpts, output: OUTPUT, forceShare } = SHAPES;
const CHAIN = { name: 'backing-chain', value: false };

interface Named {
  readonly filename: string;
  readonly format: string | undefined;
  readonly imageOpts: boolean;
}

export async function info(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, OUTPUT, forceShare, CHAIN]);
  const { output } = args;
  const chain = args.has(CHAIN);
  const facts: ImageFacts[] = [];
  const seen = new Set<string>();
  let next: Named | undefined = {
    filename: args.only('Expecting one image file name'),
    format: args.get(FORMAT),
    imageOpts: args.has(imageOpts),
  };
  while (next !== undefined) {
    if (seen.has(next.filename)) throw new ImgFailure(`Backing file '${next.filename}' creates an infinite loop.`);
    seen.add(next.filename);
    const found = await factsOf(args, next);
    facts.push(found);
    next = chain ? backingOf(found) : undefined;
  }
  if (output === 'json') {
    const all = facts.map(factsAsJson);
    process.stdout.write(`${jsonText(chain ? all : (all[0] ?? {}))}\n`);
  } else process.stdout.write(facts.map(describeFacts).join('\n'));
  return 0;
}

async function factsOf(args: Arguments, { filename, format, imageOpts: options }: Named): Promise<ImageFacts> {
  const graph = newGraph(args);
  const node = await openImage(graph, filename, {
    imageOpts: options,
    readOnly: true,
    noIo: true,
    noBacking: true,
    forceShare: args.has(forceShare),
    ...(format !== undefined && { format }),
  });
  try {
    return await imageFacts(graph, node);
  } finally {
    await graph.closeAll();
  }
}

function backingOf({ filename, backing }: ImageFacts): Named | undefined {
  if (backing === undefined) return undefined;
  const { path, format } = backing;
  if (path === undefined) throw new ImgFailure(`Could not determine the backing file of '${filename}'`);
  return { filename: path, format, imageOpts: false };
}
