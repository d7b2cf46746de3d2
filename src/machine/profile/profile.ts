/** A finished profile: samples with their call stacks, and the formats in which others show them. */
import type { ProfileFrame } from './call-stacks.ts';
import { flameGraphSvg } from './flame-graph.ts';
import { speedscopeJson } from './speedscope.ts';

export type { ProfileFrame };

export interface ProfileSample {
  /** What was under way: the root (`kernel`, a program), its outermost known function, …, the function that ran. */
  readonly stack: readonly ProfileFrame[];
  /** Running time that this sample stands for: of the host, or virtual time where that counts instructions. */
  readonly weightNs: number;
}

/** A function with the time in which it was the one that ran. */
export interface HotFunction {
  readonly name: string;
  /** `kernel`, or the program: `user: /bin/sh`. */
  readonly owner: string;
  readonly timeNs: number;
  /** Share of all samples' time, 0 to 1. */
  readonly share: number;
}

export class Profile {
  readonly rateHz: number;
  readonly samples: readonly ProfileSample[];
  /** Samples that were dropped because there were too many. */
  readonly lost: number;
  readonly durationNs: number;

  constructor(options: {
    readonly rateHz: number;
    readonly samples: readonly ProfileSample[];
    readonly lost?: number;
  }) {
    this.rateHz = options.rateHz;
    this.samples = options.samples;
    this.lost = options.lost ?? 0;
    this.durationNs = options.samples.reduce((sum, { weightNs }) => sum + weightNs, 0);
  }

  /** The functions that ran longest, callees not included. */
  hottest(limit: number = 20): HotFunction[] {
    const byKey = new Map<string, { name: string; owner: string; timeNs: number }>();
    for (const { stack, weightNs } of this.samples) {
      const name = stack.at(-1)?.name ?? '';
      const owner = stack[0]?.name ?? '';
      const key = `${owner}\n${name}`;
      const sum = byKey.get(key) ?? { name, owner, timeNs: 0 };
      sum.timeNs += weightNs;
      byKey.set(key, sum);
    }
    return [...byKey.values()]
      .sort((a, b) => b.timeNs - a.timeNs)
      .slice(0, limit)
      .map((one) => ({ ...one, share: this.durationNs > 0 ? one.timeNs / this.durationNs : 0 }));
  }

  /** A flame graph for any browser: width is time, callers stand below what they call, a click magnifies. */
  toFlameGraphSvg(title: string = 'Guest profile'): string {
    return flameGraphSvg(this, title);
  }

  /** The file format of https://www.speedscope.app, JSON. */
  toSpeedscope(name: string = 'guest'): string {
    return speedscopeJson(this, name);
  }

  /** One line a stack, `root;caller;function microseconds`, as flame graph tools read. */
  toFolded(): string {
    const byStack = new Map<string, number>();
    for (const { stack, weightNs } of this.samples) {
      const key = stack.map(({ name }) => name.replaceAll(';', ',')).join(';');
      byStack.set(key, (byStack.get(key) ?? 0) + weightNs);
    }
    return [...byStack]
      .map(([key, ns]) => `${key} ${Math.round(ns / 1000)}\n`)
      .sort()
      .join('');
  }
}
