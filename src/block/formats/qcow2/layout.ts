/**
 * What is where in a qcow2 image: the header, its extensions, the bits of table entries, and the limits that keep a hostile image
 * from having tables allocated that no honest one has. Numbers are big-endian. Follows "Qcow2 Image File Format", versions 2 and 3.
 */
import { ImageError } from '../../block-error.ts';

export const QCOW2_MAGIC = 0x514649fb; // "QFI\xfb"

export const INCOMPATIBLE_DIRTY: number = 1 << 0; // refcounts may be behind the tables
export const INCOMPATIBLE_CORRUPT: number = 1 << 1; // must not be written
export const INCOMPATIBLE_DATA_FILE: number = 1 << 2; // guest data is in another file
export const INCOMPATIBLE_COMPRESSION: number = 1 << 3; // compressed clusters are not deflate
export const INCOMPATIBLE_EXTENDED_L2: number = 1 << 4; // entries of 16 bytes with subclusters
export const COMPATIBLE_LAZY_REFCOUNTS: number = 1 << 0; // refcounts may wait for the end
export const AUTOCLEAR_BITMAPS: number = 1 << 0; // the bitmaps extension is consistent
export const AUTOCLEAR_DATA_FILE_RAW: number = 1 << 1; // the data file is a raw image of the disk

export const KNOWN_AUTOCLEAR: number = AUTOCLEAR_BITMAPS | AUTOCLEAR_DATA_FILE_RAW;

const KNOWN_INCOMPATIBLE = 0x1f;

export const CRYPT_NONE = 0;
export const CRYPT_AES = 1;
export const CRYPT_LUKS = 2;

export const COMPRESSION_ZLIB = 0;
export const COMPRESSION_ZSTD = 1;

// Upper halves of L1 and L2 entries.
export const ENTRY_COPIED = 0x80000000; // refcount is exactly 1: may be written in place
export const ENTRY_COMPRESSED = 0x40000000;
export const ENTRY_OFFSET_HIGH = 0x00ffffff;
// Lower halves.
export const ENTRY_OFFSET_LOW = 0xfffffe00;
export const ENTRY_ZERO = 1; // version 3, without subclusters

export const SUBCLUSTERS = 32;

const EXTENSION_END = 0;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const EXTENSION_FEATURE_NAMES = 0x6803f857;
const EXTENSION_BITMAPS = 0x23852875;
const EXTENSION_CRYPTO = 0x0537be77;
const EXTENSION_DATA_FILE = 0x44415441;

export const HEADER_BYTES_V2 = 72;
export const HEADER_BYTES_V3 = 112;

/** A cluster of 1 GiB would have one entry read as much. The specification's own bounds. */
export const CLUSTER_BITS_MIN = 9;
export const CLUSTER_BITS_MAX = 21;
/** An L1 table of 2^32 entries would be 32 GiB of memory at open. */
export const L1_BYTES_MAX: number = 32 << 20;
/** The same for the refcount table; 8 MiB is 2 PiB of image at the default cluster size. */
export const REFCOUNT_TABLE_BYTES_MAX: number = 8 << 20;
/** Each snapshot is an L1 table to walk, and a variable record to parse. */
export const SNAPSHOTS_MAX = 65536;
export const SNAPSHOT_TABLE_BYTES_MAX: number = 64 << 20;
export const SNAPSHOT_EXTRA_BYTES_MAX = 1024;
/** Names are read into memory and printed. */
export const BACKING_NAME_BYTES_MAX = 1023;

export interface BitmapsExtension {
  readonly count: number;
  readonly directoryOffset: number;
  readonly directoryBytes: number;
}

export interface UnknownExtension {
  readonly type: number;
  readonly data: Uint8Array;
}

