/** What all character backends of this host share: they come up, push input with back pressure, and close when flushed. */
import type { Readable, Writable } from 'node:stream';
import { QueuedChardev } from '../../../chardev/chardev.ts';

/** Input waiting for the guest above which the host stops reading, and below which it reads again. */
const INPUT_HIGH_BYTES = 64 * 1024;
const INPUT_LOW_BYTES = 16 * 1024;
/** Output waiting for the host above which the guest is told to wait. */
const OUTPUT_LIMIT_BYTES = 256 * 1024;

/** A backend over Node's streams; either direction may be absent, come later or go away. */
export class StreamBackend extends QueuedChardev {
  private input: Readable | undefined;
  private output: Writable | undefined;
  private paused = false;

  /** Whether there is somebody at the other end. Output without anybody is dropped, as on an open line. */
  get connected(): boolean {
    return this.output !== undefined;
  }

  /** `onEnd` hears of the input's end, also when it came by an error. */
  protected connectInput(input: Readable, onEnd: () => void = (): void => {}): void {
    this.input = input;
    input.on('data', (bytes: Uint8Array) => {
      this.push(bytes);
      if (this.pendingBytes > INPUT_HIGH_BYTES && !this.paused) {
        this.paused = true;
        input.pause();
      }
    });
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      onEnd();
    };
    input.on('end', end);
    input.on('error', end);
    input.on('close', end);
  }

  /** `onError` hears when the other side no longer takes anything. */
  protected connectOutput(output: Writable, onError: (error: Error) => void): void {
    this.output = output;
    output.on('drain', () => this.becameWritable());
    output.on('error', (error) => {
      if (this.output === output) this.output = undefined;
      onError(error);
    });
  }

  protected disconnect(): void {
    this.input = undefined;
    this.output = undefined;
    this.paused = false;
    this.becameWritable();
  }

  override acceptInput(): void {
    super.acceptInput();
    if (this.paused && this.pendingBytes < INPUT_LOW_BYTES) {
      this.paused = false;
      this.input?.resume();
    }
  }

  write(bytes: Uint8Array): number {
    if (this.output === undefined) return bytes.length;
    if (this.output.writableLength > OUTPUT_LIMIT_BYTES) return 0;
    this.output.write(bytes.slice());
    return bytes.length;
  }

  /** Resolves when all output has left. */
  protected flush(): Promise<void> {
    const output = this.output;
    if (output === undefined || output.writableLength === 0) return Promise.resolve();
    return new Promise((resolve) => {
      output.write('', () => resolve());
    });
  }
}

/** A backend that the command line opened. */
export interface HostChardev extends QueuedChardev {
  /** Resolves when the guest may start: a server that waits for its client has one. */
  readonly ready: Promise<void>;
  /** Flushes and lets go of whatever it holds. */
  close(): Promise<void>;
}
