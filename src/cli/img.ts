/** `orrery img`: disk images made, told about, checked, copied and changed; qemu-img's subcommands, options and output. */
import { UserError } from '../base/errors.ts';
import { BlockError } from '../block/block-error.ts';
import type { Command } from './command.ts';
import { HelpWanted, ImgFailure, usageError } from './img/arguments.ts';
import { check } from './img/check.ts';
import { compare } from './img/compare.ts';
import { convert } from './img/convert.ts';
import { create } from './img/create.ts';
import { helpText } from './img/help.ts';
import { info } from './img/info.ts';
import { map } from './img/map.ts';
import { resize } from './img/resize.ts';
import { snapshot } from './img/snapshot.ts';
import { versionLine } from './version.ts';

/** Each returns the exit status. */
const SUBCOMMANDS: Readonly<Record<string, (words: readonly string[]) => Promise<number>>> = {
  check,
  compare,
  convert,
  create,
  info,
  map,
  resize,
  snapshot,
};

async function run(args: readonly string[]): Promise<number> {
  const [name, ...words] = args;
  if (name === undefined) throw usageError('Not enough arguments');
  if (name === '--help' || name === '-h') throw new HelpWanted();
  if (name === '--version' || name === '-V') {
    process.stdout.write(`${versionLine()}\n`);
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
        process.stdout.write(helpText());
        return 0;
      }
      const ours = error instanceof UserError || error instanceof BlockError;
      if (!ours && (error as { code?: unknown }).code === undefined) throw error;
      if (error instanceof Error && error.message !== '') process.stderr.write(`orrery img: ${error.message}\n`);
      return error instanceof ImgFailure ? error.status : 1;
    }
  },
};
