/**
 * A leaky bucket with bursts: what is used fills it, time empties it at the average rate, and while it is too full everybody waits. A
 * second one, emptied at the burst rate, bounds how fast a long burst may be.
 */
import type { BucketLimits } from './limits.ts';

/** What may be used at once, as a part of a second's worth. */
const SLACK = 0.1;

export class LeakyBucket {
  private readonly limits: BucketLimits;
  private level = 0;
  private burstLevel = 0;

  constructor(limits: BucketLimits) {
    this.limits = limits;
  }

  get limited(): boolean {
    return this.limits.average > 0;
  }

  add(units: number): void {
    this.level += units;
    this.burstLevel += units;
  }

  leak(seconds: number): void {
    this.level = Math.max(0, this.level - this.limits.average * seconds);
    this.burstLevel = Math.max(0, this.burstLevel - this.limits.burst * seconds);
  }

  /** Seconds until something may be used again; 0: now. */
  wait(): number {
    const { average, burst, burstSeconds } = this.limits;
    if (average === 0) return 0;
    const room = burst === 0 ? average * SLACK : burst * burstSeconds;
    if (this.level > room) return (this.level - room) / average;
    if (burstSeconds > 1 && this.burstLevel > burst * SLACK) return (this.burstLevel - burst * SLACK) / burst;
    return 0;
  }
}
