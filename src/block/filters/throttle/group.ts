/** Nodes that share limits. Requests of one direction go in the order in which they came, whichever node they came to. */
import type { BlockHost } from '../../host.ts';
import { LeakyBucket } from './leaky-bucket.ts';
import { BUCKETS, type BucketName, type ThrottleLimits, throttleLimits } from './limits.ts';

/** Clocks of hosts are in milliseconds: waits are rounded up to them. */
const MS = 1000;

export type Direction = 'read' | 'write';

export class ThrottleGroup {
  private readonly host: BlockHost;
  private limits: ThrottleLimits;
  private buckets: Readonly<Record<BucketName, LeakyBucket>>;
  private leakedMs: number;
  private readonly last: Record<Direction, Promise<void>> = { read: Promise.resolve(), write: Promise.resolve() };
  private readonly queued: Record<Direction, number> = { read: 0, write: 0 };

  constructor(host: BlockHost, given: Readonly<Record<string, number>>) {
    this.host = host;
    this.limits = throttleLimits(given);
    this.buckets = bucketsOf(this.limits);
    this.leakedMs = host.nowMs();
  }

  /** Other limits from now on. */
  set(given: Readonly<Record<string, number>>): void {
    this.limits = throttleLimits(given);
    this.buckets = bucketsOf(this.limits);
    this.leakedMs = this.host.nowMs();
  }

  /** Until a request of `bytes` may go. Undefined: it may go now. */
  admit(direction: Direction, bytes: number): Promise<void> | undefined {
    if (this.queued[direction] === 0 && this.waitMs(direction) === 0) {
      this.use(direction, bytes);
      return undefined;
    }
    this.queued[direction]++;
    const turn = this.last[direction].then(async () => {
      for (let ms = this.waitMs(direction); ms > 0; ms = this.waitMs(direction)) await this.host.sleep(ms);
      this.use(direction, bytes);
      this.queued[direction]--;
    });
    this.last[direction] = turn;
    return turn;
  }

  private concerned(direction: Direction): readonly LeakyBucket[] {
    const { buckets } = this;
    return [buckets['bps-total'], buckets[`bps-${direction}`], buckets['iops-total'], buckets[`iops-${direction}`]];
  }

  private waitMs(direction: Direction): number {
    const now = this.host.nowMs();
    const seconds = Math.max(0, now - this.leakedMs) / MS;
    this.leakedMs = now;
    for (const name of BUCKETS) this.buckets[name].leak(seconds);
    return Math.ceil(Math.max(...this.concerned(direction).map((bucket) => bucket.wait())) * MS);
  }

  private use(direction: Direction, bytes: number): void {
    const { buckets } = this;
    const { iopsSize } = this.limits;
    const operations = iopsSize > 0 && bytes > iopsSize ? bytes / iopsSize : 1;
    buckets['bps-total'].add(bytes);
    buckets[`bps-${direction}`].add(bytes);
    buckets['iops-total'].add(operations);
    buckets[`iops-${direction}`].add(operations);
  }
}

function bucketsOf({ buckets }: ThrottleLimits): Readonly<Record<BucketName, LeakyBucket>> {
  return {
    'bps-total': new LeakyBucket(buckets['bps-total']),
    'bps-read': new LeakyBucket(buckets['bps-read']),
    'bps-write': new LeakyBucket(buckets['bps-write']),
    'iops-total': new LeakyBucket(buckets['iops-total']),
    'iops-read': new LeakyBucket(buckets['iops-read']),
    'iops-write': new LeakyBucket(buckets['iops-write']),
  };
}