/** The header as fields. `version` 2 has neither features nor another refcount width than 16 bits. */
export interface Header {
  version: number;
  clusterBits: number;
  size: number;
  cryptMethod: number;
  l1Entries: number;
  l1Offset: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  snapshotCount: number;
  snapshotsOffset: number;
  incompatible: number;
  compatible: number;
  autoclear: number;
  refcountOrder: number;
  headerBytes: number;
  compressionType: number;
  backingFile: string | undefined;
  backingFormat: string | undefined;
  dataFile: string | undefined;
  bitmaps: BitmapsExtension | undefined;
  /** Where the LUKS header is in the image. */
  crypto: { offset: number; bytes: number } | undefined;
  /** Kept as they are. */
  unknownExtensions: readonly UnknownExtension[];
  /** Header fields after those that we know, kept as they are. */
  unknownFields: Uint8Array;
}

export function readU64(view: DataView, at: number): number {
  return view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4);
}

export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value % 0x1_0000_0000);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function isQcow2(head: Uint8Array): boolean {
  return head.length >= 8 && viewOf(head).getUint32(0) === QCOW2_MAGIC && viewOf(head).getUint32(4) >= 2;
}

/** Bytes of the L2 entries that one cluster of table maps. */
export function l2EntryBytes(header: Header): number {
  return header.incompatible & INCOMPATIBLE_EXTENDED_L2 ? 16 : 8;
}

/** L1 entries that `size` bytes of disk need. */
export function l1EntriesFor(header: Header, size: number): number {
  const clusterSize = 2 ** header.clusterBits;
  return Math.ceil(size / (clusterSize * (clusterSize / l2EntryBytes(header))));
}

/** Fails unless a table lies at a cluster's begin and within what a file can be. */
export function validateTable(name: string, offset: number, bytes: number, limit: number, clusterSize: number): void {
  // GUEST: what the image says of its tables; `limit` bounds what is read and allocated.
  if (bytes > limit) throw new ImageError(`${name} too large (${bytes} bytes, at most ${limit})`, 'EFBIG');
  if (offset % clusterSize !== 0 || !Number.isSafeInteger(offset + bytes))
    throw new ImageError(`${name} offset invalid (0x${offset.toString(16)})`);
}

/** Parses the first cluster (or all that the file has of it). Throws ImageError naming field and value. */
export function parseHeader(cluster: Uint8Array): Header {
  const view = viewOf(cluster);
  if (cluster.length < HEADER_BYTES_V2 || view.getUint32(0) !== QCOW2_MAGIC)
    throw new ImageError('Image is not in qcow2 format');
  const version = view.getUint32(4);
  if (version < 2 || version > 3) throw new ImageError(`Unsupported qcow2 version ${version}`, 'ENOTSUP');
  const clusterBits = view.getUint32(20);
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX)
    throw new ImageError(`Unsupported cluster size: 2^${clusterBits}`);
  const clusterSize = 2 ** clusterBits;
  const header: Header = {
    version,
    clusterBits,
    size: readU64(view, 24),
    cryptMethod: view.getUint32(32),
    l1Entries: view.getUint32(36),
    l1Offset: readU64(view, 40),
    refcountTableOffset: readU64(view, 48),
    refcountTableClusters: view.getUint32(56),
    snapshotCount: view.getUint32(60),
    snapshotsOffset: readU64(view, 64),
    incompatible: 0,
    compatible: 0,
    autoclear: 0,
    refcountOrder: 4,
    headerBytes: HEADER_BYTES_V2,
    compressionType: COMPRESSION_ZLIB,
    backingFile: undefined,
    backingFormat: undefined,
    dataFile: undefined,
    bitmaps: undefined,
    crypto: undefined,
    unknownExtensions: [],
    unknownFields: new Uint8Array(0),
  };
  const featureNames = parseVersion3(header, view, cluster, clusterSize);
  const backingOffset = readU64(view, 8);
  const backingBytes = view.getUint32(16);
  // GUEST: extensions end where the backing file's name begins, or with the cluster.
  if (backingOffset > clusterSize)
    throw new ImageError(`Invalid backing file offset (0x${backingOffset.toString(16)})`);
  const end = Math.min(backingOffset === 0 ? clusterSize : backingOffset, cluster.length);
  parseExtensions(header, cluster, header.headerBytes, end, featureNames);
  checkFeatures(header, view, featureNames);
  if (backingOffset !== 0) {
    const most = Math.min(BACKING_NAME_BYTES_MAX, clusterSize - backingOffset);
    if (backingBytes > most || backingOffset + backingBytes > cluster.length)
      throw new ImageError(`Backing file name too long (${backingBytes} bytes, at most ${most})`);
    const name = text(cluster.subarray(backingOffset, backingOffset + backingBytes));
    header.backingFile = name === '' ? undefined : name;
  }
  checkTables(header, clusterSize);
  return header;
}

