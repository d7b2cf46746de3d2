/** `open`, `close`, `quit`, `sleep`, `abort`, `sigraise`: the session itself. */
import type { JsonValue } from '../../block/node.ts';
import { type IoArguments, type IoCommand, openedImage } from './io-command.ts';
import { parseLong } from './numbers.ts';
import { cacheMode, checkAio, imageOptions, openImage, reopenImage, unmaps } from './open.ts';
import type { IoSession } from './session.ts';

/** Signals of the system have numbers up to this. */
const MAX_SIGNAL = 65;

async function open(session: IoSession, args: IoArguments): Promise<void> {
  let cache = 'writethrough';
  let unmap = true;
  const options: Record<string, JsonValue> = {};
  for (const { name, value } of args.options) {
    if (name === 'n') cache = 'none';
    if (name === 't') cache = value;
    if (name === 'd') unmap = unmaps(session, value);
    if (name === 'i') checkAio(session, value);
    if (name === 'o') {
      if (session.imageOpts) session.fail("--image-opts and 'open -o' are mutually exclusive\n");
      Object.assign(options, imageOptions(value));
    }
  }
  if (args.has('C')) options['copy-on-read'] = 'on';
  const [operand, ...others] = args.operands;
  if (others.length > 0) args.misused();
  if (session.imageOpts && operand !== undefined) Object.assign(options, imageOptions(operand));
  await openImage(session, {
    filename: session.imageOpts ? undefined : operand,
    options,
    readOnly: args.has('r'),
    temporary: args.has('s'),
    forceShare: args.has('U'),
    cache,
    unmap,
  });
}

async function reopen(session: IoSession, args: IoArguments): Promise<void> {
  const options: Record<string, JsonValue> = {};
  let readOnly: boolean | undefined;
  let cache: string | undefined;
  for (const { name, value } of args.options) {
    if (name === 'o') Object.assign(options, imageOptions(value));
    if (name === 'c') {
      cacheMode(session, value);
      cache = value;
    }
    if (name !== 'r' && name !== 'w') continue;
    if (readOnly !== undefined) session.refuse('Only one -r/-w option may be given');
    readOnly = name === 'r';
  }
  if (args.operands.length > 0) args.misused();
  await reopenImage(session, openedImage(session), { readOnly, cache, options });
}

async function sleep(session: IoSession, args: IoArguments): Promise<void> {
  const [text = ''] = args.operands;
  const ms = parseLong(text);
  if (!(ms >= 0)) session.fail(`${text} is not a valid number\n`);
  await new Promise((done) => setTimeout(done, ms));
}

async function sigraise(session: IoSession, args: IoArguments): Promise<void> {
  const [text = ''] = args.operands;
  const signal = args.bytes(text);
  if (signal > MAX_SIGNAL) session.fail(`signal argument '${text}' is too large to be a valid signal\n`);
  session.flushOutput();
  process.kill(process.pid, signal);
}

export const LIFECYCLE: readonly IoCommand[] = [
  {
    name: 'open',
    shortName: 'o',
    usage: '[-rsCnkU] [-t cache] [-d discard] [-o options] [path]',
    summary: 'open the file specified by path',
    minimum: 1,
    maximum: Infinity,
    letters: 'snCro:ki:t:d:U',
    withoutImage: true,
    run: open,
  },
  {
    name: 'reopen',
    usage: '[(-r|-w)] [-c cache] [-o options]',
    summary: 'reopens an image with new options',
    maximum: Infinity,
    letters: 'c:o:rw',
    run: reopen,
  },
  { name: 'close', shortName: 'c', summary: 'close the current open file', run: (session) => session.close() },
  {
    name: 'quit',
    shortName: 'q',
    summary: 'exit the program',
    maximum: Infinity,
    withoutImage: true,
    run: async (session) => {
      session.ended = true;
    },
  },
  {
    name: 'sleep',
    summary: 'waits for the given value in milliseconds',
    minimum: 1,
    maximum: 1,
    withoutImage: true,
    run: sleep,
  },
  {
    name: 'abort',
    summary: 'simulate a program crash using abort(3)',
    withoutImage: true,
    run: async () => {
      process.kill(process.pid, 'SIGABRT');
    },
  },
  {
    name: 'sigraise',
    usage: 'signal',
    summary: 'raises a signal',
    minimum: 1,
    maximum: 1,
    withoutImage: true,
    run: sigraise,
  },
];
