/**
 * Copying images: `img convert`. Runs of data are cut into chunks; several are read at a time, and written in their order (or as
 * they come); zeroes are written as such, or not at all where the target has them already.
 */
import { BlockError, ERRNO_TEXT, errnoOf } from '../block-error.ts';
import type { BlockNode } from '../node.ts';
import { isZero } from './buffers.ts';
import { planCopy, readSources, type Run } from './copy-plan.ts';
import { type JobProgress, type Report, runJob, type Stop } from './job.ts';

export interface CopyOptions {
  /** One behind the other. */
  readonly sources: readonly BlockNode[];
  readonly target: BlockNode;
  /** The target reads as zeroes where nothing was written. */
  readonly targetIsZero: boolean;
  /** Only what is above this node of the source's backing chain is copied: the target has the rest below, or is this node. */
  readonly above?: BlockNode;
  /** Size of that backing image. */
  readonly backingBytes?: number;
  readonly compressed?: boolean;
  /** So many zero bytes are worth a hole; 0: everything is written as it is. */
  readonly sparseBytes?: number;
  /** Chunks that are under way at a time. */
  readonly parallel?: number;
  /** Chunks are written as they come. */
  readonly outOfOrder?: boolean;
  /** What cannot be read becomes zeroes; called with its place. `what` it was that failed: reading it, or being told whether there is data. */
  readonly salvage?: (offset: number, error: unknown, what: 'data' | 'status') => void;
  /** Bytes a second. */
  readonly rateLimit?: number;
  readonly sleep?: (ms: number) => Promise<void>;
  readonly signal?: AbortSignal;
}

/** Bytes of a chunk. */
const CHUNK_BYTES: number = 2 * 1024 ** 2;
/** As many as Node has threads for files; more only wait for each other at the file that is written. */
const PARALLEL = 4;
const SECTOR = 512;
const SPARSE_BYTES = 4096;

/** Copies; yields the bytes of data that are done. Nothing is flushed. */
export function copyImage(options: CopyOptions): AsyncGenerator<JobProgress, void, void> {
  return runJob((report, stop) => new Copy(options, report, stop).run(), options.signal);
}

interface Chunk extends Run {
  readonly number: number;
}

class Copy {
  private readonly options: CopyOptions;
  private readonly report: Report;
  private readonly stop: Stop;
  private readonly chunkBytes: number;
  private readonly sparseBytes: number;
  private readonly granularity: number;
  private readonly runs: AsyncGenerator<Run, void, void>;
  private current: Run | undefined;
  private taking: Promise<unknown> = Promise.resolve();
  private taken = 0;
  private readonly totalBytes: number;
  private readonly clusterBytes: number;
  /** Bytes of data, and those of them that are done. */
  private total = 0;
  private done = 0;
  /** Chunks below this have been given to the target. */
  private written = 0;
  private readonly waiting = new Map<number, () => void>();
  private failed = false;
  private sent = 0;
  private readonly startMs: number = performance.now();

  constructor(options: CopyOptions, report: Report, stop: Stop) {
    this.options = options;
    this.report = report;
    this.stop = stop;
    const { target, compressed = false, sparseBytes = SPARSE_BYTES } = options;
    const cluster = target.imageInfo?.().clusterSize ?? 0;
    this.clusterBytes = cluster === 0 ? 65536 : cluster;
    this.chunkBytes = compressed ? Math.max(cluster, 65536) : Math.max(CHUNK_BYTES, cluster);
    this.sparseBytes = sparseBytes;
    this.totalBytes = options.sources.reduce((sum, { size }) => sum + size, 0);
    // A cluster that has some data costs as much as one that is full of it.
    this.granularity = Math.max(sparseBytes, target.limits.zeroAlignment);
    this.runs = this.plan();
  }

  private plan(): AsyncGenerator<Run, void, void> {
    const { sources, above, backingBytes = Number.POSITIVE_INFINITY, salvage } = this.options;
    const statusFailed = salvage && ((offset: number, error: unknown): void => salvage(offset, error, 'status'));
    return planCopy(sources, { above, backingEnd: backingBytes, salvage: statusFailed });
  }

