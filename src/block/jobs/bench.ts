/** Many requests of one size at a time: `img bench`. */
import { BlockError } from '../block-error.ts';
import type { BlockNode } from '../node.ts';
import { type Abortable, type JobProgress, type Report, runJob, type Stop } from './job.ts';

export interface BenchOptions extends Abortable {
  readonly count: number;
  /** Requests under way at a time; more than 0. */
  readonly depth: number;
  readonly offset: number;
  /** Bytes of a request. */
  readonly size: number;
  /** Bytes from one request to the next; behind the image's end it begins again. */
  readonly step: number;
  readonly write: boolean;
  /** What is written. */
  readonly pattern: number;
  /** A flush after so many requests; 0: none. */
  readonly flushInterval: number;
  /** Nothing else is under way while a flush is. */
  readonly drain: boolean;
}

/** Yields requests that are done. */
export function benchImage(node: BlockNode, options: BenchOptions): AsyncGenerator<JobProgress, void, void> {
  return runJob((report, stop) => new Bench(node, options, report, stop).run(), options.signal);
}

class Bench {
  private readonly node: BlockNode;
  private readonly options: BenchOptions;
  private readonly report: Report;
  private readonly stop: Stop;
  private offset: number;
  private started = 0;
  private done = 0;
  /** Ends when whoever wants to send a request may. */
  private gate: Promise<void> | undefined;
  private readonly underWay = new Set<Promise<void>>();

  constructor(node: BlockNode, options: BenchOptions, report: Report, stop: Stop) {
    this.node = node;
    this.options = options;
    this.report = report;
    this.stop = stop;
    this.offset = options.offset;
  }

  async run(): Promise<void> {
    const { count, depth } = this.options;
    const workers = Array.from({ length: Math.min(count, depth) }, () => this.work());
    const results = await Promise.allSettled(workers);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  private async work(): Promise<void> {
    const { count, flushInterval, pattern, size } = this.options;
    const buffer = new Uint8Array(size).fill(pattern);
    while (this.started < count) {
      this.stop.throwIfAborted();
      if (this.gate !== undefined) {
        await this.gate;
        continue;
      }
      this.started++;
      const flushes = flushInterval > 0 && this.started % flushInterval === 0;
      const request = this.send(buffer);
      this.underWay.add(request);
      const flush = flushes ? this.flush() : undefined;
      try {
        await request;
        await flush;
      } catch (error) {
        this.started = count;
        throw error;
      } finally {
        this.underWay.delete(request);
      }
      this.done++;
      this.report(this.done, count);
    }
  }

  private send(buffer: Uint8Array): Promise<void> {
    const at = this.offset;
    this.offset = (at + this.options.step) % this.node.size;
    if (!(at + buffer.length <= this.node.size)) return Promise.reject(new BlockError('EIO'));
    return this.options.write ? this.node.write(at, [buffer]) : this.node.read(at, [buffer]);
  }

  private flush(): Promise<void> {
    if (!this.options.drain) return this.node.flush();
    const flush = Promise.allSettled([...this.underWay]).then(() => this.node.flush());
    const gate = flush.then(
      () => this.open(),
      () => this.open(),
    );
    this.gate = gate;
    return flush;
  }

  private open(): void {
    this.gate = undefined;
  }
}
