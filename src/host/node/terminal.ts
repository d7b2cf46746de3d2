/**
 * This process's terminal: raw mode while a machine has it, and given back as it was on every way out, be it an exit, a signal
 * or a crash.
 */
import type { ReadStream } from 'node:tty';
import { type Disposable, toDisposable } from '../../base/events.ts';

/** Puts standard input into raw mode if it is a terminal; disposing restores it. */
export function enterRawMode(): Disposable {
  const input: ReadStream = process.stdin;
  if (!input.isTTY) return toDisposable(() => {});
  const before = input.isRaw;
  input.setRawMode(true);
  const restore = (): void => {
    input.setRawMode(before);
  };
  // A shell that stopped this process and goes on with it has set the terminal to its own liking.
  const again = (): void => {
    input.setRawMode(true);
  };
  process.on('exit', restore);
  process.on('SIGCONT', again);
  return toDisposable(() => {
    process.off('exit', restore);
    process.off('SIGCONT', again);
    restore();
  });
}

const ENDING_SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 };

/** Calls `end` with the shell's exit status (128 + signal) at the first signal that ends a process; the second one ends it hard. */
export function onEndingSignal(end: (status: number, signal: string) => void): Disposable {
  let seen = false;
  const handlers = ENDING_SIGNALS.map((signal) => {
    const status = 128 + (SIGNAL_NUMBERS[signal] ?? 0);
    const handler = (): void => {
      if (seen) process.exit(status);
      seen = true;
      end(status, signal);
    };
    process.on(signal, handler);
    return (): void => {
      process.off(signal, handler);
    };
  });
  return toDisposable(() => {
    for (const remove of handlers) remove();
  });
}
