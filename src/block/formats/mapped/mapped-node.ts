/**
 * Base of the formats that keep a disk in clusters (blocks, grains) which a table places in a file: requests are split along what
 * `locate` says, clusters are allocated on first write and filled from the backing node. A format adds its tables.
 */
import { BlockError } from '../../block-error.ts';
import { fillVector, sliceVector, vectorBytes } from '../../io-vector.ts';
import type { IoVector } from '../../io-vector.ts';
import { BlockNode } from '../../node.ts';
import type { BlockStatus, RequestLimits, TruncateOptions, WriteFlags, ZeroFlags } from '../../node.ts';
import { KeyedMutex } from './mutex.ts';
import { readOrZero } from './node-bytes.ts';

/** Where bytes are, from the asked offset on. */
export type Run =
  | { readonly kind: 'data'; readonly bytes: number; readonly node: BlockNode; readonly offset: number }
  /** zero: the image says zeroes; absent: the backing node's, or zeroes; packed: compressed, one cluster. */
  | { readonly kind: 'zero' | 'absent' | 'packed'; readonly bytes: number };

/** Room for a cluster that no table names yet. */
export interface Place {
  readonly node: BlockNode;
  readonly offset: number;
  /** Reads as zeroes already: a file's part that was never written. */
  readonly clean: boolean;
}

/** Runs longer than this are not sought for one request's sake. */
const MAX_MERGED_RUNS = 4096;
/** A cluster's surroundings are copied in pieces of this size, however large the image says its clusters are. */
const COPY_BYTES = 1 << 20;

export abstract class MappedNode extends BlockNode {
  protected abstract readonly clusterBytes: number;
  /** Of what is absent here. */
  protected backing: BlockNode | undefined;
  /** The format knows of backing images; in those that do not, what is absent is the image's own zeroes. */
  protected readonly knowsBacking: boolean = true;
  /** Where this node's first byte is in the backing node (parts of a disk that is split over files). */
  protected readonly backingOffset: number = 0;
  private readonly allocations = new KeyedMutex();
  /** Since the last flush. */
  private clustersPlaced = false;

  /** One run at `offset`, not longer than `bytes`; may end early. */
  protected abstract locate(offset: number, bytes: number): Promise<Run>;
  /** Finds room for the cluster that starts at `start`. Not called twice at once for the same cluster. */
  protected abstract reserve(start: number): Promise<Place>;
  /** The cluster's bytes could not be written: the place is free again. */
  protected release(_place: Place): void {}
  /** The cluster's bytes are written: the tables say from now on that they are at `place`. */
  protected abstract commit(start: number, place: Place): Promise<void>;
  /** Makes a whole cluster read as zeroes by a mark in the tables. False: the format cannot. */
  protected markZero(_start: number, _unmap: boolean): Promise<boolean> {
    return Promise.resolve(false);
  }
  /** Bytes [offset, + length of `into`) of one compressed cluster. */
  protected readPacked(_offset: number, _into: IoVector): Promise<void> {
    return Promise.reject(new BlockError('ENOTSUP'));
  }
  /** Tables and headers that changed go to the file. */
  protected abstract writeBack(): Promise<void>;
  /** Before the first write: marks in headers. */
  protected beforeWrite(): Promise<void> | undefined {
    return undefined;
  }

  override get limits(): RequestLimits {
    return { alignment: 1, zeroAlignment: this.clusterBytes, maxTransfer: 0x7ffffe00 };
  }

  override get zeroWhenNew(): boolean {
    return this.backing === undefined;
  }

  override async read(offset: number, into: IoVector): Promise<void> {
    const total = vectorBytes(into);
    this.checkRange(offset, total);
    for (let at = 0; at < total;) {
      const run = await this.runAt(offset + at, total - at);
      const part = sliceVector(into, at, run.bytes);
      if (run.kind === 'data') await readOrZero(run.node, run.offset, part);
      else if (run.kind === 'packed') await this.readPacked(offset + at, part);
      else if (run.kind === 'absent' && this.backing !== undefined)
        await readOrZero(this.backing, this.backingOffset + offset + at, part);
      else fillVector(part, 0);
      at += run.bytes;
    }
  }

  override async write(offset: number, from: IoVector, flags: WriteFlags = {}): Promise<void> {
    this.checkWritable();
    const total = vectorBytes(from);
    this.checkRange(offset, total);
    if (total > 0) await this.beforeWrite();
    for (let at = 0; at < total;) {
      const run = await this.runAt(offset + at, total - at);
      if (run.kind === 'data') {
        await run.node.write(run.offset, sliceVector(from, at, run.bytes));
        at += run.bytes;
      } else {
        const bytes = Math.min(total - at, this.clusterBytes - ((offset + at) % this.clusterBytes));
        await this.writeNewCluster(offset + at, sliceVector(from, at, bytes), bytes);
        at += bytes;
      }
    }
    if (flags.fua === true) await this.flush();
  }

