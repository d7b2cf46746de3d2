/** `flush`, `truncate`, `length`, `info`, `discard`, `alloc`, `map`: the image as a whole, and what is where in it. */
import type { BlockNode, Preallocation } from '../../block/node.ts';
import { describeSpecific } from '../img/describe-image.ts';
import { type IoArguments, type IoCommand, openedNode } from './io-command.ts';
import { reportText, sizeText } from './numbers.ts';
import { CommandFailed, errnoText, type IoSession } from './session.ts';
import { MAX_REQUEST_BYTES } from './transfer.ts';
import { checkInside, sectorsSize } from './whole-sectors.ts';

const SECTOR = 512;
const PREALLOCATIONS: readonly string[] = ['off', 'metadata', 'falloc', 'full'] satisfies Preallocation[];

async function flush(session: IoSession): Promise<void> {
  try {
    await openedNode(session).flush();
  } catch {
    // The status is all that tells of it.
    throw new CommandFailed();
  }
}

async function truncate(session: IoSession, args: IoArguments): Promise<void> {
  const mode = args.value('m') ?? 'off';
  if (!PREALLOCATIONS.includes(mode)) session.refuse(`Invalid preallocation mode '${mode}'`);
  const size = args.bytes(args.operands[0]);
  try {
    // INVARIANT: one of the words, as was looked up.
    await openedNode(session).truncate(size, { preallocation: mode as Preallocation });
  } catch (error) {
    session.refuse(error instanceof Error ? error.message : String(error));
  }
}

async function length(session: IoSession): Promise<void> {
  session.print(`${sizeText(sectorsSize(openedNode(session)))}\n`);
}

async function info(session: IoSession): Promise<void> {
  const node = openedNode(session);
  session.print(`format name: ${node.driver}\n`);
  // What is both, format and protocol, is named as both.
  if (session.graph.driver(node.driver)?.kind === 'protocol') session.print(`format name: ${node.driver}\n`);
  if (node.driver.startsWith('null-')) throw new CommandFailed();
  session.print(`cluster size: ${sizeText(node.imageInfo?.().clusterSize ?? 0)}\n`);
  session.print(`vm state offset: ${sizeText(node.vmStateOffset ?? 0)}\n`);
  const specific = node.specificInfo?.();
  if (specific !== undefined) session.print(`${describeSpecific(specific.data).join('\n')}\n`);
}

async function discard(session: IoSession, args: IoArguments): Promise<void> {
  const node = openedNode(session);
  const [offsetText, bytesText] = args.operands;
  if (args.operands.length !== 2) args.misused();
  const offset = args.bytes(offsetText);
  const bytes = args.bytes(bytesText);
  if (bytes > MAX_REQUEST_BYTES) session.fail(`length cannot exceed ${MAX_REQUEST_BYTES}, given ${bytesText}\n`);
  const start = performance.now();
  try {
    checkInside(node, offset, bytes);
    await node.discard(offset, Math.max(0, Math.min(bytes, node.size - offset)));
  } catch (error) {
    session.fail(`discard failed: ${errnoText(error)}\n`);
  }
  const elapsedMs = performance.now() - start;
  if (args.has('q')) return;
  session.print(reportText({ what: 'discard', offset, bytes, elapsedMs, commas: args.has('C') }));
}

/** The run at `offset`: whether this image, rather than its backing file, says what is there; 0 bytes at the end. */
async function allocation(
  node: BlockNode,
  offset: number,
  bytes: number,
): Promise<{ readonly allocated: boolean; readonly bytes: number }> {
  const end = sectorsSize(node);
  if (offset >= end || bytes === 0) return { allocated: false, bytes: 0 };
  const there = Math.min(bytes, node.size - offset);
  const status = await node.status(offset, there);
  const run = Math.min(status.bytes, there);
  // The rest of a last sector that the image does not fill belongs to what is before it.
  const reachesEnd = offset + run === node.size;
  return { allocated: status.allocated, bytes: reachesEnd ? Math.min(bytes, end - offset) : run };
}

async function alloc(session: IoSession, args: IoArguments): Promise<void> {
  const node = openedNode(session);
  const start = args.bytes(args.operands[0]);
  let count = args.operands[1] === undefined ? SECTOR : args.bytes(args.operands[1]);
  let [allocated, offset, left] = [0, start, count];
  while (left > 0) {
    const run = await allocation(node, offset, left).catch((error: unknown) =>
      session.fail(`is_allocated failed: ${errnoText(error)}\n`),
    );
    if (run.allocated) allocated += run.bytes;
    offset += run.bytes;
    left -= run.bytes;
    if (run.bytes === 0) {
      count -= left;
      left = 0;
    }
  }
  session.print(`${allocated}/${count} bytes allocated at offset ${sizeText(start)}\n`);
}

async function map(session: IoSession): Promise<void> {
  const node = openedNode(session);
  const end = sectorsSize(node);
  const ask = (offset: number): Promise<{ allocated: boolean; bytes: number }> =>
    allocation(node, offset, end - offset).catch((error: unknown) =>
      session.refuse(`Failed to get allocation status: ${errnoText(error)}`),
    );
  for (let offset = 0; offset < end;) {
    const first = await ask(offset);
    let { bytes } = first;
    while (offset + bytes < end) {
      const next = await ask(offset + bytes);
      if (next.allocated !== first.allocated || next.bytes === 0) break;
      bytes += next.bytes;
    }
    if (bytes === 0) session.refuse('Unexpected end of image');
    const what = first.allocated ? '    allocated' : 'not allocated';
    session.print(
      `${sizeText(bytes)} (0x${bytes.toString(16)}) bytes ${what} at offset ${sizeText(offset)} (0x${offset.toString(16)})\n`,
    );
    offset += bytes;
  }
}

export const IMAGE_COMMANDS: readonly IoCommand[] = [
  { name: 'flush', shortName: 'f', summary: 'flush all in-core file state to disk', run: flush },
  {
    name: 'truncate',
    shortName: 't',
    usage: '[-m prealloc_mode] off',
    summary: 'truncates the current file at the given offset',
    minimum: 1,
    maximum: 3,
    letters: 'm:',
    writes: true,
    run: truncate,
  },
  { name: 'length', shortName: 'l', summary: 'gets the length of the current file', run: length },
  { name: 'info', shortName: 'i', summary: 'prints information about the current file', run: info },
  {
    name: 'discard',
    shortName: 'd',
    usage: '[-Cq] off len',
    summary: 'discards a number of bytes at a specified offset',
    minimum: 2,
    maximum: Infinity,
    letters: 'Cq',
    writes: true,
    run: discard,
  },
  {
    name: 'alloc',
    shortName: 'a',
    usage: 'offset [count]',
    summary: 'checks if offset is allocated in the file',
    minimum: 1,
    maximum: 2,
    run: alloc,
  },
  { name: 'map', usage: '', summary: 'prints the allocated areas of a file', run: map },
];
