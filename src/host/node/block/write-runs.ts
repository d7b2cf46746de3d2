/**
 * Writes that follow one behind the other become one: while one is under way, those that continue it wait and then go together. A file
 * takes buffered writes one at a time, whoever makes them; a thread of the pool for each only makes them wait for each other.
 */

type Pieces = readonly Uint8Array[];

/** Longer writes gain nothing. */
const MAX_JOINED_BYTES: number = 512 * 1024;
/** Most bytes and pieces that go together. */
const MAX_RUN_BYTES: number = 4 * 1024 ** 2;
const MAX_RUN_PIECES = 512;

interface Run {
  readonly offset: number;
  readonly pieces: Uint8Array[];
  bytes: number;
  /** Done when it is written; what waits for it is the next run of the same kind. */
  readonly written: Promise<void>;
}

export class WriteRuns {
  private readonly write: (offset: number, pieces: Pieces) => Promise<void>;
  /** By their ends: runs that are under way, and such as wait. */
  private readonly underWay: Map<number, Promise<void>> = new Map();
  private readonly waiting: Map<number, Run> = new Map();

  /** The long write that was added last, until it is done. */
  private lastLong: Promise<void> | undefined;

  constructor(write: (offset: number, pieces: Pieces) => Promise<void>) {
    this.write = write;
  }

  /** Done when these bytes are written. A failure is that of all that went together. */
  add(offset: number, pieces: Pieces, bytes: number): Promise<void> {
    if (bytes > MAX_JOINED_BYTES) return this.addLong(offset, pieces);
    const run = this.waiting.get(offset);
    if (run !== undefined && run.bytes + bytes <= MAX_RUN_BYTES && run.pieces.length + pieces.length <= MAX_RUN_PIECES)
      return this.join(run, pieces, bytes);
    const before = run?.written ?? this.underWay.get(offset);
    return before === undefined ? this.start(offset, pieces, bytes) : this.wait(before, offset, pieces, bytes);
  }

  /** Long ones gain nothing by being joined: they take their turns. */
  private addLong(offset: number, pieces: Pieces): Promise<void> {
    const begin = (): Promise<void> => this.write(offset, pieces);
    const written = (this.lastLong?.then(begin, begin) ?? begin()).finally(() => {
      if (this.lastLong === written) this.lastLong = undefined;
    });
    this.lastLong = written;
    return written;
  }

  private join(run: Run, pieces: Pieces, bytes: number): Promise<void> {
    this.waiting.delete(run.offset + run.bytes);
    run.pieces.push(...pieces);
    run.bytes += bytes;
    this.waiting.set(run.offset + run.bytes, run);
    return run.written;
  }

  /** A run that begins where one under way ends. */
  private wait(before: Promise<void>, offset: number, pieces: Pieces, bytes: number): Promise<void> {
    const begin = (): Promise<void> => {
      const end = offset + run.bytes;
      if (this.waiting.get(end) === run) this.waiting.delete(end);
      return this.start(offset, run.pieces, run.bytes);
    };
    // It is written whether the one before it was or not.
    const run: Run = { offset, pieces: [...pieces], bytes, written: before.then(begin, begin) };
    this.waiting.set(offset + bytes, run);
    return run.written;
  }

  private start(offset: number, pieces: Pieces, bytes: number): Promise<void> {
    const end = offset + bytes;
    const written = this.write(offset, pieces).finally(() => {
      if (this.underWay.get(end) === written) this.underWay.delete(end);
    });
    this.underWay.set(end, written);
    return written;
  }
}
