/** `aio_read`, `aio_write`, `aio_flush`: transfers that nobody waits for, which tell their end when it comes. */
import type { BlockNode } from '../../block/node.ts';
import { type IoArguments, type IoCommand, openedImage, openedNode } from './io-command.ts';
import { errnoText, type IoSession } from './session.ts';
import { allocatePieces, isPattern, patternOf, pieceLengths, readReport, writeReport } from './transfer.ts';
import { checkInside, readSectors } from './whole-sectors.ts';

const [READ_FILL, WRITE_FILL] = [0xab, 0xcd];

async function aioRead(session: IoSession, args: IoArguments): Promise<void> {
  const node = openedNode(session);
  const pattern = patternOf(session, args);
  if (args.has('i')) {
    session.print('injecting invalid read request\n');
    return;
  }
  const [offsetText, ...lengths] = args.operands;
  if (lengths.length === 0) args.misused();
  const offset = args.bytes(offsetText);
  const { whole: buffer, vector } = allocatePieces(pieceLengths(session, args, lengths), READ_FILL);
  const start = performance.now();
  const finish = (): void => {
    if (pattern !== undefined && !isPattern(buffer, pattern))
      session.print(`Pattern verification failed at offset ${offset}, ${buffer.length} bytes\n`);
    readReport(session, args, { offset, buffer, elapsedMs: performance.now() - start });
  };
  const failed = (error: unknown): void => session.print(`readv failed: ${errnoText(error)}\n`);
  session.start(readSectors(node, offset, vector).then(finish, failed));
}

async function aioWrite(session: IoSession, args: IoArguments): Promise<void> {
  const { node, writethrough } = openedImage(session);
  const pattern = patternOf(session, args);
  if (args.has('i')) {
    session.print('injecting invalid write request\n');
    return;
  }
  const [zeroes, unmap] = [args.has('z'), args.has('u')];
  const [offsetText, ...lengths] = args.operands;
  if (lengths.length === 0) args.misused();
  if (zeroes && lengths.length !== 1) session.fail('-z supports only a single length parameter\n');
  if (unmap && !zeroes) session.fail('-u requires -z to be specified\n');
  const offset = args.bytes(offsetText);
  const fua = args.has('f') || writethrough;
  const bytes = zeroes
    ? args.bytes(lengths[0])
    : pieceLengths(session, args, lengths).reduce((sum, each) => sum + each, 0);
  const start = performance.now();
  const finish = (): void => writeReport(session, args, { offset, bytes, elapsedMs: performance.now() - start });
  const failed = (error: unknown): void => session.print(`aio_write failed: ${errnoText(error)}\n`);
  const fill = zeroes ? undefined : (pattern ?? WRITE_FILL);
  session.start(transferOut(node, { offset, bytes, fua, unmap, fill }).then(finish, failed));
}

async function transferOut(
  node: BlockNode,
  request: {
    readonly offset: number;
    readonly bytes: number;
    readonly fua: boolean;
    readonly unmap: boolean;
    readonly fill: number | undefined;
  },
): Promise<void> {
  const { offset, bytes, fua, unmap, fill } = request;
  checkInside(node, offset, bytes);
  if (fill === undefined) await node.writeZeroes(offset, bytes, { fua, unmap });
  else await node.write(offset, allocatePieces([bytes], fill).vector, { fua });
}

export const ASYNCHRONOUS: readonly IoCommand[] = [
  {
    name: 'aio_read',
    usage: '[-Ciqv] [-P pattern] off len [len..]',
    summary: 'asynchronously reads a number of bytes',
    minimum: 2,
    maximum: Infinity,
    letters: 'CP:iqv',
    run: aioRead,
  },
  {
    name: 'aio_write',
    usage: '[-Cfiquz] [-P pattern] off len [len..]',
    summary: 'asynchronously writes a number of bytes',
    minimum: 2,
    maximum: Infinity,
    letters: 'CfiqP:uz',
    writes: true,
    run: aioWrite,
  },
  {
    name: 'aio_flush',
    summary: 'completes all outstanding aio requests',
    run: (session) => session.drain(),
  },
];
