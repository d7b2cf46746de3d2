/** `orrery COMMAND …`: finds the command, runs it and ends with its status. */
import { describeError, UserError } from '../base/errors.ts';
import { didYouMean } from '../base/nearest.ts';
import type { Command } from './command.ts';
import { commandOfLink, programName } from './called-as.ts';

interface Entry {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Each command is a bundle of its own: tools for images start without the processor. */
  load(): Promise<Command>;
}

const COMMANDS: readonly Entry[] = [
  {
    name: 'run',
    summary: 'boot a small Linux: a shell, or one command',
    load: async () => (await import('./run.ts')).runCommand,
  },
  {
    name: 'system',
    summary: "run a machine described by QEMU's options",
    load: async () => (await import('./system.ts')).systemCommand,
  },
  {
    name: 'img',
    summary: 'make, examine, check, copy and change disk images',
    load: async () => (await import('./img.ts')).imgCommand,
  },
  {
    name: 'io',
    summary: 'read and write a disk image by commands',
    load: async () => (await import('./io.ts')).ioCommand,
  },
  {
    name: 'nbd',
    summary: 'serve a disk image over NBD, or list what a server has',
    load: async () => (await import('./nbd.ts')).nbdCommand,
  },
  {
    name: 'assets',
    summary: 'fetch a small Linux to run',
    load: async () => (await import('./assets.ts')).assetsCommand,
  },
];

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
      process.stdout.write(`${(await import('./version.ts')).versionLine()}\n`);
      return 0;
  }
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const names = [...COMMANDS.map((candidate) => candidate.name), 'help', 'version'];
    throw new UserError(`no command '${name}'${didYouMean(name, names) || '; orrery help lists them'}`);
  }
  return (await command.load()).run(rest);
}

/** As the shell tells that SIGPIPE ended a program. */
const OUTPUT_CLOSED_STATUS = 141;

// Who reads the output may stop (`| head`), which ends a program without a word.
process.stdout.on('error', ({ code }: NodeJS.ErrnoException) =>
  process.exit(code === 'EPIPE' ? OUTPUT_CLOSED_STATUS : 1),
);

let status: number;
try {
  const linked = commandOfLink();
  status = await main([...(linked === undefined ? [] : [linked]), ...process.argv.slice(2)]);
} catch (error) {
  status = 1;
  const bug = !(error instanceof UserError);
  process.stderr.write(`${programName()}: ${describeError(error)}\n`);
  // A defect of ours comes with what helps to find it.
  if (bug && error instanceof Error) {
    const state = 'state' in error ? `${JSON.stringify(error.state, undefined, 2)}\n` : '';
    process.stderr.write(`${error.stack ?? ''}\n${state}`);
  }
}
// Output to a pipe may still be on its way; nothing else may keep the process.
process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
