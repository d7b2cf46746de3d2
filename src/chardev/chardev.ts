/**
 * The character device contract: a backend (terminal, socket, file, pipe, memory) and the one frontend that a guest
 * device puts on it. Both directions have back pressure: the backend asks how much it may deliver, and the frontend is
 * told how much of its output was taken.
 */
import { type Disposable, toDisposable } from '../base/events.ts';

export type CharEvent = 'opened' | 'closed' | 'break';

/** The guest's side of a character device. */
export interface CharFrontend {
  /** How many bytes `receive` takes at this moment. */
  canReceive(): number;
  /** At most canReceive() bytes; the array is the caller's and is only good during the call. */
  receive(bytes: Uint8Array): void;
  event?(event: CharEvent): void;
  /** The backend takes output again, after a write that was cut short. */
  writable?(): void;
}

/** The host's side of a character device. */
export interface CharBackend {
  /** Connects the frontend; one at a time. */
  attach(frontend: CharFrontend): Disposable;
  /** Takes output of the guest; returns how many bytes, from the first, it took. The array is the caller's. */
  write(bytes: Uint8Array): number;
  /** The frontend has room again: deliver what waits. */
  acceptInput(): void;
  /** The guest holds the line in the break condition, or lets go. */
  setBreak?(active: boolean): void;
}

/** Input that waits for a frontend with room. A backend that a host pushes bytes into is built on this. */
export abstract class QueuedChardev implements CharBackend {
  private frontend: CharFrontend | undefined;
  private readonly waiting: Uint8Array[] = [];
  private delivering: boolean = false;

  abstract write(bytes: Uint8Array): number;

  attach(frontend: CharFrontend): Disposable {
    this.frontend = frontend;
    frontend.event?.('opened');
    this.acceptInput();
    return toDisposable(() => {
      if (this.frontend === frontend) this.frontend = undefined;
    });
  }

  /** Bytes for the guest, of any number; they are copied. */
  push(bytes: Uint8Array): void {
    if (bytes.length > 0) this.waiting.push(bytes.slice());
    this.acceptInput();
  }

  /** How many bytes wait for the guest: a host that reads a file stops at some number of these. */
  get pendingBytes(): number {
    return this.waiting.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  sendEvent(event: CharEvent): void {
    this.frontend?.event?.(event);
  }

  acceptInput(): void {
    // receive() may make room and call back here; the outer loop goes on by itself.
    if (this.delivering || !this.frontend) return;
    this.delivering = true;
    for (let chunk = this.waiting[0]; chunk; chunk = this.waiting[0]) {
      const count = Math.min(chunk.length, this.frontend.canReceive());
      if (count <= 0) break;
      if (count === chunk.length) this.waiting.shift();
      else this.waiting[0] = chunk.subarray(count);
      this.frontend.receive(chunk.subarray(0, count));
    }
    this.delivering = false;
  }

  protected becameWritable(): void {
    this.frontend?.writable?.();
  }
}

/** Output goes nowhere, input never comes. */
export class NullChardev extends QueuedChardev {
  write(bytes: Uint8Array): number {
    return bytes.length;
  }
}

/** Output goes to a function, input comes through push(): what an embedding program and most tests use. */
export class FunctionChardev extends QueuedChardev {
  private readonly onOutput: (bytes: Uint8Array) => void;

  /** @param onOutput gets a copy that it may keep */
  constructor(onOutput: (bytes: Uint8Array) => void) {
    super();
    this.onOutput = onOutput;
  }

  write(bytes: Uint8Array): number {
    this.onOutput(bytes.slice());
    return bytes.length;
  }
}

/** Keeps the output, up to a limit after which it takes no more until `take()`: for tests and `-chardev ringbuf`. */
export class MemoryChardev extends QueuedChardev {
  private readonly output: number[] = [];
  private readonly limitBytes: number;

  constructor(limitBytes: number = Infinity) {
    super();
    this.limitBytes = limitBytes;
  }

  write(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.limitBytes - this.output.length);
    for (const byte of bytes.subarray(0, taken)) this.output.push(byte);
    return taken;
  }

  /** The output so far as text, one character a byte. */
  get text(): string {
    return this.output.map((byte) => String.fromCharCode(byte)).join('');
  }

  /** Removes and returns the output. */
  take(): Uint8Array {
    const taken = Uint8Array.from(this.output.splice(0));
    this.becameWritable();
    return taken;
  }
}
