/** Messages into a connection: what several requests have to say at once goes out together. */
import type { HostStream } from '../host.ts';

export class StreamWriter {
  private readonly stream: HostStream;
  private waiting: Uint8Array[] = [];
  private nextBatch: Promise<void> | undefined;
  private last: Promise<void> = Promise.resolve();

  constructor(stream: HostStream) {
    this.stream = stream;
  }

  /** Done when the pieces may be used for something else. Their bytes stay together on the wire. */
  send(pieces: readonly Uint8Array[]): Promise<void> {
    this.waiting.push(...pieces);
    this.nextBatch ??= this.sendBatch();
    return this.nextBatch;
  }

  private async sendBatch(): Promise<void> {
    await this.last;
    const batch = this.waiting;
    this.waiting = [];
    this.nextBatch = undefined;
    // After a failure all that follows fails too.
    this.last = this.stream.write(batch);
    return this.last;
  }
}
