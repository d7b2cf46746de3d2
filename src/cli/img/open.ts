/** Opening images for subcommands: a graph with the objects of the command line, caches by name, and the tool's sentences on failure. */
import { ImageError } from '../../block/block-error.ts';
import type { JsonValue, BlockNode } from '../../block/node.ts';
import { BlockGraph, type OpenFlags } from '../../block/graph.ts';
import { nodeBlockHost } from '../../host/node/block/host.ts';
import { BlockObjects } from '../block-objects.ts';
import { warnOfGuessedRaw } from '../guessed-raw.ts';
import { parseOptionList } from '../system/option-text.ts';
import { type Arguments, ImgFailure } from './arguments.ts';

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What a subcommand that only tells something may be told meanwhile, and everybody else too. */
export function warn(sentence: string): void {
  process.stderr.write(`${sentence}\n`);
}

export function newGraph(args: Arguments): BlockGraph {
  const objects = new BlockObjects(nodeBlockHost, args.objects);
  return new BlockGraph(nodeBlockHost, { warn, secret: objects.secret, tlsCredentials: objects.tlsCredentials });
}

export interface CacheMode {
  readonly direct: boolean;
  readonly noFlush: boolean;
  /** Each write is on stable storage when it is done. */
  readonly writeThrough: boolean;
}

const MODES: Readonly<Record<string, CacheMode>> = {
  none: { direct: true, noFlush: false, writeThrough: false },
  off: { direct: true, noFlush: false, writeThrough: false },
  directsync: { direct: true, noFlush: false, writeThrough: true },
  writeback: { direct: false, noFlush: false, writeThrough: false },
  unsafe: { direct: false, noFlush: true, writeThrough: false },
  writethrough: { direct: false, noFlush: false, writeThrough: true },
};

/** `what`: "cache" or "source cache", for the sentence about a mode that there is not; or the whole `sentence`. */
export function cacheMode(text: string, what: string, sentence = `Invalid ${what} option: ${text}`): CacheMode {
  const mode = Object.hasOwn(MODES, text) ? MODES[text] : undefined;
  if (mode === undefined) throw new ImgFailure(sentence);
  return mode;
}

export interface OpenRequest extends OpenFlags {
  /** The name is a list of options. */
  readonly imageOpts?: boolean;
}

/** Opens what was named on the command line. */
export async function openImage(graph: BlockGraph, name: string, request: OpenRequest): Promise<BlockNode> {
  const { imageOpts = false, ...flags } = request;
  if (imageOpts && flags.format !== undefined) throw new ImgFailure('--image-opts and --format are mutually exclusive');
  let what: ReturnType<typeof imageOptions> | string = name;
  let node: BlockNode;
  try {
    if (imageOpts) what = imageOptions(name);
    if (flags.forceShare === true && flags.readOnly !== true)
      throw new ImgFailure('force-share=on can only be used with read-only images');
    node = await graph.open(what, flags);
  } catch (error) {
    throw new ImgFailure(`Could not open '${name}': ${messageOf(error)}`);
  }
  if (!namesFormat(what, flags.format)) warnOfGuessedRaw(node);
  return node;
}

function namesFormat(what: string | Readonly<Record<string, JsonValue>>, format: string | undefined): boolean {
  if (typeof what === 'string') return format !== undefined || what.startsWith('json:');
  return 'driver' in what;
}

function imageOptions(text: string): Readonly<Record<string, JsonValue>> {
  const { name, properties } = parseOptionList('-image-opts', text);
  if (name !== undefined) throw new ImageError(`Cannot find device='${name}' nor node-name='${name}'`);
  return properties;
}

/** The node below filters. */
export function skipFilters(node: BlockNode): BlockNode {
  let at = node;
  for (;;) {
    const below = at.children.find(({ role }) => role === 'filtered');
    if (below === undefined) return at;
    at = below.node;
  }
}

export function backingOf(node: BlockNode): BlockNode | undefined {
  const filtered = skipFilters(node);
  return filtered.children.find(({ role }) => role === 'backing')?.node;
}
