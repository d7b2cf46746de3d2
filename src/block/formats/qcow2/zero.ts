/**
 * Writing zeroes and discarding without writing data: entries say "reads as zeroes" (version 3), and storage is given back or kept.
 */
import { BlockError } from '../../block-error.ts';
import type { ZeroFlags } from '../../node.ts';
import type { Qcow2Image } from './image.ts';
import { statusOfChain } from '../../chain-status.ts';
import { AUTOCLEAR_DATA_FILE_RAW } from './layout.ts';
import type { L2Table } from './tables.ts';
import { bitRange, COMPRESSED, DATA, UNALLOCATED } from './tables.ts';
import { isZero, writeClaimed } from './write.ts';

const ZEROES = new Uint8Array(1 << 20);

/** Makes a range read as zeroes; the caller has checked range and permission. */
export async function zeroRange(image: Qcow2Image, offset: number, bytes: number, flags: ZeroFlags): Promise<void> {
  if (bytes === 0) return;
  const { tables } = image;
  const size = tables.clusterSize;
  const [first, end] = [Math.floor(offset / size) * size, Math.ceil((offset + bytes) / size) * size];
  if (tables.overfull) await image.flush();
  const claim = await image.ranges.claim(first, end, true);
  try {
    await zeroClaimed(image, offset, offset + bytes, flags);
  } finally {
    image.ranges.release(claim);
  }
}

/** The same for [from, to) when nobody else is at its clusters. */
export async function zeroClaimed(image: Qcow2Image, from: number, to: number, flags: ZeroFlags): Promise<void> {
  image.checkUsable();
  const { unit } = image.tables;
  // The disk's last part counts as whole: nothing is behind it.
  const wholeFrom = Math.ceil(from / unit) * unit;
  const wholeTo = to === image.header.size ? Math.ceil(to / unit) * unit : Math.floor(to / unit) * unit;
  if (wholeTo < wholeFrom) return zeroPart(image, from, to, flags);
  if (from < wholeFrom) await zeroPart(image, from, wholeFrom, flags);
  if (wholeFrom < wholeTo) await zeroUnits(image, wholeFrom, wholeTo, flags);
  if (wholeTo < to) await zeroPart(image, wholeTo, to, flags);
}

/** Less than a unit: the whole is marked when the rest of it reads as zeroes already, else the part written. */
async function zeroPart(image: Qcow2Image, from: number, to: number, flags: ZeroFlags): Promise<void> {
  const { unit } = image.tables;
  const [begin, end] = [Math.floor(from / unit) * unit, Math.min(Math.ceil(to / unit) * unit, image.header.size)];
  await loadTables(image, begin, end);
  const around = async (at: number, until: number): Promise<boolean> =>
    isZero(image, at, until - at) || readsAsZeroes(image, at, until);
  if (image.header.version >= 3 && (await around(begin, from)) && (await around(to, end))) {
    await zeroUnits(image, begin, Math.ceil(end / unit) * unit, flags);
    return;
  }
  if (image.header.version < 3 && isZero(image, from, to - from)) return;
  if (flags.noFallback) throw new BlockError('ENOTSUP');
  await writeZeroBytes(image, from, to);
}

/** Whether a range reads as zeroes, as far as the mapping and the status of what is below tell. */
async function readsAsZeroes(image: Qcow2Image, from: number, to: number): Promise<boolean> {
  for (let at = from; at < to;) {
    const run = image.tables.find(at, to - at);
    if (run === undefined || run.kind === DATA || run.kind === COMPRESSED) return false;
    let { bytes } = run;
    if (run.kind === UNALLOCATED && at < image.backingBytes && image.backing !== undefined) {
      const below = await statusOfChain(image.backing, at, Math.min(bytes, image.backingBytes - at));
      if (!below.zero) return false;
      bytes = below.bytes;
    }
    at += bytes;
  }
  return true;
}

async function writeZeroBytes(image: Qcow2Image, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += ZEROES.length) {
    const part = Math.min(ZEROES.length, to - at);
    await writeClaimed(image, at, [ZEROES.subarray(0, part)], part);
  }
}

async function loadTables(image: Qcow2Image, from: number, to: number): Promise<void> {
  const reach = image.tables.l2Reach;
  for (let index = Math.floor(from / reach); index * reach < to; index++) await image.tables.load(index);
}

async function zeroUnits(image: Qcow2Image, from: number, to: number, flags: ZeroFlags): Promise<void> {
  const { tables } = image;
  const size = tables.clusterSize;
  if (image.header.autoclear & AUTOCLEAR_DATA_FILE_RAW && image.hasDataFile)
    await image.dataFile.writeZeroes(from, Math.min(to, image.dataFile.size) - from, flags);
  if (image.header.version < 3) {
    // No entry can say it: only what is not there, over nothing, reads as zeroes.
    const end = Math.min(to, image.header.size);
    for (let at = from; at < end;) {
      const part = Math.min(size - (at % size), end - at);
      await loadTables(image, at, at + part);
      if (!isZero(image, at, part)) {
        if (flags.noFallback) throw new BlockError('ENOTSUP');
        await writeZeroBytes(image, at, at + part);
      }
      at += part;
    }
    return;
  }
  if (tables.extended) {
    const [head, tail] = [Math.ceil(from / size) * size, Math.floor(to / size) * size];
    if (from < head && (await isCompressed(image, from))) {
      await writeZeroBytes(image, from, Math.min(head, to, image.header.size));
      if (to <= head) return;
      from = head;
    }
    if (tail < to && (await isCompressed(image, tail))) {
      await writeZeroBytes(image, Math.max(tail, from), Math.min(to, image.header.size));
      to = Math.max(tail, from);
    }
  }
  await forClusters(image, from, to, (table, index, begin, end) => {
    if (tables.extended && (begin > 0 || end < size)) zeroSubclusters(image, table, index, begin, end);
    else zeroCluster(image, table, index, flags.unmap === true);
  });
}

