/** `read`, `write`, `readv`, `writev`: transfers that are waited for. */
import { readFileSync } from 'node:fs';
import { BlockError } from '../../block/block-error.ts';
import type { IoVector } from '../../block/io-vector.ts';
import { type IoArguments, type IoCommand, openedImage, openedNode } from './io-command.ts';
import { dumpText, parsePattern, reportText } from './numbers.ts';
import { errnoText, type IoSession } from './session.ts';
import { checkInside, readSectors } from './whole-sectors.ts';

/** Most bytes of one request: whole sectors below 2^31. */
export const MAX_REQUEST_BYTES = 0x7ffffe00;
const SECTOR = 512;
/** What memory is filled with that is to be read into, and to be written from. */
const [READ_FILL, WRITE_FILL] = [0xab, 0xcd];

export function patternOf(session: IoSession, args: IoArguments): number | undefined {
  const text = args.value('P');
  if (text === undefined) return undefined;
  const pattern = parsePattern(text);
  return typeof pattern === 'string' ? session.fail(pattern) : pattern;
}

/** The lengths of a vectored request. */
export function pieceLengths(session: IoSession, args: IoArguments, texts: readonly string[]): number[] {
  let sum = 0;
  return texts.map((text) => {
    const bytes = args.bytes(text);
    if (bytes > MAX_REQUEST_BYTES)
      return session.fail(`Argument '${text}' exceeds maximum size ${MAX_REQUEST_BYTES}\n`);
    sum += bytes;
    if (sum > MAX_REQUEST_BYTES)
      return session.fail(`The total number of bytes exceed the maximum size ${MAX_REQUEST_BYTES}\n`);
    return bytes;
  });
}

export interface Pieces {
  readonly whole: Uint8Array;
  readonly vector: IoVector;
}

/** One piece of memory, and views of it of the given lengths. */
export function allocatePieces(lengths: readonly number[], fill: number): Pieces {
  const whole = new Uint8Array(lengths.reduce((sum, bytes) => sum + bytes, 0)).fill(fill);
  let at = 0;
  const vector = lengths.map((bytes) => whole.subarray(at, (at += bytes)));
  return { whole, vector };
}

function checkAligned(session: IoSession, value: number, name: string): void {
  if (value % SECTOR !== 0) session.fail(`${value} is not a sector-aligned value for '${name}'\n`);
}

/** Does the transfer; says which failed, and why. */
async function timed(session: IoSession, name: string, transfer: () => Promise<void>): Promise<number> {
  const start = performance.now();
  try {
    await transfer();
  } catch (error) {
    session.fail(`${name} failed: ${errnoText(error)}\n`);
  }
  return performance.now() - start;
}

/** Whether all bytes are `pattern`. */
export function isPattern(bytes: Uint8Array, pattern: number): boolean {
  const { length } = bytes;
  for (let at = 0; at < length; at++) if (bytes[at] !== pattern) return false;
  return true;
}

export function readReport(
  session: IoSession,
  args: IoArguments,
  request: { readonly offset: number; readonly buffer: Uint8Array; readonly elapsedMs: number },
): void {
  if (args.has('q')) return;
  const { offset, buffer, elapsedMs } = request;
  if (args.has('v')) session.print(dumpText(buffer, offset));
  session.print(reportText({ what: 'read', offset, bytes: buffer.length, elapsedMs, commas: args.has('C') }));
}

export function writeReport(
  session: IoSession,
  args: IoArguments,
  request: { readonly offset: number; readonly bytes: number; readonly elapsedMs: number },
): void {
  if (!args.has('q')) session.print(reportText({ what: 'wrote', ...request, commas: args.has('C') }));
}

async function read(session: IoSession, args: IoArguments): Promise<void> {
  const node = openedNode(session);
  const [length, start] = [args.value('l'), args.value('s')];
  const patternBytes = length === undefined ? undefined : args.bytes(length);
  const patternStart = start === undefined ? 0 : args.bytes(start);
  const pattern = patternOf(session, args);
  const [offsetText, bytesText] = args.operands;
  if (args.operands.length !== 2) args.misused();
  const offset = args.bytes(offsetText);
  const bytes = args.bytes(bytesText);
  if (bytes > MAX_REQUEST_BYTES) session.fail(`length cannot exceed ${MAX_REQUEST_BYTES}, given ${bytesText}\n`);
  if (pattern === undefined && (length !== undefined || start !== undefined)) args.misused();
  const compared = patternBytes ?? bytes - patternStart;
  if (compared < 0 || compared + patternStart > bytes)
    session.fail('pattern verification range exceeds end of read data\n');
  const vmState = args.has('b');
  if (vmState) {
    checkAligned(session, offset, 'offset');
    checkAligned(session, bytes, 'count');
  }
  const { whole: buffer, vector } = allocatePieces([bytes], READ_FILL);
  const elapsedMs = await timed(session, 'read', async () => {
    if (!vmState) return readSectors(node, offset, vector);
    if (node.readVmState === undefined) throw new BlockError('ENOTSUP');
    return node.readVmState(offset, vector);
  });
  const wrong = pattern !== undefined && !isPattern(buffer.subarray(patternStart, patternStart + compared), pattern);
  if (wrong) {
    session.print(`Pattern verification failed at offset ${offset + patternStart}, ${compared} bytes\n`);
  }
  readReport(session, args, { offset, buffer, elapsedMs });
  if (wrong) session.fail('');
}

