/** `orrery img`: disk images made, told about, checked, copied and changed; qemu-img's subcommands, options and output. */
import { UserError } from '../base/errors.ts';
import { BlockError } from '../block/block-error.ts';
import type { Command } from './command.ts';
import { HelpWanted, ImgFailure, usageError } from './img/arguments.ts';
import { complain } from './img/complain.ts';
import { flushOutput } from './img/output.ts';

/** Each returns the exit status, and is loaded when it is wanted. */
const SUBCOMMANDS: Readonly<Record<string, (words: readonly string[]) => Promise<number>>> = {
  amend: async (words) => (await import('./img/amend.ts')).amend(words),
  bench: async (words) => (await import('./img/bench.ts')).bench(words),
  bitmap: async (words) => (await import('./img/bitmap.ts')).bitmap(words),
  check: async (words) => (await import('./img/check.ts')).check(words),
  commit: async (words) => (await import('./img/commit.ts')).commit(words),
  compare: async (words) => (await import('./img/compare.ts')).compare(words),
  convert: async (words) => (await import('./img/convert.ts')).convert(words),
  create: async (words) => (await import('./img/create.ts')).create(words),
  dd: async (words) => (await import('./img/dd.ts')).dd(words),
  info: async (words) => (await import('./img/info.ts')).info(words),
  map: async (words) => (await import('./img/map.ts')).map(words),
  measure: async (words) => (await import('./img/measure.ts')).measure(words),
  rebase: async (words) => (await import('./img/rebase.ts')).rebase(words),
  resize: async (words) => (await import('./img/resize.ts')).resize(words),
  snapshot: async (words) => (await import('./img/snapshot.ts')).snapshot(words),
};

async function run(args: readonly string[]): Promise<number> {
  const [name, ...words] = args;
  if (name === undefined) throw usageError('Not enough arguments');
  if (name === '--help' || name === '-h') throw new HelpWanted();
  if (name === '--version' || name === '-V') {
    process.stdout.write(`${(await import('./version.ts')).versionLine()}\n`);
    return 0;
  }
  if (name.startsWith('-')) throw usageError(`unrecognized option '${name}'`);
  const subcommand = Object.hasOwn(SUBCOMMANDS, name) ? SUBCOMMANDS[name] : undefined;
  if (subcommand === undefined) throw usageError(`Command not found: ${name}`);
  return subcommand(words);
}

export const imgCommand: Command = {
  async run(args) {
    try {
      return await run(args);
    } catch (error) {
      if (error instanceof HelpWanted) {
        process.stdout.write((await import('./img/help.ts')).helpText());
        return 0;
      }
      const ours = error instanceof UserError || error instanceof BlockError;
      if (!ours && (error as { code?: unknown }).code === undefined) throw error;
      if (error instanceof Error) complain(error.message);
      return error instanceof ImgFailure ? error.status : 1;
    } finally {
      flushOutput();
    }
  },
};
