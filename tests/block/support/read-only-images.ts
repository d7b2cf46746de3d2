/** Writers of the formats that are only read, for tests: each gives a whole image whose disk reads as `disk`. */
import { deflateSync } from 'node:zlib';

const SECTOR = 512;

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** Bochs growing redolog with extents of 16 KiB, in the reverse of the disk's order. */
export function bochsImage(disk: Uint8Array, version: 1 | 2): Uint8Array {
  const EXTENT = 16 << 10;
  const extents = Math.ceil(disk.length / EXTENT);
  const header = Buffer.alloc(SECTOR);
  header.write('Bochs Virtual HD Image', 0);
  header.write('Redolog', 32);
  header.write('Growing', 48);
  header.writeUInt32LE(version << 16, 64);
  header.writeUInt32LE(SECTOR, 68);
  header.writeUInt32LE(extents, 72);
  header.writeUInt32LE(SECTOR, 76);
  header.writeUInt32LE(EXTENT, 80);
  header.writeBigUInt64LE(BigInt(disk.length), version === 1 ? 84 : 88);
  const catalog = Buffer.alloc(extents * 4, 0xff);
  const bodies: Uint8Array[] = [];
  for (let extent = extents - 1; extent >= 0; extent--) {
    const data = Buffer.alloc(EXTENT);
    data.set(disk.subarray(extent * EXTENT, (extent + 1) * EXTENT));
    if (isZero(data)) continue;
    const bitmap = Buffer.alloc(SECTOR);
    for (let sector = 0; sector < EXTENT / SECTOR; sector++) {
      const from = sector * SECTOR;
      if (isZero(data.subarray(from, from + SECTOR))) data.fill(0xee, from, from + SECTOR);
      else bitmap[sector >> 3]! |= 1 << (sector & 7);
    }
    catalog.writeUInt32LE(bodies.length / 2, extent * 4);
    bodies.push(bitmap, data);
  }
  return Buffer.concat([header, catalog, ...bodies]);
}

export function cloopImage(disk: Uint8Array, blockBytes: number): Uint8Array {
  const blocks = Math.ceil(disk.length / blockBytes);
  const head = Buffer.alloc(136 + (blocks + 1) * 8);
  head.write('#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n', 0);
  head.writeUInt32BE(blockBytes, 128);
  head.writeUInt32BE(blocks, 132);
  const packed: Uint8Array[] = [];
  let at = head.length;
  for (let block = 0; block < blocks; block++) {
    head.writeBigUInt64BE(BigInt(at), 136 + block * 8);
    const plain = Buffer.alloc(blockBytes);
    plain.set(disk.subarray(block * blockBytes, (block + 1) * blockBytes));
    const piece = deflateSync(plain);
    packed.push(piece);
    at += piece.length;
  }
  head.writeBigUInt64BE(BigInt(at), 136 + blocks * 8);
  return Buffer.concat([head, ...packed]);
}

/** How a piece of a disk becomes a chunk of a dmg. */
export interface DmgChunk {
  readonly type: number;
  /** A multiple of 512 bytes of the disk. */
  readonly plain: Uint8Array;
  readonly packed: Uint8Array;
}

/** Two block tables, one for each half of the chunks, in a property list or a resource fork. */
export function dmgImage(chunks: readonly DmgChunk[], tables: 'list' | 'fork'): Uint8Array {
  const middle = Math.ceil(chunks.length / 2);
  const data: Uint8Array[] = [];
  let [offset, sector] = [0, 0];
  const mish = (part: readonly DmgChunk[]): Buffer => {
    const table = Buffer.alloc(204 + (part.length + 1) * 40);
    table.writeUInt32BE(0x6d697368, 0);
    table.writeUInt32BE(1, 4);
    table.writeBigUInt64BE(BigInt(sector), 8);
    table.writeUInt32BE(part.length + 1, 200);
    let own = 0;
    for (const [i, { type, plain, packed }] of part.entries()) {
      const at = 204 + i * 40;
      const sectors = plain.length / SECTOR;
      table.writeUInt32BE(type, at);
      table.writeBigUInt64BE(BigInt(own), at + 8);
      table.writeBigUInt64BE(BigInt(sectors), at + 16);
      table.writeBigUInt64BE(BigInt(offset), at + 24);
      table.writeBigUInt64BE(BigInt(packed.length), at + 32);
      data.push(packed);
      offset += packed.length;
      own += sectors;
    }
    table.writeBigUInt64BE(BigInt(own), 16);
    table.writeUInt32BE(0xffffffff, 204 + part.length * 40);
    table.writeBigUInt64BE(BigInt(own), 204 + part.length * 40 + 8);
    sector += own;
    return table;
  };
  const both = [mish(chunks.slice(0, middle)), mish(chunks.slice(middle))];
  const trailer = Buffer.alloc(SECTOR);
  trailer.write('koly', 0);
  trailer.writeUInt32BE(4, 4);
  trailer.writeUInt32BE(SECTOR, 8);
  trailer.writeBigUInt64BE(BigInt(offset), 32);
  trailer.writeBigUInt64BE(BigInt(sector), 492);
  let table: Buffer;
  if (tables === 'list') {
    const entries = both.map((one) => `<dict><key>Data</key><data>\n${one.toString('base64')}\n</data></dict>`);
    table = Buffer.from(
      `<?xml version="1.0"?><plist version="1.0"><dict><key>resource-fork</key><dict><key>blkx</key><array>${entries.join('\n')}</array></dict></dict></plist>`,
    );
    trailer.writeBigUInt64BE(BigInt(offset), 216);
    trailer.writeBigUInt64BE(BigInt(table.length), 224);
  } else {
    const resources = both.map((one) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(one.length);
      return Buffer.concat([length, one]);
    });
    const head = Buffer.alloc(256);
    const body = Buffer.concat(resources);
    head.writeUInt32BE(256, 0);
    head.writeUInt32BE(256 + body.length, 4);
    head.writeUInt32BE(body.length, 8);
    table = Buffer.concat([head, body]);
    trailer.writeBigUInt64BE(BigInt(offset), 40);
    trailer.writeBigUInt64BE(BigInt(table.length), 48);
  }
  return Buffer.concat([...data, table, trailer]);
}

/** ADC of any bytes: runs of one byte as overlapping copies in either length, the rest as it is. */
export function packAdc(plain: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (let at = 0; at < plain.length;) {
    let run = 1;
    while (run < 68 && plain[at + run] === plain[at]) run++;
    out.push(0x80, plain[at]!);
    const copies = run - 1;
    if (copies >= 19) out.push(0x40 | (copies - 4), 0, 0);
    else if (copies >= 3) out.push((copies - 3) << 2, 0);
    else run = 1;
    at += run;
  }
  return Uint8Array.from(out);
}
