/** `orrery io`: reads, writes and otherwise exercises a disk image by commands, as qemu-io does. */
import { createInterface } from 'node:readline';
import { UserError } from '../base/errors.ts';
import { ImageError } from '../block/block-error.ts';
import { BlockGraph } from '../block/graph.ts';
import type { JsonValue } from '../block/node.ts';
import { nodeBlockHost } from '../host/node/block/host.ts';
import { BlockObjects } from './block-objects.ts';
import type { Command } from './command.ts';
import { runLine } from './io/interpreter.ts';
import { checkAio, imageOptions, openImage, unmaps } from './io/open.ts';
import { CommandFailed, errnoText, IoSession } from './io/session.ts';
import { type OptionShape, parseLongOptions, type ParsedArguments } from './nbd/getopt.ts';
import { versionLine } from './version.ts';
import { calledAs } from './called-as.ts';

const USAGE = `usage: orrery io [options] [-c COMMAND]... [FILE]

Reads and writes a disk image by commands: those of -c, else lines of standard input.

  -c, --cmd COMMAND         a command with its arguments; 'help' lists them
  -f, --format FORMAT       format of the image; without, it is told by its content
      --image-opts          FILE is a list of options: driver=qcow2,file.filename=…
      --object TYPE,id=ID,… secret, tls-creds-x509, tls-creds-psk, throttle-group
  -r, --read-only           open it for reading only
  -s, --snapshot            writes go to a temporary image, which is gone afterwards
  -U, --force-share         though others may be writing to it; with -r
  -t, --cache MODE          writethrough (default), writeback, none, directsync, unsafe
  -n, --nocache             same as --cache=none
  -d, --discard MODE        unmap (default), ignore
  -C, --copy-on-read        what is read from a backing file is written to the image
  -m, --misalign            taken for compatibility
  -k, --native-aio          taken for compatibility
  -i, --aio MODE            taken for compatibility: threads, native, io_uring
  -T, --trace PATTERN       taken for compatibility
  -h, --help                this text
  -V, --version             version
`;

const SHAPES: readonly OptionShape[] = [
  { name: 'help', short: 'h', value: false },
  { name: 'version', short: 'V', value: false },
  { name: 'cmd', short: 'c', value: true },
  { name: 'format', short: 'f', value: true },
  { name: 'read-only', short: 'r', value: false },
  { name: 'snapshot', short: 's', value: false },
  { name: 'nocache', short: 'n', value: false },
  { name: 'copy-on-read', short: 'C', value: false },
  { name: 'misalign', short: 'm', value: false },
  { name: 'native-aio', short: 'k', value: false },
  { name: 'aio', short: 'i', value: true },
  { name: 'discard', short: 'd', value: true },
  { name: 'cache', short: 't', value: true },
  { name: 'trace', short: 'T', value: true },
  { name: 'object', value: true },
  { name: 'image-opts', value: false },
  { name: 'force-share', short: 'U', value: false },
];

export const ioCommand: Command = {
  async run(args) {
    const parsed = parseLongOptions(args, SHAPES, `'${calledAs('io')} --help' tells the options`);
    const given = (name: string): boolean => parsed.options.some((option) => option.name === name);
    if (given('help')) process.stdout.write(USAGE);
    else if (given('version')) process.stdout.write(`${versionLine()}\n`);
    else return exercise(parsed);
    return 0;
  },
};

async function exercise(parsed: ParsedArguments): Promise<number> {
  const values = (name: string): string[] =>
    parsed.options.filter((option) => option.name === name).map(({ value }) => value);
  if (parsed.operands.length > 1) throw new UserError(`more than one image: '${parsed.operands[1]}'`);
  const objects = new BlockObjects(nodeBlockHost, values('object'));
  const graph = new BlockGraph(nodeBlockHost, {
    warn: (sentence) => process.stderr.write(`${sentence}\n`),
    secret: objects.secret,
    tlsCredentials: objects.tlsCredentials,
    throttleGroup: objects.throttleGroup,
  });
  const session = new IoSession(graph, values('image-opts').length > 0);
  let succeeded: boolean;
  try {
    try {
      await openOperand(session, parsed);
    } catch (error) {
      if (error instanceof CommandFailed) return 1;
      throw error;
    }
    const commands = values('cmd');
    succeeded = commands.length > 0 ? await runCommands(session, commands) : await runInput(session);
    await session.close().catch((error: unknown) => {
      for (const sentence of lossOf(error)) process.stderr.write(`${calledAs('io')}: ${sentence}\n`);
      succeeded = false;
    });
  } finally {
    session.flushOutput();
    await graph.closeAll();
  }
  return succeeded ? 0 : 1;
}

/** What an image that could not be closed properly lost: its own sentences, where it has any. */
function lossOf(error: unknown): readonly string[] {
  if (error instanceof ImageError) return error.message.split('\n');
  return [`Failed to write what was left when closing the image: ${errnoText(error)}`];
}

async function openOperand(session: IoSession, { options, operands }: ParsedArguments): Promise<void> {
  let cache = 'writethrough';
  let unmap = true;
  const node: Record<string, JsonValue> = {};
  for (const { name, value } of options) {
    if (name === 'nocache') cache = 'none';
    if (name === 'cache') cache = value;
    if (name === 'discard') unmap = unmaps(session, value);
    if (name === 'aio') checkAio(session, value);
    if (name === 'format') node['driver'] = value;
    if (name === 'copy-on-read') node['copy-on-read'] = 'on';
  }
  if (node['driver'] !== undefined && session.imageOpts) session.refuse('--image-opts and -f are mutually exclusive');
  const [operand] = operands;
  if (operand === undefined) return;
  const given = (wanted: string): boolean => options.some(({ name }) => name === wanted);
  await openImage(session, {
    filename: session.imageOpts ? undefined : operand,
    options: session.imageOpts ? { ...node, ...imageOptions(operand) } : node,
    readOnly: given('read-only'),
    temporary: given('snapshot'),
    forceShare: given('force-share'),
    cache,
    unmap,
  });
}

async function runCommands(session: IoSession, commands: readonly string[]): Promise<boolean> {
  let succeeded = true;
  for (const command of commands) {
    if (session.ended) break;
    succeeded = (await runLine(session, command)) && succeeded;
  }
  return succeeded;
}

/** Lines of standard input, each after a prompt, until there are none or one says `quit`. */
async function runInput(session: IoSession): Promise<boolean> {
  const input = createInterface({ input: process.stdin, crlfDelay: Infinity });
  let succeeded = true;
  const prompt = (): void => {
    session.print(`${calledAs('io')}> `);
    session.flushOutput();
  };
  prompt();
  for await (const line of input) {
    succeeded = (await runLine(session, line)) && succeeded;
    if (session.ended) break;
    prompt();
  }
  input.close();
  return succeeded;
}
