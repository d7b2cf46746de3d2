/**
 * Where a dmg's chunks are: the "koly" trailer (512 bytes at the end) points at a property list or a resource fork, which hold
 * block tables ("mish"): a header and 40 bytes a chunk. Big-endian.
 */
import { asciiText, viewOf } from '../../../base/bytes.ts';
import { ImageError } from '../../block-error.ts';
import type { BlockNode } from '../../node.ts';
import { readExactly, u64 } from '../mapped/node-bytes.ts';

const SECTOR_BYTES = 512;
const TRAILER_BYTES = 512;
const KOLY = 0x6b6f6c79;
const MISH = 0x6d697368;
const MISH_HEADER_BYTES = 204;
const CHUNK_BYTES = 40;
/** Property list and resource fork: read whole, and with them at most some 400000 chunks, which are all kept. */
const MAX_TABLE_BYTES = 16 << 20;
/** A chunk is unpacked as a whole. */
export const MAX_CHUNK_BYTES: number = 64 << 20;

export const CHUNK_ZERO = 0;
export const CHUNK_RAW = 1;
export const CHUNK_IGNORE = 2;
export const CHUNK_ADC = 0x80000004;
export const CHUNK_ZLIB = 0x80000005;
export const CHUNK_BZIP2 = 0x80000006;
const CHUNK_COMMENT = 0x7ffffffe;
const CHUNK_END = 0xffffffff;

export interface Chunk {
  readonly type: number;
  /** On the disk. */
  readonly start: number;
  readonly bytes: number;
  /** In the file. */
  readonly offset: number;
  readonly packedBytes: number;
}

/** Chunks in the order of the disk. */
export async function readChunks(file: BlockNode): Promise<readonly Chunk[]> {
  const trailer = await readTrailer(file);
  const u64At = (at: number): number => u64(trailer, at, false);
  const [dataFork, forkAt, forkBytes, listAt, listBytes] = [24, 40, 48, 216, 224].map(u64At) as [
    number, number, number, number, number,
  ]; // prettier-ignore
  // INVARIANT: five of five.
  const chunks: Chunk[] = [];
  if (forkBytes !== 0) readFork(await table(file, forkAt, forkBytes, 'resource fork'), dataFork, chunks);
  else if (listBytes !== 0) readList(await table(file, listAt, listBytes, 'property list'), dataFork, chunks);
  else throw new ImageError('dmg image has neither a resource fork nor a property list');
  chunks.sort((a, b) => a.start - b.start);
  for (const [i, chunk] of chunks.entries()) {
    const before = chunks[i - 1];
    if (before !== undefined && before.start + before.bytes > chunk.start)
      throw new ImageError(`dmg chunks at ${before.start} and ${chunk.start} overlap`);
  }
  return chunks;
}

/** The image may have been padded to whole sectors. */
async function readTrailer(file: BlockNode): Promise<DataView> {
  const from = Math.max(0, file.size - TRAILER_BYTES - SECTOR_BYTES + 1);
  const end = viewOf(await readExactly(file, from, file.size - from, 'dmg trailer'));
  for (let at = end.byteLength - TRAILER_BYTES; at >= 0; at--) {
    if (end.getUint32(at) === KOLY) return new DataView(end.buffer, end.byteOffset + at, TRAILER_BYTES);
  }
  throw new ImageError('Image not in dmg format: no trailer at its end');
}

async function table(file: BlockNode, offset: number, bytes: number, what: string): Promise<Uint8Array> {
  // GUEST: sizes come from the image.
  if (bytes > MAX_TABLE_BYTES) throw new ImageError(`dmg ${what} of ${bytes} bytes is too large`, 'EFBIG');
  return readExactly(file, offset, bytes, `dmg ${what}`);
}

