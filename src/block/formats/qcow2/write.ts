/**
 * Writing: in place where a cluster is nobody else's, otherwise into new clusters, as many adjacent ones as there are, in one request
 * together with what has to be copied around the data. Entries change after the data has been written.
 */
import type { IoVector } from '../../io-vector.ts';
import { sliceVector } from '../../io-vector.ts';
import type { Qcow2Image } from './image.ts';
import { readRange, settleAll, start } from './read.ts';
import type { L2Table } from './tables.ts';
import { bitRange, COMPRESSED, DATA, UNALLOCATED, ZERO } from './tables.ts';

const ZEROES = new Uint8Array(65536);

/** Writes `from`; the caller has checked range and permission. */
export function writeRange(image: Qcow2Image, offset: number, from: IoVector, bytes: number): Promise<void> {
  if (bytes === 0) return Promise.resolve();
  const aligned = image.encryption === undefined || (offset % 512 === 0 && bytes % 512 === 0);
  return (aligned ? tryInPlace(image, offset, from, bytes) : undefined) ?? writeSlowly(image, offset, from, bytes);
}

/** The common case of a disk in use: one request to storage and nothing else. Undefined when it is not that. */
function tryInPlace(image: Qcow2Image, offset: number, from: IoVector, bytes: number): Promise<void> | undefined {
  const { tables, ranges } = image;
  const run = tables.find(offset, bytes);
  if (run === undefined || run.kind !== DATA || run.bytes !== bytes) return undefined;
  const l1Index = Math.floor(offset / tables.l2Reach);
  const table = tables.cache.get(l1Index);
  if (table === undefined || !tables.l1IsCopied(l1Index)) return undefined;
  const size = tables.clusterSize;
  if ((run.host - offset) % size !== 0) return undefined;
  const first = Math.floor((offset - l1Index * tables.l2Reach) / size);
  const last = Math.floor((offset + bytes - 1 - l1Index * tables.l2Reach) / size);
  for (let index = first; index <= last; index++) if (!tables.isCopied(table, index)) return undefined;
  const base = l1Index * tables.l2Reach;
  const claim = ranges.tryClaim(base + first * size, base + (last + 1) * size, false);
  if (claim === undefined) return undefined;
  let writing: Promise<void>;
  try {
    writing = image.writeStorage(run.host, from, offset);
  } catch (error) {
    ranges.release(claim);
    throw error;
  }
  return writing.finally(() => ranges.release(claim));
}

async function writeSlowly(image: Qcow2Image, offset: number, from: IoVector, bytes: number): Promise<void> {
  const { tables, ranges } = image;
  const size = tables.clusterSize;
  const [first, end] = [Math.floor(offset / size) * size, Math.ceil((offset + bytes) / size) * size];
  const aligned = image.encryption === undefined || (offset % 512 === 0 && bytes % 512 === 0);
  if (tables.overfull || image.refcounts.hasManyFrees) await image.flush();
  let claim = ranges.tryClaim(first, end, true);
  while (claim === undefined) {
    await ranges.waitFor(first, end, true);
    // Whoever was in the way may have allocated what we need.
    const simple = aligned ? tryInPlace(image, offset, from, bytes) : undefined;
    if (simple !== undefined) return simple;
    claim = ranges.tryClaim(first, end, true);
  }
  try {
    await writeClaimed(image, offset, from, bytes);
  } finally {
    ranges.release(claim);
  }
}

/** Encrypted images change in whole sectors. */
async function writeSectors(image: Qcow2Image, offset: number, from: IoVector, bytes: number): Promise<void> {
  const start = Math.floor(offset / 512) * 512;
  const end = Math.min(Math.ceil((offset + bytes) / 512) * 512, image.header.size);
  const whole = new Uint8Array(end - start);
  await readRange(image, start, [whole], whole.length);
  let at = offset - start;
  for (const piece of from) {
    whole.set(piece, at);
    at += piece.length;
  }
  await writeClaimed(image, start, [whole], whole.length);
}

