/**
 * One terminal for a guest's console and the monitor (`-serial mon:stdio`, `-nographic`): what is typed goes to one of the two,
 * and Ctrl-A is the escape. `x` ends the machine, `c` switches, `b` sends a break, `h` helps, Ctrl-A again sends a Ctrl-A.
 */
import type { Disposable } from '../base/events.ts';
import { QueuedChardev } from './chardev.ts';
import type { CharBackend } from './chardev.ts';

const ESCAPE = 0x01; // Ctrl-A

const HELP = `
C-a h    print this help
C-a x    exit emulator
C-a b    send break
C-a c    switch between console and monitor
C-a C-a  sends C-a
`;

/** One of the muxed ends: a chardev whose input comes only while it has the terminal. */
class MuxEnd extends QueuedChardev {
  private readonly mux: MuxChardev;

  constructor(mux: MuxChardev) {
    super();
    this.mux = mux;
  }

  write(bytes: Uint8Array): number {
    return this.mux.writeFrom(bytes);
  }

  roomAgain(): void {
    this.becameWritable();
  }
}

export class MuxChardev implements Disposable {
  private readonly terminal: CharBackend;
  private readonly ends: readonly [MuxEnd, MuxEnd] = [new MuxEnd(this), new MuxEnd(this)];
  private readonly attachment: Disposable;
  private readonly onExit: () => void;
  /** Told each time the monitor gets or loses the terminal. */
  private readonly onSwitch: (toMonitor: boolean) => void;
  private selected: 0 | 1 = 0;
  private escaped = false;

  constructor(terminal: CharBackend, onExit: () => void, onSwitch: (toMonitor: boolean) => void = (): void => {}) {
    this.terminal = terminal;
    this.onExit = onExit;
    this.onSwitch = onSwitch;
    this.attachment = terminal.attach({
      // The escape must get through to a guest that does not listen, so there is always room here.
      canReceive: () => 4096,
      receive: (bytes) => this.typed(bytes),
      event: (event) => this.ends[this.selected].sendEvent(event),
      writable: () => {
        for (const end of this.ends) end.roomAgain();
      },
    });
  }

  /** The guest's end. */
  get console(): QueuedChardev {
    return this.ends[0];
  }

  get monitor(): QueuedChardev {
    return this.ends[1];
  }

  /** Stops listening to the terminal. */
  dispose(): void {
    this.attachment.dispose();
  }

  writeFrom(bytes: Uint8Array): number {
    return this.terminal.write(bytes);
  }

  private typed(bytes: Uint8Array): void {
    let plain: number[] = [];
    const deliver = (): void => {
      if (plain.length > 0) this.ends[this.selected].push(Uint8Array.from(plain));
      plain = [];
    };
    for (const byte of bytes) {
      if (this.escaped) {
        this.escaped = false;
        if (byte === ESCAPE) plain.push(ESCAPE);
        else {
          deliver();
          this.command(String.fromCharCode(byte));
        }
      } else if (byte === ESCAPE) this.escaped = true;
      else plain.push(byte);
    }
    deliver();
  }

  private command(key: string): void {
    switch (key) {
      case 'x':
        this.onExit();
        break;
      case 'c':
        this.selected = this.selected === 0 ? 1 : 0;
        this.onSwitch(this.selected === 1);
        break;
      case 'b':
        this.ends[this.selected].sendEvent('break');
        break;
      case 'a':
        this.ends[this.selected].push(Uint8Array.of(ESCAPE));
        break;
      case 'h':
      case '?':
        this.terminal.write(new TextEncoder().encode(HELP.replaceAll('\n', '\r\n')));
        break;
    }
  }
}
