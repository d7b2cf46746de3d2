/**
 * Options that say how an image is used, not what it is. Sizes of caches are checked and otherwise taken as they are meant, as advice:
 * tables are kept within bounds of their own. The overlap checks that cost nothing are always made.
 */
import { ImageError } from '../../block-error.ts';
import type { NodeOptions, OptionDeclaration, OpenRequest } from '../../driver.ts';
import { boolOption, sizeOption, textOption } from '../../options.ts';
import type { Header } from './layout.ts';
import { COMPATIBLE_LAZY_REFCOUNTS, l2EntryBytes } from './layout.ts';

const OVERLAP_TEMPLATES: readonly string[] = ['none', 'constant', 'cached', 'all'];
const OVERLAP_PARTS = [
  'main-header', 'active-l1', 'active-l2', 'refcount-table', 'refcount-block', 'snapshot-table', 'inactive-l1', 'inactive-l2',
  'bitmap-directory',
] as const; // prettier-ignore
export const CACHE_OPTIONS: readonly string[] = ['cache-size', 'l2-cache-size', 'refcount-cache-size'];
const INT_MAX = 2 ** 31 - 1;
const UINT_MAX = 2 ** 32 - 1;

export const RUNTIME_OPTIONS: readonly OptionDeclaration[] = [
  { name: 'encrypt.key-secret', type: 'string', help: 'ID of secret providing qcow AES key or LUKS passphrase' },
  { name: 'lazy-refcounts', type: 'bool', help: 'Postpone refcount updates' },
  { name: 'pass-discard-request', type: 'bool', help: 'Pass guest discard requests to the layer below' },
  { name: 'pass-discard-snapshot', type: 'bool', help: 'Generate discard requests when snapshot related space is freed' },
  { name: 'pass-discard-other', type: 'bool', help: 'Generate discard requests when other clusters are freed' },
  { name: 'overlap-check', type: 'string', help: 'Which overlap checks to make: none, constant, cached, all' },
  { name: 'cache-size', type: 'size', help: 'Maximum combined metadata (L2 tables and refcount blocks) cache size' },
  { name: 'l2-cache-size', type: 'size', help: 'Maximum L2 table cache size' },
  { name: 'l2-cache-entry-size', type: 'size', help: 'Size of each entry in the L2 cache' },
  { name: 'refcount-cache-size', type: 'size', help: 'Maximum refcount block cache size' },
  { name: 'cache-clean-interval', type: 'number', help: 'Clean unused cache entries after this time (in seconds)' },
]; // prettier-ignore

export interface RuntimeOptions {
  readonly lazyRefcounts: boolean;
  readonly unmap: boolean;
}

/** @throws {ImageError} for options that contradict each other or the image. */
export function runtimeOptions({ options, unmap }: OpenRequest, header: Header): RuntimeOptions {
  checkCaches(options, header);
  checkOverlap(options);
  boolOption(options, 'pass-discard-snapshot', true);
  boolOption(options, 'pass-discard-other', false);
  const stored = (header.compatible & COMPATIBLE_LAZY_REFCOUNTS) !== 0;
  const lazyRefcounts = boolOption(options, 'lazy-refcounts', stored);
  if (lazyRefcounts && header.version < 3)
    throw new ImageError('Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level');
  return { lazyRefcounts, unmap: boolOption(options, 'pass-discard-request', unmap) };
}

function checkCaches(options: NodeOptions, header: Header): void {
  const clusterSize = 2 ** header.clusterBits;
  const [total, l2, refcounts] = CACHE_OPTIONS.map((name) => sizeOption(options, name)); // prettier-ignore
  const tableBytes = l2EntryBytes(header);
  const needed = Math.ceil((Math.ceil(header.size / clusterSize) * tableBytes) / clusterSize) * clusterSize;
  if (total !== undefined) {
    if (l2 !== undefined && refcounts !== undefined)
      throw new ImageError('cache-size, l2-cache-size and refcount-cache-size may not be set at the same time');
    if (l2 !== undefined && l2 > total) throw new ImageError('l2-cache-size may not exceed cache-size');
    if (refcounts !== undefined && refcounts > total)
      throw new ImageError('refcount-cache-size may not exceed cache-size');
  }
  const entry = sizeOption(options, 'l2-cache-entry-size') ?? Math.min(clusterSize, 4096);
  if (entry < 512 || entry > clusterSize || !Number.isInteger(Math.log2(entry)))
    throw new ImageError(
      `L2 cache entry size must be a power of two between 512 and the cluster size (${clusterSize})`,
    );
  if (l2 !== undefined && Math.min(l2, needed) / entry > INT_MAX) throw new ImageError('L2 cache size too big');
  if (refcounts !== undefined && refcounts / clusterSize > INT_MAX) throw new ImageError('Refcount cache size too big');
  const interval = textOption(options, 'cache-clean-interval') ?? '0';
  if (!/^-?\d+$/.test(interval)) throw new ImageError("Parameter 'cache-clean-interval' expects a number");
  if (Number(interval) > UINT_MAX || Number(interval) < 0) throw new ImageError('Cache clean interval too big');
}

function checkOverlap(options: NodeOptions): void {
  const given = options['overlap-check'];
  // INVARIANT: an object that is no list.
  const parts = typeof given === 'object' && given !== null && !Array.isArray(given) ? (given as NodeOptions) : {};
  const plain = typeof given === 'string' ? given : textOption(parts, '');
  const template = textOption(parts, 'template');
  if (plain !== undefined && template !== undefined && plain !== template)
    throw new ImageError(
      `Conflicting values for qcow2 options 'overlap-check' ('${plain}') and 'overlap-check.template' ('${template}')`,
    );
  const chosen = plain ?? template ?? 'cached';
  if (!OVERLAP_TEMPLATES.includes(chosen))
    throw new ImageError(
      `Unsupported value '${chosen}' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all`,
    );
  for (const part of OVERLAP_PARTS) boolOption(parts, part, true);
}
