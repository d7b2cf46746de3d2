/** The snapshot table of an image: records of variable length, one behind the other, each at a multiple of 8. */
import { ImageError } from '../../block-error.ts';
import type { BlockNode } from '../../node.ts';
import type { Header } from './layout.ts';
import {
  L1_BYTES_MAX, readU64, SNAPSHOT_EXTRA_BYTES_MAX, SNAPSHOT_TABLE_BYTES_MAX, SNAPSHOTS_MAX, validateTable, viewOf, writeU64,
} from './layout.ts'; // prettier-ignore
import { readTable } from './metadata-file.ts';

const RECORD_BYTES = 40;
const EXTRA_BYTES = 24;

export interface SnapshotRecord {
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly id: string;
  readonly name: string;
  readonly dateSeconds: number;
  readonly dateNs: number;
  readonly vmClockNs: bigint;
  readonly vmStateBytes: number;
  readonly diskBytes: number;
  readonly icount: bigint | undefined;
  /** Of the extra data, what we do not know. */
  readonly unknownExtra: Uint8Array;
  /** The extra data lacks what version 3 wants to be there. */
  readonly incomplete: boolean;
}

export interface SnapshotTable {
  readonly records: readonly SnapshotRecord[];
  /** Of the file, as far as it was read. */
  readonly bytes: number;
}

/** What is left out of a table when it is repaired. */
export interface TableRepair {
  /** Snapshots at its end: a smaller count in the header does it. */
  snapshots: number;
  /** Extra data of records, which have to be written again. */
  extras: number;
  readonly say: (sentence: string) => void;
}

const FORCE_REMOVE = 'with orrery img check -r all';

const NO_ICOUNT = 0xffff_ffff_ffff_ffffn;

/** With `repair`, what is too much is left out and told; without, it is an error. */
export async function readSnapshotTable(file: BlockNode, header: Header, repair?: TableRepair): Promise<SnapshotTable> {
  const { snapshotsOffset: start } = header;
  const count = boundedCount(header, repair);
  if (count > 0) validateTable('Snapshot table', start, 0, 0, 2 ** header.clusterBits);
  const records: SnapshotRecord[] = [];
  const window = 65536;
  let [at, base, written] = [start, start, 0];
  let buffer: Uint8Array = new Uint8Array(0);
  // GUEST: the number of snapshots is bounded by SNAPSHOTS_MAX, their records together by SNAPSHOT_TABLE_BYTES_MAX.
  const need = async (from: number, bytes: number): Promise<Uint8Array> => {
    if (from < base || from + bytes > base + buffer.length) {
      base = from;
      buffer = await readTable(file, base, Math.max(window, bytes));
    }
    return buffer.subarray(from - base, from - base + bytes);
  };
  for (let index = 0; index < count; index++) {
    const fixed = viewOf(await need(at, RECORD_BYTES));
    const [idBytes, nameBytes, extraBytes] = [fixed.getUint16(12), fixed.getUint16(14), fixed.getUint32(36)];
    const extra = boundedExtra(extraBytes, index, repair);
    const rest = idBytes + nameBytes;
    const end = at + roundUp(RECORD_BYTES + extraBytes + rest);
    // A table that is repaired is written again: then what it will be counts.
    written += roundUp(RECORD_BYTES + Math.max(extra, EXTRA_BYTES) + rest);
    if ((repair === undefined ? end - start : written) > SNAPSHOT_TABLE_BYTES_MAX) {
      if (repair === undefined)
        throw new ImageError(`Snapshot table is too big\n${removalHint(count - index)}`, 'EFBIG');
      repair.say(`Discarding ${count - index} overhanging snapshots (snapshot table is too big)`);
      repair.snapshots += count - index;
      break;
    }
    const record = new Uint8Array(RECORD_BYTES + extra + rest);
    record.set(await need(at, RECORD_BYTES + extra));
    record.set(await need(at + RECORD_BYTES + extraBytes, rest), RECORD_BYTES + extra);
    records.push(parseRecord(viewOf(record), header, idBytes, nameBytes, extra));
    at = end;
  }
  return { records, bytes: at - start };
}

