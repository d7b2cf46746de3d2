/** Reading: runs of the mapping become requests to storage, the backing node, or nothing but zeroes. */
import type { IoVector } from '../../io-vector.ts';
import { fillVector, scatter, sliceVector } from '../../io-vector.ts';
import type { Qcow2Image } from './image.ts';
import { readTable } from './metadata-file.ts';
import type { Run } from './tables.ts';
import { COMPRESSED, DATA, UNALLOCATED } from './tables.ts';

/** Requests that one read has under way at a time. */
const PARALLEL = 16;

/** Fills `into` with the disk's bytes from `offset` on; the caller has checked the range. */
export function readRange(image: Qcow2Image, offset: number, into: IoVector, bytes: number): Promise<void> {
  const run = image.tables.find(offset, bytes);
  if (run !== undefined && run.bytes === bytes && bytes > 0) return readRun(image, offset, run, into);
  return readRuns(image, offset, into, bytes);
}

/** The same where the mapping is known and the data in memory; false: use `readRange`. */
export function readRangeNow(image: Qcow2Image, offset: number, into: IoVector, bytes: number): boolean {
  if (image.encryption !== undefined) return false;
  for (let done = 0; done < bytes;) {
    const run = image.tables.find(offset + done, bytes - done);
    if (run === undefined) return false;
    const part = run.bytes === bytes ? into : sliceVector(into, done, run.bytes);
    if (run.kind === DATA) {
      if ((run.host - offset - done) % image.clusterSize !== 0 || !image.dataFile.readNow(run.host, part)) return false;
    } else if (run.kind === COMPRESSED || (run.kind === UNALLOCATED && image.backing !== undefined)) return false;
    else fillVector(part, 0);
    done += run.bytes;
  }
  return true;
}

async function readRuns(image: Qcow2Image, offset: number, into: IoVector, bytes: number): Promise<void> {
  let pending: Promise<void>[] = [];
  try {
    for (let done = 0; done < bytes;) {
      let run = image.tables.find(offset + done, bytes - done);
      while (run === undefined) {
        await image.tables.load(Math.floor((offset + done) / image.tables.l2Reach));
        run = image.tables.find(offset + done, bytes - done);
      }
      start(pending, readRun(image, offset + done, run, sliceVector(into, done, run.bytes)));
      done += run.bytes;
      if (pending.length < PARALLEL) continue;
      const batch = pending;
      pending = [];
      await settleAll(batch);
    }
  } finally {
    await settleAll(pending);
  }
}

function readRun(image: Qcow2Image, offset: number, run: Run, into: IoVector): Promise<void> {
  if (run.kind === DATA) {
    if ((run.host - offset) % image.clusterSize !== 0) return badOffset(image, run.host, offset);
    const stop = image.event('read_aio');
    if (stop !== undefined) return stop.then(() => image.readStorage(run.host, into, offset));
    return image.readStorage(run.host, into, offset);
  }
  if (run.kind === COMPRESSED) return readCompressed(image, offset, run, into);
  if (run.kind === UNALLOCATED && image.backing !== undefined) return readBacking(image, offset, into, run.bytes);
  fillVector(into, 0);
  return Promise.resolve();
}

async function badOffset(image: Qcow2Image, host: number, offset: number): Promise<never> {
  return image.corrupt(
    `Cluster allocation offset 0x${host.toString(16)} unaligned (guest offset: 0x${offset.toString(16)})`,
  );
}

/** The backing node's bytes, and zeroes beyond its end. */
function readBacking(image: Qcow2Image, offset: number, into: IoVector, bytes: number): Promise<void> {
  const stop = image.event('read_backing_aio');
  if (stop !== undefined) return stop.then(() => readBackingNow(image, offset, into, bytes));
  return readBackingNow(image, offset, into, bytes);
}

function readBackingNow(image: Qcow2Image, offset: number, into: IoVector, bytes: number): Promise<void> {
  const { backing } = image;
  const there = backing === undefined ? 0 : Math.max(0, Math.min(bytes, backing.size - offset));
  if (backing !== undefined && there === bytes) return backing.read(offset, into);
  fillVector(sliceVector(into, there, bytes - there), 0);
  return backing === undefined || there === 0 ? Promise.resolve() : backing.read(offset, sliceVector(into, 0, there));
}

async function readCompressed(image: Qcow2Image, offset: number, run: Run, into: IoVector): Promise<void> {
  await image.event('read_compressed');
  const cluster = await readCompressedCluster(image, run.host, run.compressedBytes);
  const skip = offset % image.clusterSize;
  scatter(cluster.subarray(skip, skip + run.bytes), into);
}

/** A whole cluster, inflated. */
export async function readCompressedCluster(image: Qcow2Image, host: number, bytes: number): Promise<Uint8Array> {
  // GUEST: the entry's length has at most clusterBits - 8 bits of sectors: twice a cluster.
  const stream = await readTable(image.file, host, bytes);
  return image.codec.decompress(stream, image.clusterSize);
}

/** Adds to what `settleAll` is to wait for, and to fail with: until then a failure is nobody's. */
export function start(pending: Promise<void>[], request: Promise<void>): void {
  request.catch(() => {});
  pending.push(request);
}

/** Waits until all have ended, and then fails if one has. */
export async function settleAll(promises: readonly Promise<void>[]): Promise<void> {
  if (promises.length === 0) return;
  if (promises.length === 1) return promises[0];
  for (const result of await Promise.allSettled(promises)) if (result.status === 'rejected') throw result.reason;
}