/** Writes to clusters that are claimed exclusively. */
export async function writeClaimed(image: Qcow2Image, offset: number, from: IoVector, bytes: number): Promise<void> {
  image.checkUsable();
  if (image.encryption !== undefined && (offset % 512 !== 0 || bytes % 512 !== 0))
    return writeSectors(image, offset, from, bytes);
  const { tables } = image;
  const pending: Promise<void>[] = [];
  try {
    for (let done = 0; done < bytes;) {
      const l1Index = Math.floor((offset + done) / tables.l2Reach);
      const table = image.tableForWriting(l1Index);
      if (table instanceof Promise) {
        await table;
        continue;
      }
      const inTable = offset + done - l1Index * tables.l2Reach;
      const most = Math.min(bytes - done, tables.l2Reach - inTable);
      const segment = ownSegment(image, table, inTable, most) ?? (await allocateSegment(image, table, inTable, most));
      start(pending, writeSegment(image, table, segment, sliceVector(from, done, segment.bytes)));
      done += segment.bytes;
    }
  } finally {
    await settleAll(pending);
  }
}

/** Clusters whose storage, adjacent, is written by one request: their own, or new. */
interface Segment {
  readonly inTable: number;
  readonly bytes: number;
  readonly firstIndex: number;
  readonly clusters: number;
  /** Storage of the first cluster. */
  readonly host: number;
  /** The storage is new, so what the entries had before is released. */
  readonly fresh: boolean;
  /** Nothing was ever written there: it reads as zeroes. */
  readonly untouched: boolean;
}

/** As many clusters as have adjacent storage of their own, data or not; undefined when the first has none. */
function ownSegment(image: Qcow2Image, table: L2Table, inTable: number, most: number): Segment | undefined {
  const size = image.clusterSize;
  const firstIndex = Math.floor(inTable / size);
  const lastIndex = Math.floor((inTable + most - 1) / size);
  const own = ownStorage(image, table, firstIndex);
  if (own < 0) return undefined;
  let clusters = 1;
  while (
    firstIndex + clusters <= lastIndex &&
    ownStorage(image, table, firstIndex + clusters) === own + clusters * size
  )
    clusters++;
  return segment(inTable, most, firstIndex, clusters, own, false, false, size);
}

async function allocateSegment(image: Qcow2Image, table: L2Table, inTable: number, most: number): Promise<Segment> {
  const { tables } = image;
  const size = tables.clusterSize;
  const firstIndex = Math.floor(inTable / size);
  const lastIndex = Math.floor((inTable + most - 1) / size);
  let clusters = 1;
  while (firstIndex + clusters <= lastIndex && needsStorage(image, table, firstIndex + clusters)) clusters++;
  if (image.hasDataFile) {
    const host = table.l1Index * tables.l2Reach + firstIndex * size;
    return segment(inTable, most, firstIndex, clusters, host, true, host >= image.dataFile.size, size);
  }
  table.pins++;
  try {
    const taken = await image.allocate(clusters, false);
    const untouched = taken.host >= image.file.size;
    return segment(inTable, most, firstIndex, taken.count, taken.host, true, untouched, size);
  } finally {
    table.pins--;
  }
}

function segment(
  inTable: number,
  most: number,
  firstIndex: number,
  clusters: number,
  host: number,
  fresh: boolean,
  untouched: boolean,
  size: number,
): Segment {
  const bytes = Math.min(most, (firstIndex + clusters) * size - inTable);
  return { inTable, bytes, firstIndex, clusters, host, fresh, untouched };
}

/** Storage of a cluster that may be written in place, -1 when it has none or shares it. */
function ownStorage(image: Qcow2Image, table: L2Table, index: number): number {
  return image.tables.isCopied(table, index) ? image.tables.clusterAt(table, index) : -1;
}

function needsStorage(image: Qcow2Image, table: L2Table, index: number): boolean {
  return ownStorage(image, table, index) < 0;
}

/** Data and what is around it into storage, then the entries. */
async function writeSegment(image: Qcow2Image, table: L2Table, segment: Segment, from: IoVector): Promise<void> {
  const { tables } = image;
  const size = tables.clusterSize;
  const base = table.l1Index * tables.l2Reach;
  const { inTable, bytes, firstIndex, clusters } = segment;
  const end = inTable + bytes;
  const lastIndex = firstIndex + clusters - 1;
  const copyFrom = coverBegin(image, table, segment, firstIndex, inTable);
  const copyTo = coverEnd(image, table, segment, lastIndex, end);
  table.pins++;
  try {
    const vector: Uint8Array[] = [];
    let start = inTable;
    if (copyFrom < inTable && (await gatherAround(image, base + copyFrom, inTable - copyFrom, segment, vector)))
      start = copyFrom;
    for (const piece of from) vector.push(piece);
    if (end < copyTo) await gatherAround(image, base + end, copyTo - end, segment, vector);
    await image.writeStorage(segment.host + (start - firstIndex * size), vector, base + start);
    for (let index = firstIndex; index <= lastIndex; index++) {
      const partFrom = Math.max(copyFrom, index * size) - index * size;
      const partTo = Math.min(copyTo, (index + 1) * size) - index * size;
      setEntry(image, table, index, segment, partFrom, partTo);
    }
  } catch (error) {
    // Nothing refers to the new clusters yet.
    if (segment.fresh && !image.hasDataFile) image.refcounts.free(segment.host, clusters, false);
    throw error;
  } finally {
    table.pins--;
  }
}

