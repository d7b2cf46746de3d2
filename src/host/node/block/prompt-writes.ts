/**
 * Small writes that are done at once: for a few pages the page cache takes a fifth of what it costs to have another thread do it and to hear
 * of it. But no file system promises not to wait (for memory, for its journal, for a server), so after a write that took long, others
 * take them for so many times as long that waiting is a small part of all time.
 */

type Pieces = readonly Uint8Array[];

/** Longer writes are worth another thread. */
const MAX_BYTES: number = 16 * 1024;
/** Writes of parts of pages would wait for the disk to read the rest. */
const PAGE_BYTES = 4096;
/** Longer than a busy processor makes them take now and then. */
const SLOW_MS = 5;
/** Waiting is at most one part in so many. */
const PAUSE_FACTOR = 20;

export class PromptWrites {
  private readonly writeSync: (offset: number, pieces: Pieces) => number;
  private readonly nowMs: () => number;
  private pausedUntilMs: number = 0;

  /** `writeSync` returns how many bytes it has written. */
  constructor(writeSync: (offset: number, pieces: Pieces) => number, nowMs: () => number) {
    this.writeSync = writeSync;
    this.nowMs = nowMs;
  }

  takes(offset: number, bytes: number): boolean {
    const whole = offset % PAGE_BYTES === 0 && bytes % PAGE_BYTES === 0;
    return whole && bytes > 0 && bytes <= MAX_BYTES && this.nowMs() >= this.pausedUntilMs;
  }

  /** How many bytes were written. Throws the platform's error. */
  write(offset: number, pieces: Pieces): number {
    const startMs = this.nowMs();
    try {
      return this.writeSync(offset, pieces);
    } finally {
      const endMs = this.nowMs();
      if (endMs - startMs >= SLOW_MS) this.pausedUntilMs = endMs + PAUSE_FACTOR * (endMs - startMs);
    }
  }
}