function parseVersion3(header: Header, view: DataView, cluster: Uint8Array, clusterSize: number): Map<string, string> {
  const names = new Map<string, string>();
  if (header.version < 3) return names;
  if (cluster.length < 104) throw new ImageError(`qcow2 header too short (${cluster.length} bytes)`);
  header.incompatible = view.getUint32(76);
  header.compatible = view.getUint32(84);
  header.autoclear = view.getUint32(92);
  header.refcountOrder = view.getUint32(96);
  header.headerBytes = view.getUint32(100);
  if (header.headerBytes < 104) throw new ImageError(`qcow2 header too short (${header.headerBytes} bytes)`);
  if (header.headerBytes > clusterSize)
    throw new ImageError(`qcow2 header exceeds cluster size (${header.headerBytes} bytes)`);
  if (header.headerBytes > cluster.length) throw new ImageError('qcow2 header is cut off');
  if (header.refcountOrder > 6)
    throw new ImageError(
      `Reference count entry width too large; may not exceed 64 bits (refcount_order ${header.refcountOrder})`,
    );
  if (header.headerBytes >= HEADER_BYTES_V3) {
    header.compressionType = view.getUint8(104);
    header.unknownFields = cluster.slice(HEADER_BYTES_V3, header.headerBytes);
  }
  return names;
}

function parseExtensions(
  header: Header,
  cluster: Uint8Array,
  from: number,
  end: number,
  names: Map<string, string>,
): void {
  const view = viewOf(cluster);
  const unknown: UnknownExtension[] = [];
  for (let at = from; at + 8 <= end;) {
    const [type, bytes] = [view.getUint32(at), view.getUint32(at + 4)];
    at += 8;
    if (type === EXTENSION_END) break;
    if (bytes > end - at) throw new ImageError(`Header extension too large (0x${type.toString(16)}, ${bytes} bytes)`);
    const data = cluster.slice(at, at + bytes);
    if (type === EXTENSION_BACKING_FORMAT) header.backingFormat = text(data);
    else if (type === EXTENSION_DATA_FILE) header.dataFile = text(data);
    else if (type === EXTENSION_FEATURE_NAMES) parseFeatureNames(data, names);
    else if (type === EXTENSION_CRYPTO) header.crypto = parseCrypto(data);
    else if (type === EXTENSION_BITMAPS) parseBitmapsExtension(header, data);
    else unknown.push({ type, data });
    at += Math.ceil(bytes / 8) * 8;
  }
  header.unknownExtensions = unknown;
}

function parseFeatureNames(data: Uint8Array, names: Map<string, string>): void {
  for (let at = 0; at + 2 < data.length; at += 48)
    names.set(`${data[at]}.${data[at + 1]}`, text(data.subarray(at + 2, at + 48)).replace(/\0.*/s, ''));
}

function parseCrypto(data: Uint8Array): { offset: number; bytes: number } {
  if (data.length !== 16) throw new ImageError(`CRYPTO header extension size ${data.length}, but expected size 16`);
  const view = viewOf(data);
  return { offset: readU64(view, 0), bytes: readU64(view, 8) };
}

