/** The command line of `npm run bench`. */
import { UserError } from '../src/base/errors.ts';

/** Parts of the benchmark, in the order in which they run. */
export const PARTS = ['loop', 'boot', 'programs'] as const;
export type Part = (typeof PARTS)[number];

export interface BenchOptions {
  readonly parts: ReadonlySet<Part>;
  readonly runs: number;
  /** Where all samples go, as JSON. */
  readonly json: string | undefined;
  readonly markdown: boolean;
}

export const USAGE = `usage: npm run bench -- [--only ${PARTS.join('|')}] [--runs N] [--json FILE] [--markdown]
  --only NAME   one part; may be given several times
                  loop      guest instructions a second in a loop of integer code
                  boot      Linux to its first shell prompt: time, speed and memory
                  programs  a few guest programs
  --runs N      how often everything is measured (default 3); figures are medians
  --json FILE   writes every sample there
  --markdown    prints the tables as docs/performance.md holds them`;

/** @throws {UserError} in one sentence. */
export function parseOptions(words: readonly string[]): BenchOptions | 'help' {
  const parts = new Set<Part>();
  let runs = 3;
  let json: string | undefined;
  let markdown = false;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    const value = (): string => {
      const next = words[++i];
      if (next === undefined) throw new UserError(`${word} wants a value`);
      return next;
    };
    if (word === '--help' || word === '-h') return 'help';
    if (word === '--markdown') {
      markdown = true;
    } else if (word === '--json') {
      json = value();
    } else if (word === '--runs') {
      const text = value();
      runs = Number(text);
      if (!Number.isInteger(runs) || runs < 1) throw new UserError(`--runs ${text}: a whole number from 1 is wanted`);
    } else if (word === '--only') {
      const name = value();
      const part = PARTS.find((known) => known === name);
      if (part === undefined) throw new UserError(`--only ${name}: the parts are ${PARTS.join(', ')}`);
      parts.add(part);
    } else {
      throw new UserError(`${word}: no such option (see --help)`);
    }
  }
  return { parts: parts.size === 0 ? new Set(PARTS) : parts, runs, json, markdown };
}
