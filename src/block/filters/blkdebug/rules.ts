/**
 * The machine behind `blkdebug`: events bring rules into force, rules in force make requests fail, and rules may depend on a state
 * that other rules set.
 *
 * An event that brings rules into force puts those of earlier events out of it. A rule of the event `none` is in force from the
 * beginning.
 */
import type { Errno } from '../../block-error.ts';
import type { Breakpoints } from '../../node.ts';
import { EVENTS, type Fault, type IoType } from './events.ts';

export interface InjectRule {
  readonly action: 'inject';
  readonly event: string;
  /** 0: in any state. */
  readonly state: number;
  readonly ioTypes: readonly IoType[];
  /** Undefined: requests that it is for are spared other rules, and nothing more. */
  readonly error: Errno | undefined;
  /** Only requests that touch this byte. */
  readonly offset: number | undefined;
  readonly once: boolean;
  readonly fault: Fault;
  readonly delayMs: number;
  /** How many requests that it is for are let pass first. */
  passing: number;
}

export interface StateRule {
  readonly action: 'state';
  readonly event: string;
  readonly state: number;
  readonly newState: number;
}

export type Rule = InjectRule | StateRule;

interface Stop {
  readonly event: string;
  readonly tag: string;
}

interface Stopped {
  readonly tag: string;
  readonly go: () => void;
}

export class DebugRules implements Breakpoints {
  report: (sentence: string) => void = () => undefined;
  private rules: readonly Rule[];
  private active: readonly InjectRule[] = [];
  private stops: readonly Stop[] = [];
  private stopped: readonly Stopped[] = [];
  private waiting: readonly { readonly tag: string; readonly done: () => void }[] = [];
  private state = 1;

  constructor(rules: readonly Rule[]) {
    // Of rules for one request the last is asked first.
    this.rules = rules.toReversed();
    void this.event('none');
  }

  event(event: string): Promise<void> | undefined {
    const matching = this.rules.filter(
      (rule) => rule.event === event && (rule.state === 0 || rule.state === this.state),
    );
    const injected = matching.filter((rule) => rule.action === 'inject');
    if (injected.length > 0) this.active = injected.toReversed();
    const states = matching.filter((rule) => rule.action === 'state');
    this.state = states.at(-1)?.newState ?? this.state;
    const stops = this.stops.filter((stop) => stop.event === event);
    if (stops.length === 0) return undefined;
    this.stops = this.stops.filter((stop) => stop.event !== event);
    return Promise.all(stops.map(({ tag }) => this.suspend(tag))).then(() => undefined);
  }

  /** The rule that a request has come under, if any. */
  match(type: IoType, offset: number, bytes: number): InjectRule | undefined {
    const rule = this.active.find(
      ({ ioTypes, offset: at }) =>
        ioTypes.includes(type) && (at === undefined || (at >= offset && at < offset + bytes)),
    );
    if (rule === undefined) return undefined;
    if (rule.passing > 0) {
      rule.passing--;
      return undefined;
    }
    if (rule.once) {
      this.active = this.active.filter((other) => other !== rule);
      this.rules = this.rules.filter((other) => other !== rule);
    }
    return rule;
  }

  // ---- breakpoints ----

  add(event: string, tag: string): boolean {
    if (!EVENTS.has(event)) return false;
    this.stops = [{ event, tag }, ...this.stops];
    return true;
  }

  remove(tag: string): boolean {
    const known = this.stops.some((stop) => stop.tag === tag);
    this.stops = this.stops.filter((stop) => stop.tag !== tag);
    let resumed = false;
    while (this.resume(tag)) resumed = true;
    return known || resumed;
  }

  resume(tag: string): boolean {
    const found = this.stopped.find((stopped) => stopped.tag === tag);
    if (found === undefined) return false;
    this.report(`blkdebug: Resuming request '${tag}'`);
    this.stopped = this.stopped.filter((other) => other !== found);
    found.go();
    return true;
  }

  isSuspended(tag: string): boolean {
    return this.stopped.some((stopped) => stopped.tag === tag);
  }

  suspended(tag: string): Promise<void> {
    if (this.isSuspended(tag)) return Promise.resolve();
    return new Promise((done) => {
      this.waiting = [...this.waiting, { tag, done }];
    });
  }

  /** Lets all requests go on, and stops no others. */
  release(): void {
    this.stops = [];
    const { stopped } = this;
    this.stopped = [];
    for (const { go } of stopped) go();
  }

  private suspend(tag: string): Promise<void> {
    this.report(`blkdebug: Suspended request '${tag}'`);
    return new Promise((go) => {
      this.stopped = [{ tag, go }, ...this.stopped];
      for (const waiter of this.waiting) if (waiter.tag === tag) waiter.done();
      this.waiting = this.waiting.filter((waiter) => waiter.tag !== tag);
    });
  }
}
