/** The distribution's image tools as judges; tests skip with one sentence where the package is absent. */
import { spawnSync } from 'node:child_process';

const IMG = '/usr/bin/qemu-img';

/** Undefined, or why tests against the tools cannot run. */
export const toolsMissing: string | undefined =
  spawnSync(IMG, ['--version']).status === 0 ? undefined : 'the package qemu-utils is not installed';

/** Runs the image tool; what it printed, both streams. */
export function qemuImg(...words: string[]): { readonly status: number; readonly text: string } {
  const run = spawnSync(IMG, words, { encoding: 'utf8' });
  return { status: run.status ?? -1, text: run.stdout + run.stderr };
}