function parseBitmapsExtension(header: Header, data: Uint8Array): void {
  // Without the autoclear bit somebody who knows no bitmaps has written the image: they are worthless.
  if (!(header.autoclear & AUTOCLEAR_BITMAPS)) return;
  if (data.length !== 24) throw new ImageError(`bitmaps_ext: Invalid extension length (${data.length} bytes)`);
  const view = viewOf(data);
  const count = view.getUint32(0);
  if (view.getUint32(4) !== 0) throw new ImageError('bitmaps_ext: Reserved field is not zero');
  if (count === 0) throw new ImageError('found bitmaps extension with zero bitmaps');
  header.bitmaps = { count, directoryBytes: readU64(view, 8), directoryOffset: readU64(view, 16) };
}

function checkFeatures(header: Header, view: DataView, names: Map<string, string>): void {
  if (header.version < 3) return;
  let unknown = view.getBigUint64(72) & ~BigInt(KNOWN_INCOMPATIBLE);
  if (unknown !== 0n) {
    const said: string[] = [];
    for (const [key, name] of names) {
      if (!key.startsWith('0.')) continue;
      const bit = 1n << BigInt(key.slice(2));
      if (!(unknown & bit)) continue;
      said.push(name);
      unknown &= ~bit;
    }
    if (unknown !== 0n) said.push(`Unknown incompatible feature: ${unknown.toString(16)}`);
    throw new ImageError(`Unsupported qcow2 feature(s): ${said.join(', ')}`, 'ENOTSUP');
  }
  const other = (header.incompatible & INCOMPATIBLE_COMPRESSION) !== 0;
  if (other !== (header.compressionType !== COMPRESSION_ZLIB))
    throw new ImageError(`qcow2: Compression type incompatible feature bit must${other ? ' not' : ''} be set`);
  if (header.compressionType > COMPRESSION_ZSTD)
    throw new ImageError(`qcow2: unknown compression type: ${header.compressionType}`, 'ENOTSUP');
  if (header.incompatible & INCOMPATIBLE_EXTENDED_L2 && header.clusterBits < 14)
    throw new ImageError(`Extended L2 entries are only supported with cluster sizes of at least 16384 bytes`);
}

function checkTables(header: Header, clusterSize: number): void {
  if (header.cryptMethod > CRYPT_LUKS) throw new ImageError(`Unsupported encryption method ${header.cryptMethod}`);
  if (!Number.isSafeInteger(header.size)) throw new ImageError('Image is too big', 'EFBIG');
  if (header.refcountTableClusters > REFCOUNT_TABLE_BYTES_MAX / clusterSize)
    throw new ImageError(
      `Image has a reference count table that is too large (${header.refcountTableClusters} clusters)`,
    );
  if (header.refcountTableClusters === 0) throw new ImageError('Image does not contain a reference count table');
  const refcountBytes = header.refcountTableClusters * clusterSize;
  validateTable(
    'Reference count table',
    header.refcountTableOffset,
    refcountBytes,
    REFCOUNT_TABLE_BYTES_MAX,
    clusterSize,
  );
  const needed = l1EntriesFor(header, header.size);
  if (needed > L1_BYTES_MAX / 8)
    throw new ImageError(`Image is too big (${header.size} bytes) for clusters of ${clusterSize} bytes`, 'EFBIG');
  validateTable('Active L1 table', header.l1Offset, header.l1Entries * 8, L1_BYTES_MAX, clusterSize);
  if (header.l1Entries < needed) throw new ImageError(`L1 table is too small (${header.l1Entries} entries)`);
}

