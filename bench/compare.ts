/** `npm run bench -- --compare A B`: the C programs under Orrery as it was at two commits, in turns, and how their times relate. */
import { spawnSync } from 'node:child_process';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../src/base/errors.ts';
import { buildPrograms } from './build-programs.ts';
import type { BenchOptions } from './options.ts';
import { PROGRAMS } from './program-list.ts';
import { measurePeer, programSteps } from './slowdown/measure-slowdown.ts';
import { ProgramTimes, type SlowdownPeer } from './slowdown/program-times.ts';
import { textTable } from './tables.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

function git(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('git', ['-C', ROOT, ...args], { encoding: 'utf8' });
  if (status !== 0) throw new UserError(`git ${args[0]}: ${stderr.trim().split('\n').at(-1)}`);
  return stdout.trim();
}

/** A commit's tree, built; `bundle` is what it made. */
async function tree(commit: string, folder: string): Promise<{ commit: string; folder: string; bundle: string }> {
  const hash = git('rev-parse', '--verify', '--short', `${commit}^{commit}`);
  console.error(`bench: building ${hash}`);
  git('worktree', 'add', '--detach', '--quiet', folder, hash);
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const { status } = spawnSync(process.execPath, ['scripts/build.ts'], { cwd: folder, stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new UserError(`--compare ${commit}: it cannot be built`);
  return { commit: hash, folder, bundle: join(folder, 'dist/node.js') };
}

export interface ComparedRow {
  readonly program: string;
  /** Milliseconds of all rounds, the least of each side. */
  readonly a: number;
  readonly b: number;
  /** b as a multiple of a: below 1, B is faster. */
  readonly ratio: number;
  /** How far the runs of a side lie apart, the larger of both, as a fraction. */
  readonly noise: number;
}

/** Samples of each side, of one program. */
export function compareSamples(program: string, a: readonly number[], b: readonly number[]): ComparedRow | undefined {
  if (a.length === 0 || b.length === 0) return undefined;
  const [leastA, leastB] = [Math.min(...a), Math.min(...b)];
  const noise = Math.max(Math.max(...a) / leastA, Math.max(...b) / leastB) - 1;
  return { program, a: leastA, b: leastB, ratio: leastB / leastA, noise };
}

/** Does the difference stand out of the noise? */
export function standsOut({ ratio, noise }: ComparedRow): boolean {
  return Math.max(ratio, 1 / ratio) - 1 > noise;
}

export function comparedText(rows: readonly ComparedRow[], a: string, b: string): string {
  const lines = rows.map((row) => [
    row.program,
    row.a.toFixed(1),
    row.b.toFixed(1),
    row.ratio.toFixed(3),
    `${(row.noise * 100).toFixed(1)} %`,
    standsOut(row) ? (row.ratio < 1 ? 'faster' : 'slower') : '',
  ]);
  const mean = Math.exp(rows.reduce((sum, { ratio }) => sum + Math.log(ratio), 0) / rows.length);
  return [
    ...textTable([['program', `${a} ms`, `${b} ms`, 'B/A', 'noise', ''], ...lines]),
    `geometric mean of B/A: ${mean.toFixed(3)}; noise is how far the runs of a side lie apart`,
  ].join('\n');
}

function rowsOf(peer: SlowdownPeer, names: readonly string[], a: ProgramTimes, b: ProgramTimes): ComparedRow[] {
  return programSteps(peer, names, 100).flatMap(({ name }) => {
    const title = PROGRAMS.find((program) => program.name === name)?.title ?? name;
    const ms = (times: ProgramTimes): number[] => times.fullTimes(peer, name).map((ns) => ns / 1e6);
    return compareSamples(title, ms(a), ms(b)) ?? [];
  });
}

export async function compareCommits(options: BenchOptions, folder: string): Promise<void> {
  const { compare, programs, peers } = options;
  if (compare === undefined) return;
  const built = await buildPrograms((line) => console.error(`bench: ${line}`));
  for (const sentence of built.missing) console.error(`bench: ${sentence}`);
  const folders = [join(folder, 'a'), join(folder, 'b')];
  try {
    const a = { ...(await tree(compare.a, join(folder, 'a'))), times: new ProgramTimes() };
    const b = { ...(await tree(compare.b, join(folder, 'b'))), times: new ProgramTimes() };
    for (let run = 1; run <= compare.runs; run++) {
      // Who comes first changes, so that nobody always follows the other.
      for (const side of run % 2 === 1 ? [a, b] : [b, a]) {
        for (const peer of peers) {
          console.error(`bench: run ${run} of ${compare.runs}: ${side.commit}, ${peer}`);
          await measurePeer(side.times, built, peer, { names: programs, folder, bundle: side.bundle });
        }
      }
    }
    for (const peer of peers) {
      const rows = rowsOf(peer, programs, a.times, b.times);
      console.log(`\n${peer}, least of ${compare.runs} runs`);
      console.log(rows.length === 0 ? 'nothing ran' : comparedText(rows, a.commit, b.commit));
    }
    for (const note of new Set([...a.times.notes, ...b.times.notes])) console.log(note);
  } finally {
    for (const place of folders) {
      spawnSync('git', ['-C', ROOT, 'worktree', 'remove', '--force', place], { stdio: 'ignore' });
    }
    git('worktree', 'prune');
  }
}
