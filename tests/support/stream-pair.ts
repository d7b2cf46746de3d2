/** Two connected streams in memory, and a host that makes them, for protocol tests without sockets. */
import type { BlockHost, HostAddress, HostListener, HostStream } from '../../src/block/host.ts';

class PairEnd implements HostStream {
  other: PairEnd | undefined;
  private readonly pieces: Uint8Array[] = [];
  private closed: boolean = false;
  private wake: (() => void) | undefined;
  private readonly chunkBytes: number;

  constructor(chunkBytes: number) {
    this.chunkBytes = chunkBytes;
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const piece = this.pieces.shift();
      if (piece !== undefined) return piece;
      if (this.closed) return undefined;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  async write(pieces: readonly Uint8Array[]): Promise<void> {
    await Promise.resolve();
    if (this.closed) throw Object.assign(new Error('closed'), { code: 'ESHUTDOWN' });
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; at += this.chunkBytes)
        this.other?.arrive(piece.slice(at, at + this.chunkBytes));
    }
  }

  close(): void {
    this.hangUp();
    this.other?.hangUp();
  }

  private arrive(piece: Uint8Array): void {
    if (this.closed) return;
    this.pieces.push(piece);
    this.wake?.();
  }

  private hangUp(): void {
    this.closed = true;
    this.wake?.();
  }
}

/** What one end writes comes out of the other in pieces of at most `chunkBytes`. */
export function streamPair(chunkBytes: number = 65_536): readonly [HostStream, HostStream] {
  const [one, two] = [new PairEnd(chunkBytes), new PairEnd(chunkBytes)];
  [one.other, two.other] = [two, one];
  return [one, two];
}

/** `connect` reaches whoever listens last; time stands still but for `sleep`, which moves it. */
export class PairHost {
  chunkBytes: number = 65_536;
  connections: HostStream[] = [];
  private accept: ((stream: HostStream) => void) | undefined;
  private now: number = 0;

  get host(): BlockHost {
    const unused = (): never => {
      throw new Error('not for these tests');
    };
    return {
      connect: async () => {
        if (this.accept === undefined) throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
        const [near, far] = streamPair(this.chunkBytes);
        this.connections.push(far);
        this.accept(far);
        return near;
      },
      listen: async (address: HostAddress, accept): Promise<HostListener> => {
        this.accept = accept;
        return { address, close: async () => (this.accept = undefined) };
      },
      nowMs: () => this.now,
      // Timeouts of minutes never come; short waits are over at once.
      sleep: async (ms) => {
        if (ms >= 10_000) return new Promise(() => {});
        this.now += ms;
        await new Promise((resolve) => setImmediate(resolve));
      },
      randomBytes: (count) => new Uint8Array(count),
      inflateRaw: unused,
      inflateZlib: unused,
      deflateRaw: unused,
      unzstd: unused,
      zstd: unused,
    };
  }
}
