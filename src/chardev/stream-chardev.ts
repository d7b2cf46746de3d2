/** A character device as a pair of web streams: what a program that embeds a machine reads and writes. */
import { QueuedChardev } from './chardev.ts';

/** The guest is held back when this much output waits to be read. */
const OUTPUT_LIMIT_BYTES = 1 << 20;
const INPUT_LIMIT_BYTES = 1 << 16;

/**
 * `readable` carries what the guest sends, `writable` what it receives. Output that nobody reads is dropped, oldest first,
 * beyond OUTPUT_LIMIT_BYTES: a guest must not stall because its console is not looked at.
 */
export class StreamChardev extends QueuedChardev {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  private readonly output: Uint8Array[] = [];
  private outputBytes = 0;
  private wanted: ReadableStreamDefaultController<Uint8Array> | undefined;
  private ended = false;
  private readonly listeners: Set<(bytes: Uint8Array) => void> = new Set();
  private roomWanted: (() => void) | undefined;

  constructor() {
    super();
    this.readable = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => {
          this.wanted = controller;
          this.deliver();
        },
      },
      { highWaterMark: 0 },
    );
    this.writable = new WritableStream<Uint8Array>({
      write: (chunk) => {
        this.push(chunk);
        if (this.pendingBytes <= INPUT_LIMIT_BYTES) return undefined;
        return new Promise<void>((resolve) => {
          this.roomWanted = resolve;
        });
      },
    });
  }

  write(bytes: Uint8Array): number {
    const copy = bytes.slice();
    for (const listener of this.listeners) listener(copy);
    this.output.push(copy);
    this.outputBytes += copy.length;
    while (this.outputBytes > OUTPUT_LIMIT_BYTES) this.outputBytes -= this.output.shift()?.length ?? 0;
    this.deliver();
    return bytes.length;
  }

  override acceptInput(): void {
    super.acceptInput();
    if (this.pendingBytes > INPUT_LIMIT_BYTES) return;
    this.roomWanted?.();
    this.roomWanted = undefined;
  }

  /** Calls `listener` with every piece of output as it comes, beside the stream. Gives the function that ends it. */
  onOutput(listener: (bytes: Uint8Array) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** No more output: `readable` ends once what waits is read. */
  end(): void {
    this.ended = true;
    this.deliver();
  }

  private deliver(): void {
    const controller = this.wanted;
    if (controller === undefined) return;
    const chunk = this.output.shift();
    if (chunk !== undefined) {
      this.outputBytes -= chunk.length;
      this.wanted = undefined;
      controller.enqueue(chunk);
    } else if (this.ended) {
      this.wanted = undefined;
      controller.close();
    }
  }
}
