/** The directory of persistent bitmaps in an image ("Bitmaps extension"): which there are and where their tables lie. */
import { ImageError } from '../../block-error.ts';
import type { BlockNode } from '../../node.ts';
import type { BitmapsExtension } from './layout.ts';
import { readU64, validateTable, viewOf, writeU64 } from './layout.ts';
import { readTable } from './metadata-file.ts';

/** Each costs memory and time at open. */
const BITMAPS_MAX = 65535;
const DIRECTORY_BYTES_MAX = 64 << 20;
/** A table of 2^32 entries would be 32 GiB. */
const TABLE_ENTRIES_MAX: number = 1 << 20;
const EXTRA_BYTES_MAX = 1024;
const NAME_BYTES_MAX = 1023;
export const GRANULARITY_BITS_MIN = 9;
export const GRANULARITY_BITS_MAX = 31;

export const FLAG_IN_USE: number = 1 << 0; // not stored since it was last opened: its bits are worth nothing
export const FLAG_AUTO: number = 1 << 1; // records writes
const FLAG_EXTRA_COMPATIBLE = 1 << 2;
const TYPE_DIRTY_TRACKING = 1;
const RECORD_BYTES = 24;

export interface BitmapRecord {
  readonly name: string;
  readonly granularityBits: number;
  readonly flags: number;
  readonly tableOffset: number;
  readonly tableEntries: number;
  readonly extra: Uint8Array;
}

export async function readDirectory(
  file: BlockNode,
  where: BitmapsExtension,
  clusterSize: number,
): Promise<BitmapRecord[]> {
  if (where.count > BITMAPS_MAX)
    throw new ImageError(`bitmaps_ext: Too many bitmaps (${where.count}, at most ${BITMAPS_MAX})`);
  validateTable(
    'bitmaps_ext: directory',
    where.directoryOffset,
    where.directoryBytes,
    DIRECTORY_BYTES_MAX,
    clusterSize,
  );
  const bytes = await readTable(file, where.directoryOffset, where.directoryBytes);
  const view = viewOf(bytes);
  const records: BitmapRecord[] = [];
  for (let at = 0; at < bytes.length;) {
    if (at + RECORD_BYTES > bytes.length) throw new ImageError('Broken bitmap directory: an entry is cut off');
    const [nameBytes, extraBytes] = [view.getUint16(at + 18), view.getUint32(at + 20)];
    const end = at + RECORD_BYTES + extraBytes + nameBytes;
    // GUEST: lengths within an entry; both bounded, and the entry lies in the directory.
    if (nameBytes === 0 || nameBytes > NAME_BYTES_MAX || extraBytes > EXTRA_BYTES_MAX || end > bytes.length)
      throw new ImageError(`Broken bitmap directory: name of ${nameBytes} and extra data of ${extraBytes} bytes`);
    const record: BitmapRecord = {
      name: new TextDecoder().decode(bytes.subarray(end - nameBytes, end)),
      granularityBits: view.getUint8(at + 17),
      flags: view.getUint32(at + 12),
      tableOffset: readU64(view, at),
      tableEntries: view.getUint32(at + 8),
      extra: bytes.slice(at + RECORD_BYTES, at + RECORD_BYTES + extraBytes),
    };
    checkRecord(record, view.getUint8(at + 16), clusterSize);
    records.push(record);
    at = Math.ceil(end / 8) * 8;
  }
  if (records.length !== where.count)
    throw new ImageError(`Broken bitmap directory: ${records.length} bitmaps instead of ${where.count}`);
  return records;
}

function checkRecord(record: BitmapRecord, type: number, clusterSize: number): void {
  const { name, granularityBits, tableEntries, tableOffset } = record;
  if (type !== TYPE_DIRTY_TRACKING) throw new ImageError(`Bitmap '${name}' has the unknown type ${type}`);
  if (granularityBits < GRANULARITY_BITS_MIN || granularityBits > GRANULARITY_BITS_MAX)
    throw new ImageError(`Bitmap '${name}' doesn't satisfy the constraints (granularity 2^${granularityBits})`);
  if (tableEntries > TABLE_ENTRIES_MAX)
    throw new ImageError(`Bitmap '${name}' doesn't satisfy the constraints (table of ${tableEntries} entries)`);
  if (record.extra.length > 0 && !(record.flags & FLAG_EXTRA_COMPATIBLE))
    throw new ImageError(`Bitmap '${name}' has extra data that is not understood`);
  if (tableEntries > 0)
    validateTable(`Bitmap '${name}' table`, tableOffset, tableEntries * 8, TABLE_ENTRIES_MAX * 8, clusterSize);
}

export function serializeDirectory(records: readonly BitmapRecord[]): Uint8Array {
  const names = records.map(({ name }) => new TextEncoder().encode(name));
  const lengths = records.map(
    ({ extra }, at) => Math.ceil((RECORD_BYTES + extra.length + (names[at]?.length ?? 0)) / 8) * 8,
  );
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  const view = viewOf(bytes);
  let at = 0;
  for (const [index, record] of records.entries()) {
    const name = names[index] ?? new Uint8Array(0);
    writeU64(view, at, record.tableOffset);
    view.setUint32(at + 8, record.tableEntries);
    view.setUint32(at + 12, record.flags);
    view.setUint8(at + 16, TYPE_DIRTY_TRACKING);
    view.setUint8(at + 17, record.granularityBits);
    view.setUint16(at + 18, name.length);
    view.setUint32(at + 20, record.extra.length);
    bytes.set(record.extra, at + RECORD_BYTES);
    bytes.set(name, at + RECORD_BYTES + record.extra.length);
    at += lengths[index] ?? 0;
  }
  return bytes;
}
