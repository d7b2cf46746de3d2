/** The command line of `npm run bench`. */
import { UserError } from '../src/base/errors.ts';
import { didYouMean } from '../src/base/nearest.ts';
import { PROGRAMS } from './program-list.ts';
import { SLOWDOWN_PEERS, type SlowdownPeer } from './slowdown/program-times.ts';

/** Parts of the benchmark, in the order in which they run. */
export const PARTS = ['slowdown', 'loop', 'boot', 'programs'] as const;
export type Part = (typeof PARTS)[number];

/** Runs unless told otherwise: what is quick may show its noise better. */
const DEFAULT_RUNS: Readonly<Record<Part, number>> = { slowdown: 2, loop: 3, boot: 3, programs: 1 };
const COMPARE_RUNS = 3;

export interface BenchOptions {
  readonly parts: ReadonlySet<Part>;
  readonly runs: Readonly<Record<Part, number>>;
  /** Peers of the part `slowdown`. */
  readonly peers: readonly SlowdownPeer[];
  /** Names of the C programs; none means all. */
  readonly programs: readonly string[];
  /** Where all samples go, as JSON. */
  readonly json: string | undefined;
  readonly markdown: boolean;
  /** Update docs/performance.md and its plot. */
  readonly write: boolean;
  /** Two commits, to be compared by the C programs instead of everything else. */
  readonly compare: { readonly a: string; readonly b: string; readonly runs: number } | undefined;
}

export const USAGE = `usage: npm run bench -- [--only ${PARTS.join('|')}] [--runs N] [--peers LIST] [--program NAME]
                        [--json FILE] [--markdown] [--write]
       npm run bench -- --compare COMMIT_A COMMIT_B [--runs N] [--peers jit,interp] [--program NAME]
  --only NAME     one part; may be given several times
                    slowdown  C programs under each peer against the bare host
                    loop      guest instructions a second in a loop of integer code
                    boot      Linux to its first shell prompt: time, speed and memory
                    programs  a few programs of BusyBox
  --runs N        how often everything is measured (default ${PARTS.map((part) => `${part} ${DEFAULT_RUNS[part]}`).join(', ')}; --compare ${COMPARE_RUNS})
  --peers LIST    peers of slowdown, of ${SLOWDOWN_PEERS.join(',')} (default: all but interp,
                  which then takes no part in programs either)
  --program NAME  only this C program; may be given several times
  --json FILE     writes every sample there
  --markdown      prints the tables as docs/performance.md holds them
  --write         puts them there, and the plot beside it
  --compare A B   the C programs under Orrery as it was at two commits, in turns`;

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new UserError(`${option} ${text}: a whole number from 1 is wanted`);
  return value;
}

function peersOf(text: string): SlowdownPeer[] {
  return text.split(',').map((name) => {
    const peer = SLOWDOWN_PEERS.find((known) => known === name);
    if (peer === undefined) throw new UserError(`--peers ${name}: the peers are ${SLOWDOWN_PEERS.join(', ')}`);
    return peer;
  });
}

/** @throws {UserError} in one sentence. */
export function parseOptions(words: readonly string[]): BenchOptions | 'help' {
  const parts = new Set<Part>();
  const programs: string[] = [];
  let peers: readonly SlowdownPeer[] | undefined;
  let runs: number | undefined;
  let json: string | undefined;
  let markdown = false;
  let write = false;
  let commits: readonly [string, string] | undefined;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    const value = (): string => {
      const next = words[++i];
      if (next === undefined) throw new UserError(`${word} wants a value`);
      return next;
    };
    switch (word) {
      case '--help':
      case '-h':
        return 'help';
      case '--markdown':
        markdown = true;
        break;
      case '--write':
        write = true;
        break;
      case '--json':
        json = value();
        break;
      case '--runs':
        runs = wholeNumber(word, value());
        break;
      case '--peers':
        peers = peersOf(value());
        break;
      case '--compare':
        commits = [value(), value()];
        break;
      case '--program': {
        const name = value();
        const known = PROGRAMS.map((program) => program.name);
        if (!known.includes(name)) throw new UserError(`--program ${name}: no such program${didYouMean(name, known)}`);
        programs.push(name);
        break;
      }
      case '--only': {
        const name = value();
        const part = PARTS.find((known) => known === name);
        if (part === undefined) throw new UserError(`--only ${name}: the parts are ${PARTS.join(', ')}`);
        parts.add(part);
        break;
      }
      default:
        throw new UserError(`${word}: no such option (see --help)`);
    }
  }
  if (commits !== undefined && (peers ?? []).some((peer) => peer !== 'jit' && peer !== 'interp')) {
    throw new UserError('--peers: two commits are compared by jit and interp only');
  }
  const [a, b] = commits ?? [];
  return {
    parts: parts.size === 0 ? new Set(PARTS) : parts,
    runs: runs === undefined ? DEFAULT_RUNS : { slowdown: runs, loop: runs, boot: runs, programs: runs },
    peers: peers ?? (commits === undefined ? SLOWDOWN_PEERS.filter((peer) => peer !== 'interp') : ['jit']),
    programs,
    json,
    markdown,
    write,
    compare: a === undefined || b === undefined ? undefined : { a, b, runs: runs ?? COMPARE_RUNS },
  };
}
