/** The snapshot table of an image: records of variable length, one behind the other, each at a multiple of 8. */
import { ImageError } from '../../block-error.ts';
import type { BlockNode } from '../../node.ts';
import type { Header } from './layout.ts';
import {
  L1_BYTES_MAX, readU64, SNAPSHOT_EXTRA_BYTES_MAX, SNAPSHOT_TABLE_BYTES_MAX, validateTable, viewOf, writeU64,
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
}

const NO_ICOUNT = 0xffff_ffff_ffff_ffffn;

export async function readSnapshotTable(file: BlockNode, header: Header): Promise<SnapshotRecord[]> {
  const records: SnapshotRecord[] = [];
  let at = header.snapshotsOffset;
  const window = 65536;
  let buffer: Uint8Array = new Uint8Array(0);
  let base = at;
  // GUEST: the number of snapshots is bounded by SNAPSHOTS_MAX, their records together by SNAPSHOT_TABLE_BYTES_MAX.
  const need = async (bytes: number): Promise<DataView> => {
    if (at + bytes > base + buffer.length) {
      base = at;
      buffer = await readTable(file, base, Math.max(window, bytes));
    }
    return viewOf(buffer.subarray(at - base, at - base + bytes));
  };
  for (let index = 0; index < header.snapshotCount; index++) {
    if (at - header.snapshotsOffset > SNAPSHOT_TABLE_BYTES_MAX)
      throw new ImageError(`Snapshot table is too big (more than ${SNAPSHOT_TABLE_BYTES_MAX} bytes)`, 'EFBIG');
    const fixed = await need(RECORD_BYTES);
    const [idBytes, nameBytes, extraBytes] = [fixed.getUint16(12), fixed.getUint16(14), fixed.getUint32(36)];
    if (extraBytes > SNAPSHOT_EXTRA_BYTES_MAX)
      throw new ImageError(`Snapshot table entry ${index}: ${extraBytes} bytes of extra data are too many`);
    const view = await need(RECORD_BYTES + extraBytes + idBytes + nameBytes);
    records.push(parseRecord(view, header, idBytes, nameBytes, extraBytes));
    at += Math.ceil((RECORD_BYTES + extraBytes + idBytes + nameBytes) / 8) * 8;
  }
  return records;
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
  const text = (from: number, length: number): string => new TextDecoder().decode(bytes.subarray(from, from + length));
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
  const bytes = new Uint8Array(Math.ceil((RECORD_BYTES + extra + id.length + name.length) / 8) * 8);
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
