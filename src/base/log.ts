/**
 * The log behind `-d`: what happened, by category, off unless asked for. One Log a machine; no globals.
 *
 *     if (log.on.guest_errors) log.write("guest_errors", `pit: write to read-only register ${offset}`);
 */

/** Every category with the line that `-d help` shows. */
export const LOG_CATEGORIES = {
  in_asm: 'guest instructions as they are decoded',
  out_asm: 'generated code',
  op: 'translation context operations',
  int: 'interrupts and exceptions as they are delivered',
  jit: 'translations: what is translated, compiled, evicted and invalidated',
  exec: 'blocks as they are entered',
  cpu: 'CPU state before each block',
  mmu: 'page table walks and TLB changes',
  pcall: 'protected mode far transfers',
  cpu_reset: 'CPU state at reset',
  unimp: 'what the guest uses and the machine does not have',
  guest_errors: 'what the guest does that its specification forbids',
  page: 'memory slots at start',
  trace: 'trace events',
} as const;

export type LogCategory = keyof typeof LOG_CATEGORIES;

export class Log {
  /** Which categories are on; check before building a message. */
  readonly on: Record<LogCategory, boolean>;
  private readonly sink: (line: string) => void;

  constructor(sink: (line: string) => void = (): void => {}) {
    this.sink = sink;
    // INVARIANT: an entry for each key of LOG_CATEGORIES.
    this.on = Object.fromEntries(Object.keys(LOG_CATEGORIES).map((name) => [name, false])) as Record<
      LogCategory,
      boolean
    >;
  }

  /** Turns a category on or off; returns false for a name that is none. */
  set(category: string, on: boolean = true): boolean {
    if (!Object.hasOwn(LOG_CATEGORIES, category)) return false;
    // INVARIANT: tested in the line above.
    this.on[category as LogCategory] = on;
    return true;
  }

  write(category: LogCategory, line: string): void {
    if (this.on[category]) this.sink(line);
  }

  guestError(line: string): void {
    if (this.on.guest_errors) this.sink(line);
  }

  unimplemented(line: string): void {
    if (this.on.unimp) this.sink(line);
  }
}
