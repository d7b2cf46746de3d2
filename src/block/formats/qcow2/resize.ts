/** Changing the disk's size: a larger L1 table, preallocated storage, or, shrinking, clusters given back. */
import { BlockError, ImageError } from '../../block-error.ts';
import type { TruncateOptions } from '../../node.ts';
import type { Qcow2Image } from './image.ts';
import { AUTOCLEAR_DATA_FILE_RAW, L1_BYTES_MAX, l1EntriesFor } from './layout.ts';
import { UNALLOCATED, ZERO } from './tables.ts';
import { dropClaimed, zeroClaimed } from './zero.ts';

/** Grows or shrinks while nothing else goes on (the caller holds the gate). */
export async function resize(image: Qcow2Image, size: number, options: TruncateOptions): Promise<void> {
  const { header } = image;
  const old = header.size;
  const preallocation = options.preallocation ?? 'off';
  if (!Number.isSafeInteger(size) || size < 0) throw new ImageError(`The new size ${size} is not a size`);
  if (size % 512 !== 0) throw new ImageError('The new size must be a multiple of 512');
  // Their records may have no place for the size that the disk had.
  if (header.version < 3 && header.snapshotCount > 0 && size !== old)
    throw new ImageError("Can't resize a v2 image which has snapshots", 'ENOTSUP');
  const entries = l1EntriesFor(header, size);
  if (entries * 8 > L1_BYTES_MAX) throw new BlockError('EFBIG', `The new size ${size} needs too large an L1 table`);
  if (size < old) {
    if (preallocation !== 'off') throw new ImageError("Preallocation can't be used for shrinking an image");
    await shrink(image, size);
    return;
  }
  if (entries > header.l1Entries) await growL1(image, entries);
  if (image.hasDataFile && (header.autoclear & AUTOCLEAR_DATA_FILE_RAW || preallocation !== 'off'))
    if (image.dataFile.size < size) await image.dataFile.truncate(size, dataPreallocation(options));
  header.size = size;
  // What a smaller disk left behind its end in the last cluster.
  const rest = Math.min(size, Math.ceil(old / image.clusterSize) * image.clusterSize);
  if (old < rest) await zeroClaimed(image, old, rest, {});
  // Storage of whole clusters hides what a longer backing image has there, that of subclusters does not.
  const hides = preallocation !== 'off' && !image.tables.extended;
  if (options.zero && !hides && image.backing !== undefined && image.backing.size > old)
    await zeroClaimed(image, old, Math.min(size, image.backing.size), {});
  if (preallocation !== 'off') await preallocate(image, old, size, preallocation);
  await image.settle();
  await image.writeHeader();
}

function dataPreallocation(options: TruncateOptions): TruncateOptions {
  const { preallocation } = options;
  return preallocation === undefined || preallocation === 'metadata' ? {} : { preallocation };
}

/** A table with more entries, written before the header names it. */
export async function growL1(image: Qcow2Image, entries: number): Promise<void> {
  const { header, tables } = image;
  await image.flush();
  const bytes = new Uint8Array(entries * 8);
  bytes.set(tables.l1);
  const clusters = Math.ceil(bytes.length / image.clusterSize);
  await image.event('l1_grow_alloc_table');
  const { host } = await image.allocate(clusters, true);
  await image.refcounts.writeBack();
  await image.event('l1_grow_write_table');
  await image.file.write(host, [bytes]);
  await image.event('l1_grow_activate_table');
  const old = { offset: header.l1Offset, bytes: header.l1Entries * 8 };
  header.l1Offset = host;
  header.l1Entries = entries;
  tables.setL1(bytes);
  await image.writeHeader();
  if (old.bytes > 0) image.refcounts.free(old.offset, Math.ceil(old.bytes / image.clusterSize), false);
}

/** Storage for every cluster of [from, to), in what the file never had, so that it reads as zeroes. */
async function preallocate(
  image: Qcow2Image,
  from: number,
  to: number,
  mode: 'metadata' | 'falloc' | 'full',
): Promise<void> {
  const { tables } = image;
  const size = image.clusterSize;
  const hint = image.hasDataFile ? 0 : image.refcounts.moveHint(Math.ceil(image.file.size / size));
  try {
    for (let at = Math.floor(from / size) * size; at < to;) {
      const l1Index = Math.floor(at / tables.l2Reach);
      if (tables.overfull) await image.flush();
      const table = image.tableForWriting(l1Index);
      if (table instanceof Promise) {
        await table;
        continue;
      }
      const end = Math.min(to, (l1Index + 1) * tables.l2Reach);
      table.pins++;
      try {
        while (at < end) {
          const first = (at - l1Index * tables.l2Reach) / size;
          const kind = tables.kindAt(table, first * size);
          if (tables.clusterAt(table, first) >= 0 || (kind !== UNALLOCATED && kind !== ZERO)) {
            at += size;
            continue;
          }
          const count = Math.ceil((end - at) / size);
          const taken = image.hasDataFile ? { host: at, count } : await image.allocate(count, false);
          for (let index = 0; index < taken.count; index++) {
            const zero = tables.extended ? tables.zeroBits(table, first + index) : 0;
            tables.setCluster(table, first + index, taken.host + index * size, false);
            if (!tables.extended) continue;
            const reads = image.header.backingFile === undefined ? [0, 0xffffffff] : [zero, 0];
            tables.setBitmap(table, first + index, reads[0] ?? 0, reads[1] ?? 0);
          }
          at += taken.count * size;
          if (image.hasDataFile) continue;
          const fileEnd = taken.host + taken.count * size;
          if (fileEnd > image.file.size)
            await image.file.truncate(fileEnd, mode === 'metadata' ? {} : { preallocation: mode });
        }
      } finally {
        table.pins--;
      }
    }
  } finally {
    if (!image.hasDataFile) image.refcounts.moveHint(hint);
  }
}

async function shrink(image: Qcow2Image, size: number): Promise<void> {
  const { header, tables } = image;
  const clusterSize = image.clusterSize;
  const old = header.size;
  const from = Math.ceil(size / clusterSize) * clusterSize;
  if (from < old) await dropClaimed(image, from, old, true);
  // L2 tables that map nothing any more.
  const keep = Math.ceil(size / tables.l2Reach);
  await image.flush();
  for (let index = keep; index < header.l1Entries; index++) {
    const offset = tables.l2Offset(index);
    if (offset === 0) continue;
    tables.setL1Entry(index, 0, false);
    tables.cache.delete(index);
    image.refcounts.free(offset, 1, true);
  }
  header.size = size;
  await image.settle();
  await image.writeHeader();
  if (image.hasDataFile && header.autoclear & AUTOCLEAR_DATA_FILE_RAW) await image.dataFile.truncate(size);
  const end = await image.lastUsedEnd();
  if (end < image.file.size) await image.file.truncate(end);
}
