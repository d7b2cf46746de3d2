/** `orrery COMMAND …`: finds the command, runs it and ends with its status. */
import { describeError, UserError } from '../base/errors.ts';
import { didYouMean } from '../base/nearest.ts';
import { assetsCommand } from './assets.ts';
import type { Command } from './command.ts';
import { ioCommand } from './io.ts';
import { nbdCommand } from './nbd.ts';
import { runCommand } from './run.ts';
import { systemCommand } from './system.ts';
import { versionLine } from './version.ts';

const COMMANDS: readonly Command[] = [runCommand, systemCommand, ioCommand, nbdCommand, assetsCommand];

function usage(): string {
  const rows = COMMANDS.map(({ name, summary }) => `  ${name.padEnd(10)}${summary}`).join('\n');
  return `usage: orrery COMMAND [options]\n\n${rows}\n\n'orrery COMMAND --help' tells a command's options; 'orrery --version' the version.\n`;
}

async function main(args: readonly string[]): Promise<number> {
  const [name = '', ...rest] = args;
  switch (name) {
    case '':
      process.stderr.write(usage());
      return 1;
    case 'help':
    case '--help':
    case '-h':
      process.stdout.write(usage());
      return 0;
    case 'version':
    case '--version':
    case '-version':
      process.stdout.write(`${versionLine()}\n`);
      return 0;
  }
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const names = [...COMMANDS.map((candidate) => candidate.name), 'help', 'version'];
    throw new UserError(`no command '${name}'${didYouMean(name, names) || '; orrery help lists them'}`);
  }
  return command.run(rest);
}

let status: number;
try {
  status = await main(process.argv.slice(2));
} catch (error) {
  status = 1;
  const bug = !(error instanceof UserError);
  process.stderr.write(`orrery: ${describeError(error)}\n`);
  // A defect of ours comes with what helps to find it.
  if (bug && error instanceof Error) {
    const state = 'state' in error ? `${JSON.stringify(error.state, undefined, 2)}\n` : '';
    process.stderr.write(`${error.stack ?? ''}\n${state}`);
  }
}
// Output to a pipe may still be on its way; nothing else may keep the process.
process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
