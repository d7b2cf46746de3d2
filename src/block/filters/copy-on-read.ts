/** `copy-on-read`: what is read from backing images is written to the image, so that the next one to read it finds it there. */
import { ImageError } from '../block-error.ts';
import type { BlockDriver } from '../driver.ts';
import { type IoVector, scatter, sliceVector, vectorBytes } from '../io-vector.ts';
import type { WriteFlags, ZeroFlags } from '../node.ts';
import { isAllZero } from '../zero-bytes.ts';
import { FilterNode } from './filter-node.ts';
import { RangeLocks } from './range-locks.ts';

/** Most bytes that are copied at once. */
const MAX_COPY_BYTES: number = 1 << 20;

class CopyOnReadNode extends FilterNode {
  readonly driver = 'copy-on-read';
  /** A write must not come between the reading and the writing of a copy. */
  private readonly locks = new RangeLocks();

  override async read(offset: number, into: IoVector): Promise<void> {
    const bytes = vectorBytes(into);
    this.checkRange(offset, bytes);
    for (let done = 0; done < bytes;) done += await this.readSome(offset + done, sliceVector(into, done, bytes - done));
  }

  /** Reads the run at `offset`, and copies it if it comes from below. How many bytes that were. */
  private async readSome(offset: number, into: IoVector): Promise<number> {
    const bytes = vectorBytes(into);
    const first = await this.child.status(offset, bytes);
    const run = Math.min(bytes, Math.max(1, first.bytes));
    if (first.allocated) {
      await this.child.read(offset, sliceVector(into, 0, run));
      return run;
    }
    const [from, to] = this.clusters(offset, Math.min(run, MAX_COPY_BYTES));
    const served = Math.min(to - offset, bytes);
    await this.locks.hold(from, to, async () => {
      const copy = new Uint8Array(to - from);
      await this.child.read(from, [copy]);
      await this.copyMissing(from, copy);
      scatter(copy.subarray(offset - from, offset - from + served), into);
    });
    return served;
  }

  /** Writes what the image itself does not have; another request may have been there before. */
  private async copyMissing(from: number, copy: Uint8Array): Promise<void> {
    for (let at = 0; at < copy.length;) {
      const { bytes, allocated } = await this.child.status(from + at, copy.length - at);
      const run = Math.min(copy.length - at, Math.max(1, bytes));
      const part = copy.subarray(at, at + run);
      if (!allocated) {
        await this.child.debugEvent?.('cor_write');
        if (isAllZero(part)) await this.child.writeZeroes(from + at, run);
        else await this.child.write(from + at, [part], { unchanged: true });
      }
      at += run;
    }
  }

  private clusters(offset: number, bytes: number): [from: number, to: number] {
    const { zeroAlignment } = this.child.limits;
    const from = Math.floor(offset / zeroAlignment) * zeroAlignment;
    const to = Math.ceil((offset + bytes) / zeroAlignment) * zeroAlignment;
    return [from, Math.min(to, this.child.size)];
  }

  override async write(offset: number, from: IoVector, flags?: WriteFlags): Promise<void> {
    const [start, end] = this.clusters(offset, vectorBytes(from));
    await this.locks.hold(start, end, () => this.child.write(offset, from, flags));
  }

  override async writeZeroes(offset: number, bytes: number, flags?: ZeroFlags): Promise<void> {
    const [start, end] = this.clusters(offset, bytes);
    await this.locks.hold(start, end, () => this.child.writeZeroes(offset, bytes, flags));
  }

  override async discard(offset: number, bytes: number): Promise<void> {
    const [start, end] = this.clusters(offset, bytes);
    await this.locks.hold(start, end, () => this.child.discard(offset, bytes));
  }
}

export const copyOnRead: BlockDriver = {
  name: 'copy-on-read',
  kind: 'filter',
  options: [],
  async open({ name, readOnly }, context) {
    // INVARIANT: openChild throws unless the child may be missing.
    const child = (await context.openChild('file', { probe: true }))!;
    if (readOnly || child.readOnly) throw new ImageError('Block node is read-only', 'EPERM');
    return new CopyOnReadNode(name, readOnly, child);
  },
};