const FEATURE_NAMES: readonly (readonly [type: number, bit: number, name: string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];

/** Up to this cluster size the header has no room to spare for feature names. */
const NAMELESS_CLUSTER_BYTES = 4096;

/** The first cluster, with room to spare zeroed. Throws when names and extensions do not fit in it. */
export function serializeHeader(header: Header): Uint8Array {
  const clusterSize = 2 ** header.clusterBits;
  const bytes = new Uint8Array(clusterSize);
  const view = viewOf(bytes);
  view.setUint32(0, QCOW2_MAGIC);
  view.setUint32(4, header.version);
  view.setUint32(20, header.clusterBits);
  writeU64(view, 24, header.size);
  view.setUint32(32, header.cryptMethod);
  view.setUint32(36, header.l1Entries);
  writeU64(view, 40, header.l1Offset);
  writeU64(view, 48, header.refcountTableOffset);
  view.setUint32(56, header.refcountTableClusters);
  view.setUint32(60, header.snapshotCount);
  writeU64(view, 64, header.snapshotsOffset);
  let at = HEADER_BYTES_V2;
  if (header.version >= 3) {
    view.setUint32(76, header.incompatible);
    view.setUint32(84, header.compatible);
    view.setUint32(92, header.autoclear);
    view.setUint32(96, header.refcountOrder);
    view.setUint32(100, HEADER_BYTES_V3 + header.unknownFields.length);
    view.setUint8(104, header.compressionType);
    bytes.set(header.unknownFields, HEADER_BYTES_V3);
    at = HEADER_BYTES_V3 + header.unknownFields.length;
  }
  const put = (type: number, data: Uint8Array, optional = false): void => {
    const padded = 8 + Math.ceil(data.length / 8) * 8;
    if (at + padded + 8 > clusterSize) {
      if (optional) return;
      throw new ImageError(`Image header does not fit in a cluster of ${clusterSize} bytes`, 'ENOSPC');
    }
    view.setUint32(at, type);
    view.setUint32(at + 4, data.length);
    bytes.set(data, at + 8);
    at += padded;
  };
  const name = header.backingFile === undefined ? undefined : new TextEncoder().encode(header.backingFile);
  if (header.backingFormat !== undefined) put(EXTENSION_BACKING_FORMAT, new TextEncoder().encode(header.backingFormat));
  if (header.dataFile !== undefined) put(EXTENSION_DATA_FILE, new TextEncoder().encode(header.dataFile));
  if (header.crypto !== undefined) put(EXTENSION_CRYPTO, pair(header.crypto.offset, header.crypto.bytes));
  if (header.version >= 3 && clusterSize > NAMELESS_CLUSTER_BYTES)
    put(EXTENSION_FEATURE_NAMES, featureTable(), (name?.length ?? 0) + at + 400 > clusterSize);
  if (header.bitmaps !== undefined) put(EXTENSION_BITMAPS, bitmapsData(header.bitmaps));
  for (const extension of header.unknownExtensions) put(extension.type, extension.data);
  at += 8; // the end, all zero
  if (name !== undefined) {
    const fits = name.length <= clusterSize - at;
    if (!fits || name.length > BACKING_NAME_BYTES_MAX)
      throw new ImageError(`Backing file name too long (${name.length} bytes)`, fits ? 'EINVAL' : 'ENOSPC');
    writeU64(view, 8, at);
    view.setUint32(16, name.length);
    bytes.set(name, at);
  }
  return bytes;
}

function featureTable(): Uint8Array {
  const table = new Uint8Array(FEATURE_NAMES.length * 48);
  for (const [index, [type, bit, name]] of FEATURE_NAMES.entries()) {
    table[index * 48] = type;
    table[index * 48 + 1] = bit;
    table.set(new TextEncoder().encode(name), index * 48 + 2);
  }
  return table;
}

function pair(first: number, second: number): Uint8Array {
  const data = new Uint8Array(16);
  writeU64(viewOf(data), 0, first);
  writeU64(viewOf(data), 8, second);
  return data;
}

function bitmapsData(bitmaps: BitmapsExtension): Uint8Array {
  const data = new Uint8Array(24);
  viewOf(data).setUint32(0, bitmaps.count);
  writeU64(viewOf(data), 8, bitmaps.directoryBytes);
  writeU64(viewOf(data), 16, bitmaps.directoryOffset);
  return data;
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
