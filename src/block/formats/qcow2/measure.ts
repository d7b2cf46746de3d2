/** How large an image would be: tables for everything, and the clusters that have data. */
import { ImageError } from '../../block-error.ts';
import { luksBytes } from '../../crypto/luks.ts';
import { luksOptions } from '../../crypto/luks-options.ts';
import type { MeasureResult } from '../../driver.ts';
import { statusOfChain } from '../../chain-status.ts';
import type { BlockNode } from '../../node.ts';
import { type CreatePlan, planCreate } from './create.ts';

const ENTRY_BYTES = 8;

export async function measureQcow2(
  size: number,
  options: Readonly<Record<string, string>>,
  source?: BlockNode,
): Promise<MeasureResult> {
  const { header, preallocation } = plan(source?.size ?? size, options);
  const clusterSize = 2 ** header.clusterBits;
  const virtual = roundUp(source?.size ?? size, clusterSize);
  let data = 0;
  if (preallocation === 'falloc' || preallocation === 'full') data = virtual;
  else if (source !== undefined)
    data = header.backingFile === undefined ? await dataBytes(source, clusterSize) : virtual;
  const extended = (header.incompatible & 16) !== 0;
  const fullyAllocated =
    fullBytes(virtual, clusterSize, header.refcountOrder, extended) + encryptionBytes(options, clusterSize);
  const required = fullyAllocated - virtual + data;
  if (source?.bitmaps === undefined || !keepsBitmaps(source) || header.version < 3) return { required, fullyAllocated };
  return { required, fullyAllocated, bitmaps: bitmapBytes(source, clusterSize) };
}

function plan(size: number, options: Readonly<Record<string, string>>): CreatePlan {
  try {
    return planCreate(size, options);
  } catch (error) {
    if (!(error instanceof ImageError) || error.code !== 'EFBIG') throw error;
    throw new ImageError('The image size is too large (try using a larger cluster size)', 'EFBIG');
  }
}

/** Images of version 2 have none. */
function keepsBitmaps(source: BlockNode): boolean {
  return source.specificInfo?.().data['compat'] !== '0.10';
}

/** The LUKS header has clusters of its own. */
function encryptionBytes(options: Readonly<Record<string, string>>, clusterSize: number): number {
  if (options['encrypt.format'] !== 'luks') return 0;
  if (options['encrypt.key-secret'] === undefined)
    throw new ImageError("Parameter 'encrypt.key-secret' is required for cipher");
  return roundUp(luksBytes(luksOptions(options, 'encrypt.')), clusterSize);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** Bytes of clusters in which the source has data. */
async function dataBytes(source: BlockNode, clusterSize: number): Promise<number> {
  let bytes = 0;
  for (let at = 0; at < source.size;) {
    const status = await statusOfChain(source, at, source.size - at);
    let length = status.bytes;
    if (!status.zero && status.data) {
      length = roundUp(at + length, clusterSize) - at;
      bytes += (at % clusterSize) + length;
    }
    at += length;
  }
  return bytes;
}

function fullBytes(size: number, clusterSize: number, refcountOrder: number, extended: boolean): number {
  const total = roundUp(size, clusterSize);
  const l2EntryBytes = extended ? 16 : 8;
  const l2Entries = roundUp(total / clusterSize, clusterSize / l2EntryBytes);
  const l1Entries = roundUp((l2Entries * l2EntryBytes) / clusterSize, clusterSize / ENTRY_BYTES);
  const tables = clusterSize + l2Entries * l2EntryBytes + l1Entries * ENTRY_BYTES;
  return total + tables + refcountBytes((tables + total) / clusterSize, clusterSize, refcountOrder);
}

/** Refcount table and blocks for so many clusters and for themselves. */
function refcountBytes(clusters: number, clusterSize: number, refcountOrder: number): number {
  const perBlock = (clusterSize * 8) / 2 ** refcountOrder;
  let [blocks, table, before] = [0, 0, -1];
  while (before !== blocks + table) {
    before = blocks + table;
    blocks = Math.ceil((clusters + table + blocks) / perBlock);
    table = Math.ceil(blocks / (clusterSize / ENTRY_BYTES));
  }
  return (blocks + table) * clusterSize;
}

function bitmapBytes(source: BlockNode, clusterSize: number): number {
  let [bytes, directory] = [0, 0];
  for (const { name, granularity } of source.bitmaps?.list() ?? []) {
    const data = roundUp(Math.ceil(source.size / (8 * granularity)), clusterSize);
    bytes += data + roundUp((data / clusterSize) * ENTRY_BYTES, clusterSize);
    directory += roundUp(24 + new TextEncoder().encode(name).length, 8);
  }
  return bytes + roundUp(directory, clusterSize);
}