async function isCompressed(image: Qcow2Image, offset: number): Promise<boolean> {
  await loadTables(image, offset, offset + 1);
  return image.tables.find(offset, 1)?.kind === COMPRESSED;
}

/** Calls for each cluster in the range, with the part of it, on tables that may be written. */
async function forClusters(
  image: Qcow2Image,
  from: number,
  to: number,
  change: (table: L2Table, index: number, begin: number, end: number) => void,
): Promise<void> {
  const { tables } = image;
  const size = tables.clusterSize;
  for (let at = from; at < to;) {
    const l1Index = Math.floor(at / tables.l2Reach);
    const table = image.tableForWriting(l1Index);
    if (table instanceof Promise) {
      await table;
      if (tables.overfull) await image.flush();
      continue;
    }
    const end = Math.min(to, (l1Index + 1) * tables.l2Reach);
    for (; at < end; at = (Math.floor(at / size) + 1) * size) {
      const cluster = Math.floor(at / size) * size;
      change(table, (cluster - l1Index * tables.l2Reach) / size, at - cluster, Math.min(size, to - cluster));
    }
  }
}

function zeroSubclusters(image: Qcow2Image, table: L2Table, index: number, begin: number, end: number): void {
  const { tables } = image;
  const bits = bitRange(begin / tables.unit, end / tables.unit);
  tables.setBitmap(table, index, tables.zeroBits(table, index) | bits, tables.allocatedBits(table, index) & ~bits);
}

function zeroCluster(image: Qcow2Image, table: L2Table, index: number, unmap: boolean): void {
  const { tables } = image;
  const kind = tables.kindAt(table, index * tables.clusterSize);
  const give = kind === COMPRESSED || (unmap && tables.clusterAt(table, index) >= 0 && !image.hasDataFile);
  if (give) {
    image.releaseEntry(table, index, image.unmap);
    tables.setCluster(table, index, -1, true);
  } else {
    tables.setZero(table, index);
  }
  if (tables.extended) tables.setBitmap(table, index, 0xffffffff, 0);
}

/** Gives the storage of whole clusters back; over a backing node they read as zeroes, as they do afterwards everywhere. */
export async function discardRange(image: Qcow2Image, offset: number, bytes: number): Promise<void> {
  const { tables } = image;
  const size = tables.clusterSize;
  const from = Math.ceil(offset / size) * size;
  const to =
    offset + bytes === image.header.size
      ? Math.ceil(image.header.size / size) * size
      : Math.floor((offset + bytes) / size) * size;
  if (to <= from) return;
  // Version 2 has no way to say "zeroes" over a backing node: what it has would show again.
  if (image.header.version < 3 && image.backing !== undefined) return;
  if (tables.overfull) await image.flush();
  const claim = await image.ranges.claim(from, to, true);
  try {
    image.checkUsable();
    await dropClaimed(image, from, to, false);
    if (image.hasDataFile && image.unmap)
      await image.dataFile.discard(from, Math.min(to, image.dataFile.size) - from).catch(() => {});
  } finally {
    image.ranges.release(claim);
  }
}

/** Whole clusters [from, to) that nobody else is at. `bare`: the backing node shows again, where there is one. */
export async function dropClaimed(image: Qcow2Image, from: number, to: number, bare: boolean): Promise<void> {
  const { tables } = image;
  for (let at = from; at < to;) {
    const l1Index = Math.floor(at / tables.l2Reach);
    const end = Math.min(to, (l1Index + 1) * tables.l2Reach);
    const nothing = tables.l2Offset(l1Index) === 0 && (bare || image.backing === undefined);
    if (!nothing) await forClusters(image, at, end, (table, index) => dropCluster(image, table, index, bare));
    at = end;
  }
}

function dropCluster(image: Qcow2Image, table: L2Table, index: number, bare: boolean): void {
  const { tables } = image;
  const at = index * tables.clusterSize;
  const stored = tables.kindAt(table, at) === COMPRESSED || tables.clusterAt(table, index) >= 0;
  if (!bare && !stored && (image.backing === undefined || tables.kindAt(table, at) !== UNALLOCATED)) return;
  if (stored) image.releaseEntry(table, index, image.unmap);
  tables.setCluster(table, index, -1, !bare);
  if (tables.extended) tables.setBitmap(table, index, bare ? 0 : 0xffffffff, 0);
}
