/** One after the other: asynchronous work that must not overlap. */
export class Mutex {
  private tail: Promise<unknown> = Promise.resolve();

  /** Runs `work` when everything asked for before is done; a failure is the caller's alone. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.tail.then(work, work);
    this.tail = turn.catch(() => undefined);
    return turn;
  }
}

/** Mutexes by number: work on the same number does not overlap, on different ones it does. */
export class KeyedMutex {
  private readonly tails = new Map<number, Promise<unknown>>();

  async run<T>(key: number, work: () => Promise<T>): Promise<T> {
    const turn = (this.tails.get(key) ?? Promise.resolve()).then(work);
    const settled = turn.catch(() => undefined);
    this.tails.set(key, settled);
    try {
      return await turn;
    } finally {
      if (this.tails.get(key) === settled) this.tails.delete(key);
    }
  }
}
