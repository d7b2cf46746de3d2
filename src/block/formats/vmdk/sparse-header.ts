/**
 * Header of a sparse extent: "KDMV" of the Virtual Disk Format 5.0 ("Hosted Sparse Extents"), or the older "COWD" of ESX. Little-endian.
 */
import { asciiBytes, asciiText, viewOf } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import { setU64, u64 } from '../mapped/node-bytes.ts';

export const SECTOR_BYTES = 512;
export const FLAG_NEWLINES = 1; // the check characters are there
export const FLAG_REDUNDANT = 2; // a second grain directory
export const FLAG_ZERO_GRAIN = 4; // entry 1 means zeroes
export const FLAG_COMPRESSED: number = 1 << 16;
export const FLAG_MARKERS: number = 1 << 17;
/** The grain directory is named by a footer at the end of the file. */
const GD_AT_END = 2 ** 64;
const MARKER_FOOTER = 3;
/** Largest grain accepted, 64 MiB: one is unpacked or filled as a whole. */
const MAX_GRAIN_SECTORS = 1 << 17;
/** Entries of a grain table that a KDMV extent may have; everybody writes 512. */
const MAX_TABLE_ENTRIES = 512;
const COWD_TABLE_ENTRIES = 4096;
const CHECK_CHARACTERS = [0x0a, 0x20, 0x0d, 0x0a];

export interface SparseHeader {
  readonly version: number;
  readonly flags: number;
  readonly capacityBytes: number;
  readonly grainBytes: number;
  readonly tableEntries: number;
  /** In bytes; 0: none. */
  readonly descriptorOffset: number;
  readonly descriptorBytes: number;
  readonly directoryOffset: number;
  readonly redundantOffset: number;
  readonly dataOffset: number;
  readonly compressed: boolean;
}

export function isSparse(head: Uint8Array): boolean {
  const magic = asciiText(head.subarray(0, 4));
  return magic === 'KDMV' || magic === 'COWD';
}

/** `bytes` is the first sector, `readTail` gives the file's last 1536 bytes, where a stream has its footer. */
export async function parseSparseHeader(bytes: Uint8Array, readTail: () => Promise<Uint8Array>): Promise<SparseHeader> {
  if (asciiText(bytes.subarray(0, 4)) === 'COWD') return checked(cowd(bytes));
  if (asciiText(bytes.subarray(0, 4)) !== 'KDMV') throw new ImageError('VMDK sparse extent has no KDMV header');
  const header = kdmv(bytes);
  if (header.directoryOffset / SECTOR_BYTES !== GD_AT_END) return checked(header);
  const tail = await readTail();
  const marker = viewOf(tail).getUint32(12, true);
  if (marker !== MARKER_FOOTER || asciiText(tail.subarray(512, 516)) !== 'KDMV')
    throw new ImageError('VMDK stream has no footer, where its grain directory is named');
  return checked(kdmv(tail.subarray(512, 1024)));
}

function kdmv(bytes: Uint8Array): SparseHeader {
  const view = viewOf(bytes);
  const version = view.getUint32(4, true);
  if (version < 1 || version > 3) throw new ImageError(`Unsupported VMDK version ${version}`, 'ENOTSUP');
  const flags = view.getUint32(8, true);
  const sectors = (at: number): number => u64(view, at, true) * SECTOR_BYTES;
  if ((flags & FLAG_NEWLINES) !== 0 && !CHECK_CHARACTERS.every((byte, i) => bytes[73 + i] === byte))
    throw new ImageError('VMDK header was damaged by a transfer as text: its line ends are not as they were');
  const compression = view.getUint16(77, true);
  const compressed = (flags & FLAG_COMPRESSED) !== 0;
  if (compressed && compression !== 1) throw new ImageError(`Unsupported VMDK compression ${compression}`, 'ENOTSUP');
  return {
    version,
    flags,
    capacityBytes: sectors(12),
    grainBytes: sectors(20),
    tableEntries: view.getUint32(44, true),
    descriptorOffset: sectors(28),
    descriptorBytes: sectors(36),
    redundantOffset: (flags & FLAG_REDUNDANT) === 0 ? 0 : sectors(48),
    directoryOffset: sectors(56),
    dataOffset: sectors(64),
    compressed,
  };
}

