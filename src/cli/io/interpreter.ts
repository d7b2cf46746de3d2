/** Lines of commands: finds each, counts its arguments, runs it. */
import { ASYNCHRONOUS } from './aio.ts';
import { BREAKPOINTS } from './breakpoints.ts';
import { IMAGE_COMMANDS } from './image-commands.ts';
import { IoArguments, type IoCommand } from './io-command.ts';
import { LIFECYCLE } from './lifecycle.ts';
import { CommandFailed, type IoSession } from './session.ts';
import { TRANSFERS } from './transfer.ts';

const HELP: IoCommand = {
  name: 'help',
  shortName: '?',
  usage: '[command]',
  summary: 'help for one or all commands',
  maximum: 1,
  withoutImage: true,
  async run(session, args) {
    const [wanted] = args.operands;
    if (wanted === undefined) {
      for (const command of COMMANDS) session.print(helpLine(command, command.name));
      session.print("\nUse 'help commandname' for extended help.\n");
      return;
    }
    const command = findCommand(wanted);
    if (command === undefined) return session.fail(`command ${wanted} not found\n`);
    session.print(helpLine(command, wanted));
  },
};

const COMMANDS: readonly IoCommand[] = [
  HELP,
  ...TRANSFERS,
  ...ASYNCHRONOUS,
  ...IMAGE_COMMANDS,
  ...BREAKPOINTS,
  ...LIFECYCLE,
].toSorted((one, other) => (one.name < other.name ? -1 : 1));

function findCommand(name: string): IoCommand | undefined {
  return COMMANDS.find((command) => command.name === name || command.shortName === name);
}

function helpLine({ usage, summary }: IoCommand, name: string): string {
  return `${name} ${usage === undefined ? '' : `${usage} `}-- ${summary}\n`;
}

/** Runs one line. False: it did not succeed. */
export async function runLine(session: IoSession, line: string): Promise<boolean> {
  const [name, ...words] = line.split(' ').filter((word) => word !== '');
  if (name === undefined) return true;
  const command = findCommand(name);
  if (command === undefined) {
    session.complain(`command "${name}" not found`);
    return false;
  }
  try {
    if (command.withoutImage !== true && session.image === undefined) {
      session.complain("no file open, try 'help open'");
      return false;
    }
    checkCount(session, command, name, words.length);
    if (command.writes === true && session.image?.node.readOnly === true) session.refuse('Block node is read-only');
    await command.run(session, new IoArguments(session, command, words));
    return true;
  } catch (error) {
    if (error instanceof CommandFailed) return false;
    throw error;
  }
}

function checkCount(session: IoSession, command: IoCommand, name: string, count: number): void {
  const { minimum = 0, maximum = 0 } = command;
  if (count >= minimum && count <= maximum) return;
  const expected =
    maximum === Infinity
      ? `at least ${minimum} arguments`
      : maximum === minimum
        ? `${minimum} arguments`
        : `between ${minimum} and ${maximum} arguments`;
  session.complain(`bad argument count ${count} to ${name}, expected ${expected}`);
  throw new CommandFailed();
}
