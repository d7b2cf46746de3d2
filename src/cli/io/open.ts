/** Opens images for `orrery io`: by name or by options, in a cache mode. */
import { boolOption, nestOptions } from '../../block/options.ts';
import type { BlockGraph } from '../../block/graph.ts';
import type { NodeOptions } from '../../block/driver.ts';
import type { BlockNode, JsonValue } from '../../block/node.ts';
import { warnOfGuessedRaw } from '../guessed-raw.ts';
import { overlayOn } from '../temporary-overlay.ts';
import { parseOptionList } from '../system/option-text.ts';
import type { IoSession, OpenImage } from './session.ts';

/** What `-t` takes: past the host's cache, without flushes, each write stable at once. */
const CACHE_MODES: Readonly<
  Record<string, { readonly direct: boolean; readonly noFlush: boolean; readonly writethrough: boolean }>
> = {
  none: { direct: true, noFlush: false, writethrough: false },
  off: { direct: true, noFlush: false, writethrough: false },
  directsync: { direct: true, noFlush: false, writethrough: true },
  writeback: { direct: false, noFlush: false, writethrough: false },
  unsafe: { direct: false, noFlush: true, writethrough: false },
  writethrough: { direct: false, noFlush: false, writethrough: true },
};

export type CacheMode = NonNullable<(typeof CACHE_MODES)[string]>;

export function cacheMode(session: IoSession, name: string): CacheMode {
  return CACHE_MODES[name] ?? session.refuse(`Invalid cache option: ${name}`);
}

export function unmaps(session: IoSession, discard: string): boolean {
  if (discard === 'unmap' || discard === 'on') return true;
  if (discard === 'ignore' || discard === 'off') return false;
  return session.refuse(`Invalid discard option: ${discard}`);
}

export function checkAio(session: IoSession, mode: string): void {
  if (!['threads', 'native', 'io_uring'].includes(mode)) session.refuse(`Invalid aio option: ${mode}`);
}

/** `driver=qcow2,file.filename=a`; a first word alone names what is below. */
export function imageOptions(text: string): Record<string, JsonValue> {
  const { name, properties } = parseOptionList('-image-opts', text);
  return name === undefined ? { ...properties } : { file: name, ...properties };
}

export interface OpenImageOptions {
  readonly filename?: string | undefined;
  readonly options?: Readonly<Record<string, JsonValue>> | undefined;
  readonly readOnly: boolean;
  /** -s. */
  readonly temporary: boolean;
  readonly forceShare: boolean;
  readonly cache: string;
  readonly unmap: boolean;
}

export async function openImage(session: IoSession, request: OpenImageOptions): Promise<void> {
  const { filename, options, forceShare, unmap } = request;
  if (session.image !== undefined) session.refuse("file open already, try 'help close'");
  const device = filename === undefined ? '' : ` device ${filename}`;
  const { direct, noFlush, writethrough } = cacheMode(session, request.cache);
  try {
    const readOnly = request.readOnly || request.temporary;
    if (forceShare && options?.['force-share'] !== undefined && !boolOption(options, 'force-share', true))
      session.refuse('-U conflicts with image options');
    if (forceShare && !readOnly) throw new Error('force-share=on can only be used with read-only images');
    const what = nodeOptions(session.graph, filename, options);
    const { 'copy-on-read': copies, ...others } = nestOptions(typeof what === 'string' ? { filename: what } : what);
    const copiesReads = copies !== undefined && boolOption({ copies }, 'copies', false);
    if (copiesReads && request.readOnly) throw new Error("Can't use copy-on-read on read-only device");
    let node = await session.graph.open(typeof what === 'string' ? what : others, {
      readOnly,
      direct,
      noFlush,
      unmap,
      forceShare,
    });
    if (typeof what === 'string' ? !what.startsWith('json:') : !('driver' in what))
      warnOfGuessedRaw(node, (text) => session.complain(text));
    if (copiesReads)
      node = await over(session, node, (below) =>
        session.graph.open({ driver: 'copy-on-read', file: below.name }, { readOnly }),
      );
    if (request.temporary) node = await over(session, node, (below) => overlayOn(session.graph, below, 'orrery-io'));
    session.image = { node, writethrough, cache: request.cache };
  } catch (error) {
    session.refuse(`can't open${device}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A node over an open one, which is then closed with it. */
async function over(
  session: IoSession,
  below: BlockNode,
  open: (below: BlockNode) => Promise<BlockNode>,
): Promise<BlockNode> {
  const top = await open(below).catch(async (error: unknown) => {
    await session.graph.close(below);
    throw error;
  });
  await session.graph.close(below);
  return top;
}

/** A name, options, or both: the name is then that of what is below, for which there may be options too. */
function nodeOptions(
  graph: BlockGraph,
  filename: string | undefined,
  options: OpenImageOptions['options'],
): string | NodeOptions {
  if (filename === undefined) return nestOptions(options ?? {});
  if (options === undefined || Object.keys(options).length === 0) return filename;
  const nested = nestOptions(options);
  const named = graph.filenames.protocolOptions(filename);
  if (filename.startsWith('json:') || named['driver'] === nested['driver']) return merged(named, nested);
  if (nested['driver'] === 'blkdebug') return overImage(nested, filename);
  const { file } = nested;
  if (!isObject(file)) return { ...nested, filename };
  return { ...nested, file: file['driver'] === 'blkdebug' ? overImage(file, filename) : merged(named, file) };
}

/** A name that is no rules' is that of what such a node is over. */
function overImage(options: NodeOptions, filename: string): NodeOptions {
  const { image } = options;
  return { ...options, image: { ...(isObject(image) ? image : {}), filename } };
}

/** What a name says, and options that say more; of what is below, too. */
function merged(named: NodeOptions, more: NodeOptions): NodeOptions {
  const both: Record<string, JsonValue> = { ...named, ...more };
  for (const [name, value] of Object.entries(named)) {
    const other = more[name];
    if (isObject(value) && isObject(other)) both[name] = merged(value, other);
  }
  return both;
}

function isObject(value: JsonValue | undefined): value is NodeOptions {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `reopen`: the image that is open, with other options. */
export async function reopenImage(
  session: IoSession,
  image: OpenImage,
  changes: {
    readonly readOnly?: boolean | undefined;
    readonly cache?: string | undefined;
    readonly options: Record<string, JsonValue>;
  },
): Promise<void> {
  const { readOnly, cache, options } = changes;
  const mode = cacheMode(session, cache ?? image.cache);
  if (readOnly !== undefined && options['read-only'] !== undefined)
    session.refuse("Cannot set both -r/-w and 'read-only'");
  if (cache !== undefined && (options['cache.direct'] !== undefined || options['cache.no-flush'] !== undefined))
    session.refuse('Cannot set both -c and the cache options');
  await session.drain();
  try {
    const node = await session.graph.reopen(image.node, options, {
      ...(readOnly !== undefined && { readOnly }),
      ...(cache !== undefined && { direct: mode.direct, noFlush: mode.noFlush }),
    });
    session.image = { node, writethrough: mode.writethrough, cache: cache ?? image.cache };
  } catch (error) {
    const node = session.graph.node(image.node.name);
    session.image = node === undefined ? undefined : { ...image, node };
    session.refuse(error instanceof Error ? error.message : String(error));
  }
}