/** Records begin at multiples of 8. */
function roundUp(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

/** How snapshots that are too many can be got rid of. */
export function removalHint(count: number): string {
  return `You can force-remove all ${count} overhanging snapshots ${FORCE_REMOVE}`;
}

function boundedCount({ snapshotCount: count }: Header, repair: TableRepair | undefined): number {
  if (count <= SNAPSHOTS_MAX) return count;
  if (repair === undefined) throw new ImageError('Snapshot table too large', 'EFBIG');
  repair.say(`Discarding ${count - SNAPSHOTS_MAX} overhanging snapshots`);
  repair.snapshots += count - SNAPSHOTS_MAX;
  return SNAPSHOTS_MAX;
}

function boundedExtra(bytes: number, index: number, repair: TableRepair | undefined): number {
  if (bytes <= SNAPSHOT_EXTRA_BYTES_MAX) return bytes;
  if (repair === undefined)
    throw new ImageError(
      `Too much extra metadata in snapshot table entry ${index}\nYou can force-remove this extra metadata ${FORCE_REMOVE}`,
      'EFBIG',
    );
  repair.say(
    `Discarding too much extra metadata in snapshot table entry ${index} (${bytes} > ${SNAPSHOT_EXTRA_BYTES_MAX})`,
  );
  repair.extras++;
  return SNAPSHOT_EXTRA_BYTES_MAX;
}

function parseRecord(
  view: DataView,
  header: Header,
  idBytes: number,
  nameBytes: number,
  extra: number,
): SnapshotRecord {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const idAt = RECORD_BYTES + extra;
  // As in C, a zero byte ends a string.
  const text = (from: number, length: number): string =>
    new TextDecoder().decode(bytes.subarray(from, from + length)).replace(/\0.*/s, '');
  const icount = extra >= 24 ? view.getBigUint64(RECORD_BYTES + 16) : NO_ICOUNT;
  const id = text(idAt, idBytes);
  const l1Offset = readU64(view, 0);
  const l1Entries = view.getUint32(8);
  validateTable(`Snapshot '${id}' L1 table`, l1Offset, l1Entries * 8, L1_BYTES_MAX, 2 ** header.clusterBits);
  const diskBytes = extra >= 16 ? readU64(view, RECORD_BYTES + 8) : header.size;
  if (!Number.isSafeInteger(diskBytes)) throw new ImageError(`Snapshot '${id}' has a disk of ${diskBytes} bytes`);
  return {
    l1Offset,
    l1Entries,
    id,
    name: text(idAt + idBytes, nameBytes),
    dateSeconds: view.getUint32(16),
    dateNs: view.getUint32(20),
    vmClockNs: view.getBigUint64(24),
    vmStateBytes: extra >= 8 ? readU64(view, RECORD_BYTES) : view.getUint32(32),
    diskBytes,
    icount: icount === NO_ICOUNT ? undefined : icount,
    unknownExtra: bytes.slice(RECORD_BYTES + Math.min(extra, EXTRA_BYTES), idAt),
    incomplete: extra < 16,
  };
}

export function serializeSnapshots(records: readonly SnapshotRecord[]): Uint8Array {
  const pieces = records.map(serializeRecord);
  const table = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    table.set(piece, at);
    at += piece.length;
  }
  return table;
}

function serializeRecord(record: SnapshotRecord): Uint8Array {
  const [id, name] = [new TextEncoder().encode(record.id), new TextEncoder().encode(record.name)];
  const extra = EXTRA_BYTES + record.unknownExtra.length;
  const bytes = new Uint8Array(roundUp(RECORD_BYTES + extra + id.length + name.length));
  const view = viewOf(bytes);
  writeU64(view, 0, record.l1Offset);
  view.setUint32(8, record.l1Entries);
  view.setUint16(12, id.length);
  view.setUint16(14, name.length);
  view.setUint32(16, record.dateSeconds);
  view.setUint32(20, record.dateNs);
  view.setBigUint64(24, record.vmClockNs);
  view.setUint32(32, record.vmStateBytes > 0xffffffff ? 0 : record.vmStateBytes);
  view.setUint32(36, extra);
  writeU64(view, RECORD_BYTES, record.vmStateBytes);
  writeU64(view, RECORD_BYTES + 8, record.diskBytes);
  view.setBigUint64(RECORD_BYTES + 16, record.icount ?? NO_ICOUNT);
  bytes.set(record.unknownExtra, RECORD_BYTES + EXTRA_BYTES);
  bytes.set(id, RECORD_BYTES + extra);
  bytes.set(name, RECORD_BYTES + extra + id.length);
  return bytes;
}
