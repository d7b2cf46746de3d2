import { describe, expect, it } from 'vitest';
import type { CharEvent, CharFrontend } from './chardev.ts';
import { MemoryChardev } from './chardev.ts';
import { MuxChardev } from './mux.ts';

class Listener implements CharFrontend {
  text = '';
  readonly events: CharEvent[] = [];
  canReceive(): number {
    return 100;
  }
  receive(bytes: Uint8Array): void {
    this.text += String.fromCharCode(...bytes);
  }
  event(event: CharEvent): void {
    this.events.push(event);
  }
}

function build(): { terminal: MemoryChardev; console: Listener; monitor: Listener; log: string[]; mux: MuxChardev } {
  const terminal = new MemoryChardev();
  const log: string[] = [];
  const mux = new MuxChardev(
    terminal,
    () => log.push('exit'),
    (toMonitor) => log.push(toMonitor ? 'monitor' : 'console'),
  );
  const console = new Listener();
  const monitor = new Listener();
  mux.console.attach(console);
  mux.monitor.attach(monitor);
  return { terminal, console, monitor, log, mux };
}

const type = (terminal: MemoryChardev, text: string): void => terminal.push(new TextEncoder().encode(text));

describe('a muxed terminal', () => {
  it('gives what is typed to the guest', () => {
    const { terminal, console, monitor } = build();
    type(terminal, 'ls\r');
    expect(console.text).toBe('ls\r');
    expect(monitor.text).toBe('');
  });

  it('switches at Ctrl-A c and keeps the order around it', () => {
    const { terminal, console, monitor, log } = build();
    type(terminal, 'a\x01cinfo\x01cb');
    expect(console.text).toBe('ab');
    expect(monitor.text).toBe('info');
    expect(log).toEqual(['monitor', 'console']);
  });

  it('ends at Ctrl-A x, also when the key comes alone', () => {
    const { terminal, log } = build();
    type(terminal, '\x01');
    type(terminal, 'x');
    expect(log).toEqual(['exit']);
  });

  it('sends a break and a literal Ctrl-A', () => {
    const { terminal, console } = build();
    type(terminal, '\x01b\x01\x01\x01a');
    expect(console.events).toContain('break');
    expect(console.text).toBe('\x01\x01');
  });

  it('writes both ends to the terminal, and help on request', () => {
    const { terminal, mux } = build();
    mux.console.write(Uint8Array.of(65));
    mux.monitor.write(Uint8Array.of(66));
    expect(terminal.text).toBe('AB');
    type(terminal, '\x01h');
    expect(terminal.text).toContain('C-a x    exit emulator\r\n');
  });
});
