/**
 * Trace events: named points with arguments, declared beside the code that emits them, off unless a pattern asks.
 *
 *     const EVENTS = defineEvents({ pic_set_irq: ["irq", "level"] });
 *     const trace = tracer.attach(EVENTS);
 *     if (trace.pic_set_irq.on) trace.pic_set_irq.emit(irq, level);
 *
 * While off, a point costs the load and test of `on`.
 */
import { type Disposable, toDisposable } from '../base/events.ts';

export type TraceArgument = number | string | boolean;
export type EventDeclarations = Readonly<Record<string, readonly string[]>>;
export type TracePoints<D extends EventDeclarations> = { readonly [Name in keyof D]: TracePoint };

/** Where events go: a log, a file, a recorder. */
export interface TraceBackend {
  emit(event: string, argumentNames: readonly string[], values: readonly TraceArgument[]): void;
}

/** Only keeps the types of a declaration. */
export function defineEvents<const D extends EventDeclarations>(declarations: D): D {
  return declarations;
}

export class TracePoint {
  /** Whether anything listens. Read it before building arguments. */
  on: boolean = false;
  readonly name: string;
  readonly argumentNames: readonly string[];
  private readonly backends: readonly TraceBackend[];

  constructor(name: string, argumentNames: readonly string[], backends: readonly TraceBackend[]) {
    this.name = name;
    this.argumentNames = argumentNames;
    this.backends = backends;
  }

  emit(...values: TraceArgument[]): void {
    if (!this.on) return;
    for (const backend of this.backends) backend.emit(this.name, this.argumentNames, values);
  }
}

/** One machine's trace points. Patterns given before a device attaches hold for it too. */
export class Tracer {
  private readonly points = new Map<string, TracePoint>();
  private readonly backends: TraceBackend[] = [];
  private readonly rules: { readonly matches: RegExp; readonly on: boolean }[] = [];

  addBackend(backend: TraceBackend): Disposable {
    this.backends.push(backend);
    return toDisposable(() => this.backends.splice(this.backends.indexOf(backend), 1));
  }

  attach<D extends EventDeclarations>(declarations: D): TracePoints<D> {
    const attached: Record<string, TracePoint> = {};
    for (const [name, argumentNames] of Object.entries(declarations)) {
      let point = this.points.get(name);
      if (!point) {
        point = new TracePoint(name, argumentNames, this.backends);
        for (const rule of this.rules) if (rule.matches.test(name)) point.on = rule.on;
        this.points.set(name, point);
      }
      attached[name] = point;
    }
    // INVARIANT: the loop put a point under every key of D.
    return attached as unknown as TracePoints<D>;
  }

  /** Turns on what matches ("pic_*"), or off with a leading "-". Returns how many known events changed. */
  enable(pattern: string): number {
    const off = pattern.startsWith('-');
    const rule = { matches: globToRegExp(off ? pattern.slice(1) : pattern), on: !off };
    this.rules.push(rule);
    let changed = 0;
    for (const point of this.points.values()) {
      if (!rule.matches.test(point.name) || point.on === rule.on) continue;
      point.on = rule.on;
      changed++;
    }
    return changed;
  }

  /** Whether an event attached so far has a name that `pattern` (with or without a leading "-") matches. */
  matches(pattern: string): boolean {
    const wanted = globToRegExp(pattern.replace(/^-/, ''));
    return [...this.points.keys()].some((name) => wanted.test(name));
  }

  /** Names and states of all events attached so far. */
  list(): { name: string; argumentNames: readonly string[]; on: boolean }[] {
    return [...this.points.values()].map(({ name, argumentNames, on }) => ({ name, argumentNames, on }));
  }
}

/** The backend `log`: one line an event, numbers in hexadecimal. */
export class LogTraceBackend implements TraceBackend {
  private readonly writeLine: (line: string) => void;

  constructor(writeLine: (line: string) => void) {
    this.writeLine = writeLine;
  }

  emit(event: string, argumentNames: readonly string[], values: readonly TraceArgument[]): void {
    const parts = values.map((value, i) => {
      const text = typeof value === 'number' && value > 9 ? `0x${value.toString(16)}` : String(value);
      return ` ${argumentNames[i] ?? i}=${text}`;
    });
    this.writeLine(event + parts.join(''));
  }
}

function globToRegExp(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${source}$`);
}