  async run(): Promise<void> {
    for await (const { kind, bytes } of this.plan()) {
      this.stop.throwIfAborted();
      if (this.copies(kind)) this.total += bytes;
    }
    this.report(0, this.total);
    const workers = Array.from({ length: this.options.parallel ?? PARALLEL }, () => this.work());
    const results = await Promise.allSettled(workers);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  private copies(kind: Run['kind']): boolean {
    return kind === 'data' || (kind === 'zero' && this.sparseBytes === 0);
  }

  private async work(): Promise<void> {
    const buffer = new Uint8Array(this.chunkBytes);
    try {
      for (;;) {
        this.stop.throwIfAborted();
        const chunk = await this.take();
        if (chunk === undefined || this.failed) return;
        await this.copyChunk(chunk, buffer.subarray(0, chunk.bytes));
        if (!this.copies(chunk.kind)) continue;
        this.done += chunk.bytes;
        this.report(this.done, this.total);
      }
    } catch (error) {
      this.failed = true;
      for (const wake of this.waiting.values()) wake();
      throw error;
    }
  }

  /** The next chunk; one worker at a time asks. */
  private take(): Promise<Chunk | undefined> {
    const next = this.taking.then(() => this.takeNow());
    this.taking = next.catch(() => {});
    return next;
  }

  private async takeNow(): Promise<Chunk | undefined> {
    const run = await this.nextRun();
    if (run === undefined) return undefined;
    const bytes = this.options.compressed === true ? this.wholeClusters(run) : this.bytesOf(run);
    if (bytes > run.bytes) {
      const kind = (await this.widen(run, bytes)) ? 'data' : 'zero';
      return { kind, at: run.at, bytes, number: this.taken++ };
    }
    if (bytes < run.bytes) this.current = { kind: run.kind, at: run.at + bytes, bytes: run.bytes - bytes };
    return { kind: run.kind, at: run.at, bytes, number: this.taken++ };
  }

  /** What is left of the last one, or the next one that is the target's business. */
  private async nextRun(): Promise<Run | undefined> {
    for (;;) {
      const run = this.current ?? (await this.runs.next()).value;
      this.current = undefined;
      if (run === undefined) return undefined;
      if (run.kind !== 'below') return run;
      if (this.options.compressed !== true) continue;
      // The part of it that shares a cluster with what comes behind it must be read with that.
      const { at, bytes } = run;
      const shared = (at + bytes) % this.chunkBytes;
      if (shared > 0 && at + bytes < this.totalBytes)
        return { kind: 'below', at: at + bytes - Math.min(shared, bytes), bytes: Math.min(shared, bytes) };
    }
  }

  private bytesOf({ kind, bytes, at }: Run): number {
    if (kind === 'zero' && this.sparseBytes > 0) return bytes;
    // Chunks end at multiples of their size.
    return Math.min(bytes, this.chunkBytes - (at % this.chunkBytes));
  }

  /** Compressed chunks are whole clusters, data and zeroes together; zeroes alone may be many. */
  private wholeClusters({ kind, at, bytes }: Run): number {
    const one = Math.min(this.chunkBytes - (at % this.chunkBytes), this.totalBytes - at);
    if (kind !== 'zero' || bytes <= one || this.sparseBytes === 0) return one;
    const beyond = at + bytes === this.totalBytes ? 0 : (at + bytes) % this.chunkBytes;
    return bytes - beyond;
  }

  /** Takes the runs that the rest of a cluster is made of; whether any of them is data. */
  private async widen(first: Run, bytes: number): Promise<boolean> {
    let data = first.kind !== 'zero';
    for (let left = bytes - first.bytes; left > 0;) {
      const next = await this.runs.next();
      if (next.done === true) break;
      const run = next.value;
      if (run.kind !== 'zero') data = true;
      if (run.bytes > left) this.current = { kind: run.kind, at: run.at + left, bytes: run.bytes - left };
      left -= Math.min(left, run.bytes);
    }
    return data;
  }

  private async copyChunk(chunk: Chunk, buffer: Uint8Array): Promise<void> {
    const { kind, at, number } = chunk;
    const zero = kind === 'zero';
    if (zero && this.sparseBytes === 0) buffer.fill(0);
    else if (!zero) await this.read(at, buffer);
    await this.turn(number);
    if (this.failed) return;
    const writing = this.write(chunk, buffer, zero && this.sparseBytes > 0);
    this.pass(number);
    await writing;
    await this.throttle(chunk.bytes);
  }

  private async read(at: number, buffer: Uint8Array): Promise<void> {
    const { sources, salvage } = this.options;
    try {
      await readSources(sources, at, buffer);
      return;
    } catch (error) {
      if (salvage === undefined) throw requestError('reading', at, error);
    }
    for (let done = 0; done < buffer.length; done += SECTOR) {
      const sector = buffer.subarray(done, done + SECTOR);
      try {
        await readSources(sources, at + done, sector);
      } catch (error) {
        salvage(at + done, error, 'data');
        sector.fill(0);
      }
    }
  }

  /** Waits until the chunks before this one have been given to the target. */
  private turn(number: number): Promise<void> | undefined {
    if (this.options.outOfOrder === true || this.written === number || this.failed) return undefined;
    return new Promise((resolve) => this.waiting.set(number, resolve));
  }

  private pass(number: number): void {
    if (this.options.outOfOrder === true) return;
    this.written = number + 1;
    this.waiting.get(this.written)?.();
    this.waiting.delete(this.written);
  }

  private async write({ at: to, bytes }: Chunk, buffer: Uint8Array, zero: boolean): Promise<void> {
    const { target, targetIsZero, compressed = false } = this.options;
    try {
      if (zero) {
        if (!targetIsZero) await target.writeZeroes(to, bytes, { unmap: true });
      } else if (compressed && (this.sparseBytes === 0 || !targetIsZero))
        await target.write(to, [buffer], { compressed: true });
      else if (this.sparseBytes === 0) await target.write(to, [buffer]);
      else await this.writeParts(to, buffer);
    } catch (error) {
      throw requestError('writing', to, error);
    }
  }

  /** Data and zeroes apart. */
  private async writeParts(to: number, buffer: Uint8Array): Promise<void> {
    const { target, targetIsZero, compressed = false } = this.options;
    // Of compressed clusters each is there or not.
    const step = compressed ? this.clusterBytes : this.granularity;
    const pending: Promise<void>[] = [];
    for (let at = 0; at < buffer.length;) {
      const begin = at;
      const zero = isZero(buffer, at, this.stepEnd(to, at, buffer.length, step));
      do at = this.stepEnd(to, at, buffer.length, step);
      while (at < buffer.length && isZero(buffer, at, this.stepEnd(to, at, buffer.length, step)) === zero);
      if (!zero) pending.push(target.write(to + begin, [buffer.subarray(begin, at)], { compressed }));
      else if (!targetIsZero) pending.push(target.writeZeroes(to + begin, at - begin, { unmap: true }));
    }
    // All must have ended before the buffer is used again.
    for (const result of await Promise.allSettled(pending)) if (result.status === 'rejected') throw result.reason;
  }

  private stepEnd(to: number, at: number, length: number, step: number): number {
    return Math.min(length, at + step - ((to + at) % step));
  }

  private async throttle(bytes: number): Promise<void> {
    const { rateLimit = 0, sleep } = this.options;
    if (rateLimit <= 0 || sleep === undefined) return;
    this.sent += bytes;
    const due = (this.sent / rateLimit) * 1000 - (performance.now() - this.startMs);
    if (due > 0) await sleep(due);
  }
}

function requestError(what: string, offset: number, error: unknown): BlockError {
  const code = errnoOf(error);
  return new BlockError(code, `error while ${what} at byte ${offset}: ${ERRNO_TEXT[code]}`);
}
