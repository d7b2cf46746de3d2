/** Ranges that one request at a time may be at work in. */

interface Held {
  readonly from: number;
  readonly to: number;
  readonly released: Promise<void>;
}

export class RangeLocks {
  private readonly held = new Set<Held>();

  /** Runs `work` when nobody else holds any byte from `from` up to `to`. */
  async hold<T>(from: number, to: number, work: () => Promise<T>): Promise<T> {
    for (let other = this.overlapping(from, to); other !== undefined; other = this.overlapping(from, to))
      await other.released;
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const own: Held = { from, to, released };
    this.held.add(own);
    try {
      return await work();
    } finally {
      this.held.delete(own);
      release();
    }
  }

  private overlapping(from: number, to: number): Held | undefined {
    for (const other of this.held) if (other.from < to && from < other.to) return other;
    return undefined;
  }
}
