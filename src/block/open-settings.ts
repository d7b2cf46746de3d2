/** How nodes are opened: what their options say, and what they inherit where those say nothing. */
import { ImageError } from './block-error.ts';
import type { NodeOptions } from './driver.ts';
import { boolOption, textOption } from './options.ts';

/** How a tree is opened, where its options do not say. */
export interface OpenFlags {
  /** Driver of the top node; without, formats are told by content. */
  readonly format?: string;
  readonly readOnly?: boolean;
  /** cache.direct: past the host's page cache. */
  readonly direct?: boolean;
  /** cache.no-flush: flushes do nothing. */
  readonly noFlush?: boolean;
  /** Discards give storage back. */
  readonly unmap?: boolean;
  readonly noIo?: boolean;
  readonly noBacking?: boolean;
  /** OpenRequest.check. */
  readonly check?: boolean;
  /** Others may write meanwhile (`-U`). */
  readonly forceShare?: boolean;
}

/** The same for one node. */
export interface Settings {
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly noFlush: boolean;
  readonly unmap: boolean;
  readonly noIo: boolean;
  readonly noBacking: boolean;
  readonly check: boolean;
  readonly forceShare: boolean;
  /** Names of the images above, the nearest last. */
  readonly chain: readonly string[];
}

export function settingsOf(flags: OpenFlags): Settings {
  return {
    readOnly: flags.readOnly ?? false,
    direct: flags.direct ?? false,
    noFlush: flags.noFlush ?? false,
    unmap: flags.unmap ?? false,
    noIo: flags.noIo ?? false,
    noBacking: flags.noBacking ?? false,
    check: flags.check ?? false,
    forceShare: flags.forceShare ?? false,
    chain: [],
  };
}

export function settle(options: NodeOptions, inherited: Settings): Settings {
  const { cache } = options;
  // INVARIANT: an object that is no list.
  const own = typeof cache === 'object' && cache !== null && !Array.isArray(cache) ? (cache as NodeOptions) : {};
  const dotted: NodeOptions = Object.fromEntries(Object.entries(own).map(([name, value]) => [`cache.${name}`, value]));
  boolOption(options, 'auto-read-only', false);
  const discard = textOption(options, 'discard');
  if (discard !== undefined && !['ignore', 'off', 'unmap', 'on'].includes(discard))
    throw new ImageError(`Invalid discard option '${discard}'`);
  return {
    ...inherited,
    readOnly: boolOption(options, 'read-only', inherited.readOnly),
    direct: boolOption(dotted, 'cache.direct', inherited.direct),
    noFlush: boolOption(dotted, 'cache.no-flush', inherited.noFlush),
    unmap: discard === undefined ? inherited.unmap : discard === 'unmap' || discard === 'on',
    forceShare: boolOption(options, 'force-share', inherited.forceShare),
  };
}
