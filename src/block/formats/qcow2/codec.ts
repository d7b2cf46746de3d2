/** The two compressions of clusters: raw deflate with a window of 4 KiB, and zstd frames; both are followed by anything up to the sector's end. */
import { BlockError } from '../../block-error.ts';
import type { BlockHost } from '../../host.ts';
import type { Codec } from './image.ts';
import { COMPRESSION_ZSTD } from './layout.ts';

export function codecFor(host: BlockHost, compressionType: number): Codec {
  const zstd = compressionType === COMPRESSION_ZSTD;
  return {
    compress: (data) => (zstd ? host.zstd(data) : host.deflateRaw(data)),
    async decompress(data, limit) {
      let plain: Uint8Array;
      try {
        // GUEST: `limit` is a cluster, whatever the stream says.
        plain = await (zstd
          ? host.unzstd(data.subarray(0, zstdFrameBytes(data)), limit)
          : host.inflateRaw(data, limit));
      } catch {
        throw new BlockError('EIO', 'compressed cluster cannot be expanded');
      }
      if (plain.length !== limit)
        throw new BlockError('EIO', `compressed cluster has ${plain.length} of ${limit} bytes`);
      return plain;
    },
  };
}

/** Length of the zstd frame at the begin (RFC 8878, 3.1.1): headers of blocks tell where it ends. */
export function zstdFrameBytes(data: Uint8Array): number {
  const descriptor = data[4] ?? 0;
  const single = (descriptor & 0x20) !== 0;
  const contentSize = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let at = 5 + (single ? 0 : 1) + dictionary + contentSize;
  for (;;) {
    if (at + 3 > data.length) throw new BlockError('EIO', 'zstd frame is cut off');
    const block = (data[at] ?? 0) | ((data[at + 1] ?? 0) << 8) | ((data[at + 2] ?? 0) << 16);
    at += 3 + (((block >> 1) & 3) === 1 ? 1 : block >> 3); // a run-length block has one byte
    if (block & 1) break;
  }
  return Math.min(data.length, at + (descriptor & 4 ? 4 : 0));
}
