/**
 * Compressed loop images (cloop 2.x), read-only: a shell script of 128 bytes, block size and count, 64-bit offsets, zlib blocks.
 * Big-endian.
 */
import { asciiText, viewOf } from '../../../base/bytes.ts';
import { BlockError, ImageError } from '../../block-error.ts';
import type { BlockDriver } from '../../driver.ts';
import type { BlockHost } from '../../host.ts';
import { scatter, vectorBytes } from '../../io-vector.ts';
import type { IoVector } from '../../io-vector.ts';
import type { BlockNode } from '../../node.ts';
import type { Run } from '../mapped/mapped-node.ts';
import { readExactly, u64 } from '../mapped/node-bytes.ts';
import { PagedTable } from '../mapped/paged-table.ts';
import { ReadOnlyNode } from '../mapped/read-only-node.ts';
import { UnpackedCache } from '../mapped/unpacked-cache.ts';

const MAGIC = '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n';
const HEADER_AT = 128;
const OFFSETS_AT = 136;
const SECTOR_BYTES = 512;
/** Largest block accepted: one is unpacked as a whole. */
const MAX_BLOCK_BYTES = 64 << 20;
/** Unpacked blocks kept: 128 MiB at most. */
const UNPACKED_BLOCKS = 2;

class CloopNode extends ReadOnlyNode {
  override readonly driver = 'cloop';
  override readonly size: number;
  protected override readonly clusterBytes: number;
  private readonly offsets: PagedTable;
  private readonly host: BlockHost;
  private readonly unpacked = new UnpackedCache(UNPACKED_BLOCKS);

  constructor(name: string, file: BlockNode, header: Uint8Array, host: BlockHost) {
    super(name, file);
    const view = viewOf(header);
    const [blockBytes, blocks] = [view.getUint32(0), view.getUint32(4)];
    if (blockBytes === 0 || blockBytes % SECTOR_BYTES !== 0)
      throw new ImageError(`block_size ${blockBytes} must be a multiple of 512`);
    if (blockBytes > MAX_BLOCK_BYTES)
      throw new ImageError(`block_size ${blockBytes} must be ${MAX_BLOCK_BYTES / 2 ** 20} MB or less`);
    if (OFFSETS_AT + (blocks + 1) * 8 > file.size)
      throw new ImageError(`cloop image of ${file.size} bytes has no room for ${blocks} offsets`);
    this.clusterBytes = blockBytes;
    this.size = blocks * blockBytes;
    this.offsets = new PagedTable(file, OFFSETS_AT, (blocks + 1) * 8);
    this.host = host;
  }

  protected override locate(offset: number): Promise<Run> {
    return Promise.resolve({ kind: 'packed', bytes: this.clusterBytes - (offset % this.clusterBytes) });
  }

  protected override async readPacked(offset: number, into: IoVector): Promise<void> {
    const block = Math.floor(offset / this.clusterBytes);
    const data = await this.unpacked.get(block, () => this.unpack(block));
    const start = offset % this.clusterBytes;
    scatter(data.subarray(start, start + vectorBytes(into)), into);
  }

  private async unpack(block: number): Promise<Uint8Array> {
    const [start, end] = [await this.offsetOf(block), await this.offsetOf(block + 1)];
    // GUEST: deflate makes nothing longer than by a few bytes in a thousand; a block may not claim more.
    if (!(start < end) || end - start > this.clusterBytes + (this.clusterBytes >>> 8) + 1024)
      throw new BlockError('EIO', `cloop block ${block} is at ${start} to ${end}`);
    const packed = await readExactly(this.file, start, end - start, 'cloop block');
    const data = await this.host.inflateZlib(packed, this.clusterBytes);
    if (data.length !== this.clusterBytes)
      throw new BlockError('EIO', `cloop block ${block} unpacks to ${data.length} bytes`);
    return data;
  }

  private offsetOf(block: number): Promise<number> {
    return this.offsets.at(block * 8, (view, at) => u64(view, at, false));
  }
}

export const cloopDriver: BlockDriver = {
  name: 'cloop',
  kind: 'format',
  options: [],
  probe: (head) => (asciiText(head.subarray(0, MAGIC.length)).startsWith(MAGIC.slice(0, 23)) ? 2 : 0),
  async open(request, context) {
    // INVARIANT: openChild throws unless the child may be missing.
    const file = (await context.openChild('file', { readOnly: true }))!;
    return new CloopNode(request.name, file, await readExactly(file, HEADER_AT, 8, 'cloop header'), context.host);
  },
};
