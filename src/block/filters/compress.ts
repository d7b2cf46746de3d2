/** `compress`: everything that is written is written as compressed clusters. */
import { ImageError } from '../block-error.ts';
import type { BlockDriver } from '../driver.ts';
import { type IoVector, scatter, sliceVector, vectorBytes } from '../io-vector.ts';
import type { WriteFlags } from '../node.ts';
import { FilterNode } from './filter-node.ts';
import { RangeLocks } from './range-locks.ts';

class CompressNode extends FilterNode {
  readonly driver = 'compress';
  /** Clusters that are written in part are read, changed and written: one at a time. */
  private readonly locks = new RangeLocks();

  override async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    const bytes = vectorBytes(from);
    this.checkRange(offset, bytes);
    const cluster = this.child.imageInfo?.().clusterSize ?? 1;
    for (let done = 0; done < bytes;) {
      const at = offset + done;
      const start = Math.floor(at / cluster) * cluster;
      const end = Math.min(start + cluster, this.child.size);
      const part = Math.min(end - at, bytes - done);
      const piece = sliceVector(from, done, part);
      await this.locks.hold(start, end, async () => {
        if (part === end - start) return this.child.write(at, piece, { ...flags, compressed: true });
        const whole = new Uint8Array(end - start);
        await this.child.read(start, [whole]);
        let place = at - start;
        for (const bytesOf of piece) {
          scatter(bytesOf, [whole], place);
          place += bytesOf.length;
        }
        return this.child.write(start, [whole], { ...flags, compressed: true });
      });
      done += part;
    }
  }
}

export const compress: BlockDriver = {
  name: 'compress',
  kind: 'filter',
  options: [],
  async open({ name, readOnly }, context) {
    // INVARIANT: openChild throws unless the child may be missing.
    const child = (await context.openChild('file', { probe: true }))!;
    if (child.driver !== 'qcow2' && child.driver !== 'vmdk')
      throw new ImageError('Compression is not supported for underlying format: ' + child.driver);
    return new CompressNode(name, readOnly, child);
  },
};
