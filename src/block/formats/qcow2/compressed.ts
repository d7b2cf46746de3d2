/** Writing compressed clusters: one behind the other, sharing host clusters, whose refcount is the number of streams in them. */
import { BlockError } from '../../block-error.ts';
import type { IoVector } from '../../io-vector.ts';
import { gather, sliceVector } from '../../io-vector.ts';
import type { Qcow2Image } from './image.ts';
import { settleAll, start } from './read.ts';
import { writeClaimed } from './write.ts';

/** Clusters that are compressed at a time: as many as the platform has threads for. */
const PARALLEL = 4;

/** Writes whole clusters (the disk's last one may be less); anything else cannot be compressed. */
export async function writeCompressed(image: Qcow2Image, offset: number, from: IoVector, bytes: number): Promise<void> {
  const size = image.clusterSize;
  if (image.encryption !== undefined) throw new BlockError('ENOTSUP', 'encrypted clusters cannot be compressed');
  if (image.hasDataFile) throw new BlockError('ENOTSUP', 'compressed clusters cannot be in a data file');
  if (offset % size !== 0 || (bytes % size !== 0 && offset + bytes !== image.header.size))
    throw new BlockError('EINVAL', `compressed write [${offset}, +${bytes}) is not whole clusters`);
  if (image.tables.overfull) await image.flush();
  let pending: Promise<void>[] = [];
  try {
    for (let done = 0; done < bytes; done += size) {
      const part = Math.min(size, bytes - done);
      start(pending, writeCluster(image, offset + done, sliceVector(from, done, part), part));
      if (pending.length < PARALLEL) continue;
      const batch = pending;
      pending = [];
      await settleAll(batch);
    }
  } finally {
    await settleAll(pending);
  }
}

async function writeCluster(image: Qcow2Image, offset: number, from: IoVector, bytes: number): Promise<void> {
  const { tables } = image;
  const size = image.clusterSize;
  const whole = bytes === size ? gather(from) : new Uint8Array(size);
  if (bytes < size) whole.set(gather(from));
  const stream = await image.codec.compress(whole);
  const claim = await image.ranges.claim(offset, offset + size, true);
  try {
    image.checkUsable();
    if (stream.length >= size) {
      await writeClaimed(image, offset, [whole.subarray(0, bytes)], bytes);
      return;
    }
    const l1Index = Math.floor(offset / tables.l2Reach);
    // Its cluster comes before those of the data that it maps.
    await image.tableForWriting(l1Index);
    const host = await place(image, stream.length);
    await image.event('write_compressed');
    await image.file.write(host, [stream]);
    let table = image.tableForWriting(l1Index);
    while (table instanceof Promise) {
      await table;
      table = image.tableForWriting(l1Index);
    }
    const index = (offset - l1Index * tables.l2Reach) / size;
    image.releaseEntry(table, index, false);
    tables.setCompressed(table, index, host, stream.length);
  } finally {
    image.ranges.release(claim);
  }
}

/** Room for a stream: behind the last one where that is possible. One at a time. */
function place(image: Qcow2Image, bytes: number): Promise<number> {
  const placed = image.compressedPlacing.then(() => placeNow(image, bytes));
  image.compressedPlacing = placed.then(
    () => {},
    () => {},
  );
  return placed;
}

async function placeNow(image: Qcow2Image, bytes: number): Promise<number> {
  const size = image.clusterSize;
  const { refcounts } = image;
  const cluster = Math.floor(image.compressedNext / size);
  await refcounts.get(cluster);
  let host = image.compressedNext;
  if (isShareable(image, cluster) && (host % size) + bytes <= size) {
    await refcounts.change(cluster, 1, 1);
  } else {
    const fresh = await image.allocate(1, true);
    host = fresh.host;
    // The same stream may begin in the last cluster's rest and end here.
    if (fresh.host === (cluster + 1) * size && isShareable(image, cluster)) {
      host = image.compressedNext;
      await refcounts.change(cluster, 1, 1);
    }
  }
  if (host > image.tables.compressedLimit) throw new BlockError('EFBIG', 'image is too large for compressed clusters');
  image.compressedNext = host + bytes;
  return host;
}

/** Whether the last cluster with streams has room for another one and its count. The image forgets it when nobody refers to it. */
function isShareable(image: Qcow2Image, cluster: number): boolean {
  if (
    image.compressedNext % image.clusterSize === 0 ||
    Math.floor(image.compressedNext / image.clusterSize) !== cluster
  )
    return false;
  const users = image.refcounts.peek(cluster) ?? 0;
  return users > 0 && users < image.refcounts.limit;
}
