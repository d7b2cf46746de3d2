/** Giving an image another backing image without changing what is read from it: `img rebase`. */
import { BlockError, ERRNO_TEXT, errnoOf } from '../block-error.ts';
import { statusOfChain } from '../chain-status.ts';
import type { BlockNode } from '../node.ts';
import { isZero } from './buffers.ts';
import { type Abortable, type JobProgress, type Report, runJob, type Stop } from './job.ts';

export interface RebaseOptions extends Abortable {
  /** Undefined: there was none. */
  readonly oldBacking: BlockNode | undefined;
  /** Undefined: there will be none. */
  readonly newBacking: BlockNode | undefined;
  /** The node of the old chain that is the new backing image, if it is in there: what is above it differs, the rest does not. */
  readonly common?: BlockNode | undefined;
}

const CHUNK_BYTES: number = 2 * 1024 ** 2;
const SECTOR = 512;

/** Writes into the image what the new backing image has otherwise; the image's header is the caller's business. */
export function rebaseImage(image: BlockNode, options: RebaseOptions): AsyncGenerator<JobProgress, void, void> {
  return runJob((report, stop) => new Rebase(image, options).run(report, stop), options.signal);
}

class Rebase {
  private readonly image: BlockNode;
  private readonly options: RebaseOptions;
  private readonly before: Uint8Array = new Uint8Array(CHUNK_BYTES);
  private readonly after: Uint8Array = new Uint8Array(CHUNK_BYTES);

  constructor(image: BlockNode, options: RebaseOptions) {
    this.image = image;
    this.options = options;
  }

  async run(report: Report, stop: Stop): Promise<void> {
    const { image } = this;
    for (let offset = 0; offset < image.size;) {
      stop.throwIfAborted();
      const { bytes, same } = await this.look(offset);
      if (!same) await this.keep(offset, bytes);
      offset += bytes;
      report(offset, image.size);
    }
  }

  /** How long the run at `offset` is, and whether nothing has to be done for it. */
  private async look(offset: number): Promise<{ readonly bytes: number; readonly same: boolean }> {
    const { image } = this;
    const { oldBacking, common } = this.options;
    const own = await image.status(offset, image.size - offset);
    if (own.allocated) return { bytes: own.bytes, same: true };
    const most = Math.min(own.bytes, CHUNK_BYTES);
    if (common === undefined || oldBacking === undefined || offset >= oldBacking.size) {
      const inside = oldBacking === undefined || offset >= oldBacking.size ? most : oldBacking.size - offset;
      return { bytes: Math.min(most, inside), same: false };
    }
    if (oldBacking === common) return { bytes: most, same: true };
    const status = await statusOfChain(oldBacking, offset, Math.min(most, oldBacking.size - offset), common);
    return { bytes: Math.min(most, status.bytes), same: status.depth === 0 };
  }

  /** Writes what the old backing image has and the new one has not. */
  private async keep(offset: number, bytes: number): Promise<void> {
    const { oldBacking, newBacking } = this.options;
    const [before, after] = [this.before.subarray(0, bytes), this.after.subarray(0, bytes)];
    await Promise.all([readOrZero(oldBacking, offset, before), readOrZero(newBacking, offset, after)]);
    const behind = oldBacking === undefined || offset >= oldBacking.size;
    for (let at = 0; at < bytes;) {
      const begin = at;
      const differs = this.sectorDiffers(begin, bytes);
      do at = Math.min(bytes, at + SECTOR);
      while (at < bytes && this.sectorDiffers(at, bytes) === differs);
      if (!differs) continue;
      try {
        if (behind) await this.writeZeroes(offset + begin, offset + at, before.subarray(begin, at));
        else if (isZero(before, begin, at)) await this.image.writeZeroes(offset + begin, at - begin);
        else await this.image.write(offset + begin, [before.subarray(begin, at)]);
      } catch (error) {
        throw new BlockError(errnoOf(error), `Error while writing to COW image: ${ERRNO_TEXT[errnoOf(error)]}`);
      }
    }
  }

  /**
   * Zeroes where the old backing image has nothing. The image reads as zeroes there as long as it has that backing image, so only
   * whole clusters are sure to become its own.
   */
  private async writeZeroes(from: number, to: number, zeroes: Uint8Array): Promise<void> {
    const { image } = this;
    const unit = image.limits.zeroAlignment;
    const begin = from - (from % unit);
    const end = Math.min(image.size, Math.ceil(to / unit) * unit);
    if (begin >= (this.options.oldBacking?.size ?? 0)) await image.writeZeroes(begin, end - begin);
    else await image.write(from, [zeroes]);
  }

  private sectorDiffers(at: number, bytes: number): boolean {
    const end = Math.min(bytes, at + SECTOR);
    for (let place = at; place < end; place++) if (this.before[place] !== this.after[place]) return true;
    return false;
  }
}

async function readOrZero(node: BlockNode | undefined, offset: number, into: Uint8Array): Promise<void> {
  const there = node === undefined ? 0 : Math.max(0, Math.min(into.length, node.size - offset));
  into.fill(0, there);
  if (there > 0) await node?.read(offset, [into.subarray(0, there)]);
}