/** From where on the first cluster's storage gets bytes: what is data there already stays. */
function coverBegin(image: Qcow2Image, table: L2Table, segment: Segment, index: number, inTable: number): number {
  const { tables } = image;
  if (!segment.fresh && tables.kindAt(table, inTable) === DATA) return inTable;
  if (!tables.extended || (segment.fresh && hasData(image, table, index))) return index * tables.clusterSize;
  return Math.floor(inTable / tables.unit) * tables.unit;
}

function coverEnd(image: Qcow2Image, table: L2Table, segment: Segment, index: number, end: number): number {
  const { tables } = image;
  if (!segment.fresh && tables.kindAt(table, end - 1) === DATA) return end;
  if (!tables.extended || (segment.fresh && hasData(image, table, index))) return (index + 1) * tables.clusterSize;
  return Math.ceil(end / tables.unit) * tables.unit;
}

/** Whether a cluster with subclusters has data that must move when it gets other storage. */
function hasData(image: Qcow2Image, table: L2Table, index: number): boolean {
  const { tables } = image;
  if (tables.kindAt(table, index * tables.clusterSize) === COMPRESSED) return true;
  return tables.allocatedBits(table, index) !== 0;
}

/** Adds the disk's bytes of a range to the vector; false when they need not be written. */
async function gatherAround(
  image: Qcow2Image,
  offset: number,
  bytes: number,
  segment: Segment,
  vector: Uint8Array[],
): Promise<boolean> {
  // Behind the disk there is nothing, or the state of a machine.
  const behind = offset >= Math.ceil(image.header.size / image.tables.l2Reach) * image.tables.l2Reach;
  const there = behind ? bytes : Math.max(0, Math.min(bytes, image.header.size - offset));
  if (image.encryption === undefined && isZero(image, offset, there)) {
    if (segment.untouched) return false;
    for (let left = bytes; left > 0; left -= ZEROES.length)
      vector.push(ZEROES.subarray(0, Math.min(left, ZEROES.length)));
    return true;
  }
  await image.event('cow_read');
  const around = new Uint8Array(bytes);
  if (there > 0) await readRange(image, offset, [around.subarray(0, there)], there);
  vector.push(around);
  return true;
}

/** Whether the mapping alone says that a range reads as zeroes. */
export function isZero(image: Qcow2Image, offset: number, bytes: number): boolean {
  for (let done = 0; done < bytes;) {
    const run = image.tables.find(offset + done, bytes - done);
    if (run === undefined) return false;
    const zero = run.kind === ZERO || (run.kind === UNALLOCATED && offset + done >= image.backingBytes);
    if (!zero) return false;
    done += run.bytes;
  }
  return true;
}

/** The entry of a cluster whose storage got the bytes [from, to) of it. */
function setEntry(image: Qcow2Image, table: L2Table, index: number, segment: Segment, from: number, to: number): void {
  const { tables } = image;
  const host = segment.host + (index - segment.firstIndex) * tables.clusterSize;
  let [zero, allocated] = [0, 0];
  if (tables.extended) {
    const written = bitRange(Math.floor(from / tables.unit), Math.ceil(to / tables.unit));
    const compressed = tables.kindAt(table, index * tables.clusterSize) === COMPRESSED;
    zero = compressed ? 0 : tables.zeroBits(table, index) & ~written;
    allocated = (compressed ? 0 : tables.allocatedBits(table, index)) | written;
  }
  if (segment.fresh) image.releaseEntry(table, index, false);
  tables.setCluster(table, index, host, false);
  if (tables.extended) tables.setBitmap(table, index, zero, allocated);
}
