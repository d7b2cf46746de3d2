/**
 * Apple disk images (UDIF, .dmg), read-only: chunks that are zeroes, plain, or compressed with ADC, zlib or bzip2. LZFSE and LZMA
 * are refused.
 */
import { BlockError } from '../../block-error.ts';
import type { BlockDriver } from '../../driver.ts';
import type { BlockHost } from '../../host.ts';
import { scatter, vectorBytes } from '../../io-vector.ts';
import type { IoVector } from '../../io-vector.ts';
import type { BlockNode } from '../../node.ts';
import type { Run } from '../mapped/mapped-node.ts';
import { readExactly } from '../mapped/node-bytes.ts';
import { ReadOnlyNode } from '../mapped/read-only-node.ts';
import { UnpackedCache } from '../mapped/unpacked-cache.ts';
import { unpackAdc } from './adc.ts';
import { bunzip2 } from './bunzip2.ts';
import { CHUNK_ADC, CHUNK_IGNORE, CHUNK_RAW, CHUNK_ZERO, CHUNK_ZLIB, readChunks } from './chunks.ts';
import type { Chunk } from './chunks.ts';

const SECTOR_BYTES = 512;
/** Unpacked chunks kept: 128 MiB at most; hardly any has more than 1 MiB. */
const UNPACKED_CHUNKS = 2;

class DmgNode extends ReadOnlyNode {
  override readonly driver = 'dmg';
  override readonly size: number;
  protected override readonly clusterBytes = SECTOR_BYTES;
  private readonly chunks: readonly Chunk[];
  private readonly host: BlockHost;
  private readonly unpacked = new UnpackedCache(UNPACKED_CHUNKS);

  constructor(name: string, file: BlockNode, chunks: readonly Chunk[], host: BlockHost) {
    super(name, file);
    this.chunks = chunks;
    this.host = host;
    const last = chunks.at(-1);
    this.size = last === undefined ? 0 : last.start + last.bytes;
  }

  protected override locate(offset: number): Promise<Run> {
    const index = this.indexAt(offset);
    const chunk = this.chunks[index];
    if (chunk === undefined || offset >= chunk.start + chunk.bytes) {
      // INVARIANT: the disk ends with a chunk.
      return Promise.resolve({ kind: 'absent', bytes: this.chunks[index + 1]!.start - offset });
    }
    const inChunk = offset - chunk.start;
    const bytes = chunk.bytes - inChunk;
    if (chunk.type === CHUNK_ZERO || chunk.type === CHUNK_IGNORE) return Promise.resolve({ kind: 'zero', bytes });
    if (chunk.type !== CHUNK_RAW) return Promise.resolve({ kind: 'packed', bytes });
    return Promise.resolve({ kind: 'data', bytes, node: this.file, offset: chunk.offset + inChunk });
  }

  protected override async readPacked(offset: number, into: IoVector): Promise<void> {
    const index = this.indexAt(offset);
    const chunk = this.chunks[index]!; // INVARIANT: `locate` found it
    const data = await this.unpacked.get(index, () => this.unpack(chunk));
    const at = offset - chunk.start;
    scatter(data.subarray(at, at + vectorBytes(into)), into);
  }

  /** The last chunk that begins at `offset` or before; -1 when there is none. */
  private indexAt(offset: number): number {
    let [low, high] = [0, this.chunks.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      // INVARIANT: below the length.
      if (this.chunks[middle]!.start <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  private async unpack({ type, start, bytes, offset, packedBytes }: Chunk): Promise<Uint8Array> {
    const packed = await readExactly(this.file, offset, packedBytes, 'dmg chunk');
    const data =
      type === CHUNK_ADC
        ? unpackAdc(packed, bytes)
        : type === CHUNK_ZLIB
          ? await this.host.inflateZlib(packed, bytes)
          : bunzip2(packed, bytes);
    if (data.length !== bytes)
      throw new BlockError('EIO', `dmg chunk for offset ${start} unpacks to ${data.length} bytes instead of ${bytes}`);
    return data;
  }
}

export const dmgDriver: BlockDriver = {
  name: 'dmg',
  kind: 'format',
  options: [],
  // What tells a dmg is at its end; its beginning may look like anything, so that any other format's claim wins.
  probe: (_head, filename) => (filename.endsWith('.dmg') ? 2 : 0),
  async open(request, context) {
    // INVARIANT: openChild throws unless the child may be missing.
    const file = (await context.openChild('file', { readOnly: true }))!;
    return new DmgNode(request.name, file, await readChunks(file), context.host);
  },
};