  override async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    if (bytes > 0) await this.beforeWrite();
    for (let at = 0; at < bytes;) {
      const run = await this.runAt(offset + at, bytes - at);
      if (run.kind === 'zero' || (run.kind === 'absent' && this.backing === undefined)) {
        at += run.bytes;
        continue;
      }
      const inCluster = (offset + at) % this.clusterBytes;
      const part = Math.min(bytes - at, this.clusterBytes - inCluster);
      const whole = inCluster === 0 && (part === this.clusterBytes || offset + at + part === this.size);
      if (whole && (await this.allocations.run(offset + at, () => this.markZero(offset + at, flags.unmap === true)))) {
        at += part;
        continue;
      }
      if (flags.noFallback === true) throw new BlockError('ENOTSUP');
      if (run.kind === 'data') await this.zeroData(run.node, run.offset, Math.min(part, run.bytes));
      else await this.writeNewCluster(offset + at, undefined, part);
      at += run.kind === 'data' ? Math.min(part, run.bytes) : part;
    }
    if (flags.fua === true) await this.flush();
  }

  override discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
    return Promise.resolve();
  }

  override async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    if (bytes === 0) return { bytes: 0, data: false, zero: false, allocated: false };
    const run = await this.runAt(offset, bytes);
    if (run.kind === 'data') {
      const at = { node: run.node, offset: run.offset };
      return { bytes: run.bytes, data: true, zero: false, allocated: true, at };
    }
    if (run.kind === 'packed') return { bytes: run.bytes, data: true, zero: false, allocated: true, compressed: true };
    const zero = run.kind === 'zero' || this.backing === undefined;
    return { bytes: run.bytes, data: false, zero, allocated: run.kind === 'zero' || !this.knowsBacking };
  }

  override async flush(): Promise<void> {
    if (!this.readOnly) {
      // A cluster is on stable storage, with what was copied around the write, before a table there names it.
      const placed = this.clustersPlaced;
      this.clustersPlaced = false;
      try {
        if (placed) await this.flushFiles();
        await this.writeBack();
      } catch (error) {
        this.clustersPlaced ||= placed;
        throw error;
      }
    }
    await this.flushFiles();
  }

  private async flushFiles(): Promise<void> {
    for (const child of this.children) if (child.role !== 'backing' && !child.node.readOnly) await child.node.flush();
  }

  override async close(): Promise<void> {
    await this.flush();
  }

  override truncate(size: number, _options?: TruncateOptions): Promise<void> {
    if (size === this.size) return Promise.resolve();
    return Promise.reject(new BlockError('ENOTSUP', 'Image format driver does not support resize'));
  }

  override replaceBacking(node: BlockNode | undefined): void {
    this.backing = node;
  }

  /**
   * Makes `node` at least `end` bytes long by a byte at the end, which must belong to the caller alone: cutting a file to a length
   * would race with what others append.
   */
  protected async growTo(node: BlockNode, end: number): Promise<void> {
    if (node.size < end) await node.write(end - 1, [new Uint8Array(1)]);
  }

  private async zeroData(node: BlockNode, offset: number, bytes: number): Promise<void> {
    const present = Math.min(bytes, node.size - offset);
    if (present > 0) await node.writeZeroes(offset, present);
  }

  /** `locate`, with runs that follow each other in the file joined. */
  private async runAt(offset: number, bytes: number): Promise<Run> {
    const first = await this.locate(offset, bytes);
    let length = Math.min(first.bytes, bytes);
    if (first.kind === 'packed') return { kind: 'packed', bytes: length };
    for (let count = 0; length < bytes && count < MAX_MERGED_RUNS; count++) {
      const next = await this.locate(offset + length, bytes - length);
      if (next.kind !== first.kind) break;
      if (next.kind === 'data' && first.kind === 'data')
        if (next.node !== first.node || next.offset !== first.offset + length) break;
      length += Math.min(next.bytes, bytes - length);
    }
    return { ...first, bytes: length };
  }

  /** Writes into a cluster that is not in the file yet (`from` undefined: zeroes); the rest of it keeps what it reads as. */
  private writeNewCluster(offset: number, from: IoVector | undefined, bytes: number): Promise<void> {
    const start = offset - (offset % this.clusterBytes);
    return this.allocations.run(start, async () => {
      const run = await this.locate(offset, bytes);
      if (run.kind === 'data') {
        // Another request has allocated it meanwhile.
        if (from === undefined) await this.zeroData(run.node, run.offset, bytes);
        else await run.node.write(run.offset, from);
        return;
      }
      const place = await this.reserve(start);
      try {
        const end = Math.min(start + this.clusterBytes, this.size);
        const blank = run.kind === 'zero' || (run.kind === 'absent' && this.backing === undefined);
        await this.fillAround(start, offset, place, blank);
        await this.fillAround(offset + bytes, end, { ...place, offset: place.offset + offset + bytes - start }, blank);
        const target = place.offset + offset - start;
        if (from !== undefined) await place.node.write(target, from);
        else if (!place.clean) await place.node.writeZeroes(target, bytes);
        await this.growTo(place.node, place.offset + this.clusterBytes);
        this.clustersPlaced = true;
        await this.commit(start, place);
      } catch (error) {
        this.release(place);
        throw error;
      }
    });
  }

  /** Puts what [from, to) reads as now at `place`. */
  private async fillAround(from: number, to: number, place: Place, blank: boolean): Promise<void> {
    if (from >= to || (blank && place.clean)) return;
    if (blank) return place.node.writeZeroes(place.offset, to - from);
    const copy = new Uint8Array(Math.min(COPY_BYTES, to - from));
    for (let at = from; at < to; at += copy.length) {
      const piece = copy.subarray(0, Math.min(copy.length, to - at));
      await this.read(at, [piece]);
      await place.node.write(place.offset + at - from, [piece]);
    }
  }
}
