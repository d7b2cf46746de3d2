/** Standard input and output as a character backend. */
import type { Disposable } from '../../../base/events.ts';
import { enterRawMode } from '../terminal.ts';
import { StreamBackend } from './host-chardev.ts';
import type { HostChardev } from './host-chardev.ts';

const CTRL_C = 0x03;

export interface StdioOptions {
  /** Called at Ctrl-C; without it the guest gets the character. */
  readonly onInterrupt?: () => void;
  /** Called when standard input ends. */
  readonly onEnd?: () => void;
  /** Called when nobody reads standard output any more. */
  readonly onBrokenPipe?: () => void;
}

export class StdioChardev extends StreamBackend implements HostChardev {
  readonly ready: Promise<void> = Promise.resolve();
  private readonly rawMode: Disposable;
  private readonly onInterrupt: (() => void) | undefined;

  constructor({ onInterrupt, onEnd, onBrokenPipe }: StdioOptions = {}) {
    super();
    this.onInterrupt = onInterrupt;
    this.rawMode = enterRawMode();
    this.connectInput(process.stdin, onEnd);
    this.connectOutput(process.stdout, () => onBrokenPipe?.());
  }

  override push(bytes: Uint8Array): void {
    if (this.onInterrupt !== undefined && process.stdin.isTTY && bytes.includes(CTRL_C)) {
      this.onInterrupt();
      super.push(bytes.filter((byte) => byte !== CTRL_C));
    } else super.push(bytes);
  }

  async close(): Promise<void> {
    this.rawMode.dispose();
    process.stdin.pause();
    process.stdin.unref?.();
    await this.flush();
  }
}
