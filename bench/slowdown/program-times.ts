/** Times of the C programs by peer, and how much slower than the bare host that makes each. */
import { type Program, PROGRAMS } from '../program-list.ts';
import type { ProgramResult } from '../program-results.ts';

/** Who runs the programs inside a machine or an emulator of user programs, in the order of the table. */
export const SLOWDOWN_PEERS = ['qemu-user', 'qemu', 'v86', 'jit', 'interp'] as const;
export type SlowdownPeer = (typeof SLOWDOWN_PEERS)[number];
/** Columns of times; the bare host's programs come in two widths. */
export type Column = SlowdownPeer | 'native64' | 'native32';

export const PEER_TITLES: Readonly<Record<SlowdownPeer, string>> = {
  'qemu-user': 'QEMU user',
  qemu: 'QEMU system',
  v86: 'v86',
  jit: 'Orrery',
  interp: 'Orrery, interp',
};

interface Sampled {
  /** Of each run, the time of a round. */
  readonly nsPerRound: number[];
  readonly checksum: string;
  /** In the first run. */
  readonly rounds: number;
}

/** How far runs of the same program lie from the quickest, as fractions of it: the middle program's, and the worst. */
export interface Spread {
  readonly median: number;
  readonly most: number;
}

function middle(sorted: readonly number[]): number | undefined {
  return sorted[sorted.length >> 1];
}

export class ProgramTimes {
  private readonly samples = new Map<Column, Map<string, Sampled>>();
  /** The most rounds that any peer did, which the host does all of. */
  private readonly rounds = new Map<string, number>();
  /** What went wrong or differs between peers, in sentences. */
  readonly notes: string[] = [];

  add(column: Column, results: readonly ProgramResult[]): void {
    const byName = this.samples.get(column) ?? new Map<string, Sampled>();
    this.samples.set(column, byName);
    for (const { name, rounds, ns, checksum } of results) {
      const sampled = byName.get(name) ?? { nsPerRound: [], checksum, rounds };
      byName.set(name, sampled);
      this.rounds.set(name, Math.max(rounds, this.rounds.get(name) ?? 0));
      sampled.nsPerRound.push(ns / rounds);
      if (sampled.checksum !== checksum) this.note(`${column}: ${name} does not come to the same result twice`);
    }
  }

  note(sentence: string): void {
    if (!this.notes.includes(sentence)) this.notes.push(sentence);
  }

  /** Of each run, the time of all rounds in nanoseconds. */
  fullTimes(column: Column, name: string): number[] {
    const rounds = this.rounds.get(name) ?? 0;
    return (this.samples.get(column)?.get(name)?.nsPerRound ?? []).map((ns) => ns * rounds);
  }

  /** Which part of a program's rounds a peer ran, of the program of which it ran most. */
  share(column: Column): number {
    const shares = [...(this.samples.get(column) ?? [])].map(
      ([name, { rounds }]) => rounds / (this.rounds.get(name) ?? 1),
    );
    return Math.max(0, ...shares);
  }

  /** The least time of a round in nanoseconds. */
  least(column: Column, name: string): number | undefined {
    const sampled = this.samples.get(column)?.get(name);
    return sampled === undefined ? undefined : Math.min(...sampled.nsPerRound);
  }

  /** Which of the host's columns a peer's time of a program is held against: the same build. */
  private baseline(peer: SlowdownPeer, program: Program): Column {
    return peer === 'v86' || program.bits === 32 ? 'native32' : 'native64';
  }

  /** How many times as long as on the host. */
  slowdown(peer: SlowdownPeer, program: Program): number | undefined {
    const ours = this.least(peer, program.name);
    const host = this.least(this.baseline(peer, program), program.name);
    return ours === undefined || host === undefined ? undefined : ours / host;
  }

  /** Geometric mean of the slowdowns of the CPU set, and how many programs it is of; undefined without any. */
  mean(peer: SlowdownPeer): { readonly slowdown: number; readonly programs: number } | undefined {
    const all = PROGRAMS.filter(({ cpuSet }) => cpuSet).flatMap((program) => this.slowdown(peer, program) ?? []);
    if (all.length === 0) return undefined;
    const logarithms = all.reduce((sum, slowdown) => sum + Math.log(slowdown), 0);
    return { slowdown: Math.exp(logarithms / all.length), programs: all.length };
  }

  /** Peers that have any times, in the order of the table. */
  peers(): SlowdownPeer[] {
    return SLOWDOWN_PEERS.filter((peer) => (this.samples.get(peer)?.size ?? 0) > 0);
  }

  /** Undefined where nothing ran twice. */
  spread(column: Column): Spread | undefined {
    const spreads = [...(this.samples.get(column)?.values() ?? [])]
      .filter(({ nsPerRound }) => nsPerRound.length > 1)
      .map(({ nsPerRound }) => Math.max(...nsPerRound) / Math.min(...nsPerRound) - 1)
      .toSorted((a, b) => a - b);
    const median = middle(spreads);
    const most = spreads.at(-1);
    return median === undefined || most === undefined ? undefined : { median, most };
  }

  /** Sentences about programs whose result differs from the host's, or that some peer did not finish. */
  disagreements(): string[] {
    const sentences: string[] = [];
    for (const peer of this.peers()) {
      for (const [name, { checksum }] of this.samples.get(peer) ?? []) {
        const program = PROGRAMS.find((known) => known.name === name);
        if (program === undefined) continue;
        const host = this.samples.get(this.baseline(peer, program))?.get(name);
        if (host !== undefined && host.checksum !== checksum) {
          sentences.push(`${PEER_TITLES[peer]}: ${name} comes to ${checksum}, the host to ${host.checksum}`);
        }
      }
    }
    return sentences;
  }

  /** Every sample, for JSON: column, program, nanoseconds of a round. */
  toJSON(): Record<string, Record<string, readonly number[]>> {
    return Object.fromEntries(
      [...this.samples].map(([column, byName]) => [
        column,
        Object.fromEntries([...byName].map(([name, { nsPerRound }]) => [name, nsPerRound])),
      ]),
    );
  }
}