function cowd(bytes: Uint8Array): SparseHeader {
  const view = viewOf(bytes);
  const sectors = (at: number): number => view.getUint32(at, true) * SECTOR_BYTES;
  return {
    version: view.getUint32(4, true),
    flags: 0,
    capacityBytes: sectors(12),
    grainBytes: sectors(16),
    tableEntries: COWD_TABLE_ENTRIES,
    descriptorOffset: 0,
    descriptorBytes: 0,
    redundantOffset: 0,
    directoryOffset: sectors(20),
    dataOffset: 0,
    compressed: false,
  };
}

function checked(header: SparseHeader): SparseHeader {
  const grainSectors = header.grainBytes / SECTOR_BYTES;
  if (!(grainSectors >= 1 && grainSectors <= MAX_GRAIN_SECTORS) || (grainSectors & (grainSectors - 1)) !== 0)
    throw new ImageError('Invalid granularity, image may be corrupt', 'EFBIG');
  const { tableEntries } = header;
  if (tableEntries === 0 || (tableEntries > MAX_TABLE_ENTRIES && tableEntries !== COWD_TABLE_ENTRIES))
    throw new ImageError(`L2 table size ${tableEntries} is not from 1 to ${MAX_TABLE_ENTRIES}`);
  for (const name of [
    'capacityBytes',
    'directoryOffset',
    'redundantOffset',
    'descriptorOffset',
    'descriptorBytes',
  ] as const)
    if (!Number.isSafeInteger(header[name]))
      throw new ImageError(`VMDK ${name} of ${header[name]} is too large`, 'EFBIG');
  return header;
}

export function directoryEntries(header: SparseHeader): number {
  return Math.ceil(header.capacityBytes / (header.grainBytes * header.tableEntries));
}

/** A new extent up to its first grain: header, room for the descriptor, both grain directories, each before its tables (empty). */
export function buildSparseStart(
  capacityBytes: number,
  flags: number,
): {
  readonly header: Uint8Array;
  readonly directories: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  readonly dataOffset: number;
} {
  const [grainSectors, tableEntries, descriptorSectors] = [128, 512, 20];
  const grains = Math.ceil(capacityBytes / (grainSectors * SECTOR_BYTES));
  const tables = Math.ceil(grains / tableEntries);
  const tableSectors = (tableEntries * 4) / SECTOR_BYTES;
  const directorySectors = Math.ceil((tables * 4) / SECTOR_BYTES);
  const first = 1 + descriptorSectors;
  const second = first + directorySectors + tables * tableSectors;
  const end = second + directorySectors + tables * tableSectors;
  const dataSector = Math.ceil(end / grainSectors) * grainSectors;

  const header = new Uint8Array(SECTOR_BYTES);
  const view = viewOf(header);
  const compressed = (flags & FLAG_COMPRESSED) !== 0;
  header.set(asciiBytes('KDMV'));
  view.setUint32(4, compressed ? 3 : (flags & FLAG_ZERO_GRAIN) !== 0 ? 2 : 1, true);
  view.setUint32(8, flags | FLAG_NEWLINES | FLAG_REDUNDANT, true);
  setU64(view, 12, capacityBytes / SECTOR_BYTES, true);
  setU64(view, 20, grainSectors, true);
  setU64(view, 28, 1, true);
  setU64(view, 36, descriptorSectors, true);
  view.setUint32(44, tableEntries, true);
  setU64(view, 48, first, true);
  setU64(view, 56, second, true);
  setU64(view, 64, dataSector, true);
  header.set(CHECK_CHARACTERS, 73);
  view.setUint16(77, compressed ? 1 : 0, true);

  // The tables are empty: only the directories need to be written.
  const directories = [first, second].map((start) => {
    const bytes = new Uint8Array(directorySectors * SECTOR_BYTES);
    const entries = viewOf(bytes);
    for (let i = 0; i < tables; i++) entries.setUint32(i * 4, start + directorySectors + i * tableSectors, true);
    return { at: start * SECTOR_BYTES, bytes };
  });
  return { header, directories, dataOffset: dataSector * SECTOR_BYTES };
}