async function readv(session: IoSession, args: IoArguments): Promise<void> {
  const node = openedNode(session);
  const pattern = patternOf(session, args);
  const [offsetText, ...lengths] = args.operands;
  if (lengths.length === 0) args.misused();
  const offset = args.bytes(offsetText);
  const { whole: buffer, vector } = allocatePieces(pieceLengths(session, args, lengths), READ_FILL);
  const elapsedMs = await timed(session, 'readv', () => readSectors(node, offset, vector));
  const wrong = pattern !== undefined && !isPattern(buffer, pattern);
  if (wrong) session.print(`Pattern verification failed at offset ${offset}, ${buffer.length} bytes\n`);
  readReport(session, args, { offset, buffer, elapsedMs });
  if (wrong) session.fail('');
}

/** The bytes of a file, over and over. */
function bytesOfFile(session: IoSession, filename: string, bytes: number): Uint8Array {
  let content: Uint8Array;
  try {
    content = readFileSync(filename).subarray(0, bytes);
  } catch (error) {
    session.complain(`${filename}: ${errnoText(error)}`);
    return session.fail('');
  }
  if (content.length === 0) {
    session.complain(`${filename}: file is empty`);
    session.fail('');
  }
  const buffer = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += content.length) buffer.set(content.subarray(0, bytes - at), at);
  return buffer;
}

async function write(session: IoSession, args: IoArguments): Promise<void> {
  const { node, writethrough } = openedImage(session);
  const [vmState, compressed, zeroes] = [args.has('b'), args.has('c'), args.has('z')];
  const [fua, noFallback, unmap] = [args.has('f'), args.has('n'), args.has('u')];
  const pattern = patternOf(session, args);
  const source = args.value('s');
  const [offsetText, bytesText] = args.operands;
  if (args.operands.length !== 2) args.misused();
  if (vmState && zeroes) session.fail('-b and -z cannot be specified at the same time\n');
  if (fua && (vmState || compressed)) session.fail('-f and -b or -c cannot be specified at the same time\n');
  if (noFallback && !zeroes) session.fail('-n requires -z to be specified\n');
  if (unmap && !zeroes) session.fail('-u requires -z to be specified\n');
  if (Number(zeroes) + Number(pattern !== undefined) + Number(source !== undefined) > 1)
    session.fail('Only one of -z, -P, and -s can be specified at the same time\n');
  const offset = args.bytes(offsetText);
  const bytes = args.bytes(bytesText);
  if (bytes > MAX_REQUEST_BYTES && !noFallback)
    session.fail(`length cannot exceed ${MAX_REQUEST_BYTES} without -n, given ${bytesText}\n`);
  if (vmState || compressed) {
    checkAligned(session, offset, 'offset');
    checkAligned(session, bytes, 'count');
  }
  const stable = fua || writethrough;
  const buffer = zeroes
    ? undefined
    : source === undefined
      ? allocatePieces([bytes], pattern ?? WRITE_FILL).whole
      : bytesOfFile(session, source, bytes);
  const elapsedMs = await timed(session, 'write', async () => {
    if (!vmState) checkInside(node, offset, bytes);
    if (buffer === undefined) return node.writeZeroes(offset, bytes, { fua: stable, noFallback, unmap });
    if (!vmState) return node.write(offset, [buffer], { fua: stable, compressed });
    if (node.writeVmState === undefined) throw new BlockError('ENOTSUP');
    await node.writeVmState(offset, [buffer]);
    if (stable) await node.flush();
  });
  writeReport(session, args, { offset, bytes, elapsedMs });
}

async function writev(session: IoSession, args: IoArguments): Promise<void> {
  const { node, writethrough } = openedImage(session);
  const pattern = patternOf(session, args) ?? WRITE_FILL;
  const [offsetText, ...lengths] = args.operands;
  if (lengths.length === 0) args.misused();
  const offset = args.bytes(offsetText);
  const { whole, vector } = allocatePieces(pieceLengths(session, args, lengths), pattern);
  const fua = args.has('f') || writethrough;
  const elapsedMs = await timed(session, 'writev', async () => {
    checkInside(node, offset, whole.length);
    await node.write(offset, vector, { fua });
  });
  writeReport(session, args, { offset, bytes: whole.length, elapsedMs });
}

export const TRANSFERS: readonly IoCommand[] = [
  {
    name: 'read',
    shortName: 'r',
    usage: '[-abCqv] [-P pattern [-s off] [-l len]] off len',
    summary: 'reads a number of bytes at a specified offset',
    minimum: 2,
    maximum: Infinity,
    letters: 'bCl:pP:qs:v',
    run: read,
  },
  {
    name: 'readv',
    usage: '[-Cqv] [-P pattern] off len [len..]',
    summary: 'reads a number of bytes at a specified offset',
    minimum: 2,
    maximum: Infinity,
    letters: 'CP:qv',
    run: readv,
  },
  {
    name: 'write',
    shortName: 'w',
    usage: '[-bcCfnquz] [-P pattern | -s source_file] off len',
    summary: 'writes a number of bytes at a specified offset',
    minimum: 2,
    maximum: Infinity,
    letters: 'bcCfnpP:qs:uz',
    writes: true,
    run: write,
  },
  {
    name: 'writev',
    usage: '[-Cfq] [-P pattern] off len [len..]',
    summary: 'writes a number of bytes at a specified offset',
    minimum: 2,
    maximum: Infinity,
    letters: 'CfqP:',
    writes: true,
    run: writev,
  },
];