/** Resources, each with its length before it. */
function readFork(fork: Uint8Array, dataFork: number, chunks: Chunk[]): void {
  if (fork.length < 16) throw new ImageError('dmg resource fork is too short');
  const view = viewOf(fork);
  let at = view.getUint32(0);
  const end = Math.min(at + view.getUint32(8), fork.length);
  while (at + 4 <= end) {
    const bytes = view.getUint32(at);
    if (bytes === 0 || at + 4 + bytes > end)
      throw new ImageError(`dmg resource at ${at} of the resource fork has ${bytes} bytes`);
    readTable(fork.subarray(at + 4, at + 4 + bytes), dataFork, chunks);
    at += 4 + bytes;
  }
}

/** Every <data> of the property list that is a block table. */
function readList(list: Uint8Array, dataFork: number, chunks: Chunk[]): void {
  const text = asciiText(list);
  for (let at = text.indexOf('<data>'); at >= 0; at = text.indexOf('<data>', at)) {
    const end = text.indexOf('</data>', at);
    if (end < 0) throw new ImageError('dmg property list ends within its data');
    readTable(fromBase64(text.slice(at + 6, end)), dataFork, chunks);
    at = end;
  }
}

function fromBase64(text: string): Uint8Array {
  const out = new Uint8Array(Math.ceil((text.length * 3) / 4));
  let [held, bits, count] = [0, 0, 0];
  for (let i = 0; i < text.length; i++) {
    const value = base64Value(text.charCodeAt(i));
    if (value === undefined) continue;
    held = ((held << 6) | value) & 0xffffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out[count++] = held >>> bits;
  }
  return out.subarray(0, count);
}

/** Undefined for what is between: line ends, padding. */
function base64Value(code: number): number | undefined {
  if (code >= 65 && code <= 90) return code - 65;
  if (code >= 97 && code <= 122) return code - 71;
  if (code >= 48 && code <= 57) return code + 4;
  return code === 43 ? 62 : code === 47 ? 63 : undefined;
}

function readTable(bytes: Uint8Array, dataFork: number, chunks: Chunk[]): void {
  const view = viewOf(bytes);
  // Other resources stand between the block tables.
  if (bytes.length < MISH_HEADER_BYTES || view.getUint32(0) !== MISH) return;
  const firstSector = u64(view, 8, false);
  const dataOffset = dataFork + u64(view, 24, false);
  const count = Math.floor((bytes.length - MISH_HEADER_BYTES) / CHUNK_BYTES);
  for (let i = 0; i < count; i++) {
    const at = MISH_HEADER_BYTES + i * CHUNK_BYTES;
    const type = view.getUint32(at);
    if (type === CHUNK_END) break;
    if (type === CHUNK_COMMENT) continue;
    const chunk: Chunk = {
      type,
      start: (firstSector + u64(view, at + 8, false)) * SECTOR_BYTES,
      bytes: u64(view, at + 16, false) * SECTOR_BYTES,
      offset: dataOffset + u64(view, at + 24, false),
      packedBytes: u64(view, at + 32, false),
    };
    if (chunk.bytes === 0) continue;
    checkChunk(chunk);
    chunks.push(chunk);
  }
}

function checkChunk({ type, start, bytes, offset, packedBytes }: Chunk): void {
  const where = `dmg chunk for offset ${start}`;
  if (!Number.isSafeInteger(start + bytes) || !Number.isSafeInteger(offset + packedBytes))
    throw new ImageError(`${where} of ${bytes} bytes, at ${offset} in the file, is beyond any file`);
  if (type === CHUNK_ZERO || type === CHUNK_IGNORE) return;
  if (type === CHUNK_RAW) {
    if (packedBytes !== bytes) throw new ImageError(`${where} has ${packedBytes} bytes for ${bytes}`);
    return;
  }
  if (type !== CHUNK_ADC && type !== CHUNK_ZLIB && type !== CHUNK_BZIP2)
    throw new ImageError(`${where} has the unsupported type 0x${type.toString(16)}`, 'ENOTSUP');
  if (bytes > MAX_CHUNK_BYTES || packedBytes > MAX_CHUNK_BYTES)
    throw new ImageError(`${where} unpacks from ${packedBytes} to ${bytes} bytes, more than ${MAX_CHUNK_BYTES}`);
}
