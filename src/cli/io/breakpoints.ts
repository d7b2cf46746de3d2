/** `break`, `remove_break`, `resume`, `wait_break`: requests that are stopped where a `blkdebug` node sees an event. */
import type { BlockNode, Breakpoints } from '../../block/node.ts';
import { type IoArguments, type IoCommand, openedNode } from './io-command.ts';
import type { IoSession } from './session.ts';

/** Those of the nearest node below that has any. */
function breakpointsOf(session: IoSession): Breakpoints | undefined {
  let node: BlockNode | undefined = openedNode(session);
  while (node !== undefined && node.breakpoints === undefined)
    node = node.children.find(({ role }) => role === 'file' || role === 'filtered')?.node;
  const found = node?.breakpoints;
  if (found !== undefined) found.report = (sentence) => session.print(`${sentence}\n`);
  return found;
}

async function add(session: IoSession, { operands: [event = '', tag = ''] }: IoArguments): Promise<void> {
  const breakpoints = breakpointsOf(session);
  if (breakpoints === undefined) session.fail('Could not set breakpoint: Operation not supported\n');
  if (!breakpoints.add(event, tag)) session.fail('Could not set breakpoint: No such file or directory\n');
}

async function remove(session: IoSession, { operands: [tag = ''] }: IoArguments): Promise<void> {
  const breakpoints = breakpointsOf(session);
  if (breakpoints === undefined) session.fail(`Could not remove breakpoint ${tag}: Operation not supported\n`);
  if (!breakpoints.remove(tag)) session.fail(`Could not remove breakpoint ${tag}: No such file or directory\n`);
  await session.settle();
}

async function resume(session: IoSession, { operands: [tag = ''] }: IoArguments): Promise<void> {
  const breakpoints = breakpointsOf(session);
  if (breakpoints === undefined) session.fail('Could not resume request: Operation not supported\n');
  if (!breakpoints.resume(tag)) session.fail('Could not resume request: No such file or directory\n');
  await session.settle();
}

async function wait(session: IoSession, { operands: [tag = ''] }: IoArguments): Promise<void> {
  await breakpointsOf(session)?.suspended(tag);
}

export const BREAKPOINTS: readonly IoCommand[] = [
  {
    name: 'break',
    usage: 'event tag',
    summary: 'sets a breakpoint on event and tags the stopped request as tag',
    minimum: 2,
    maximum: 2,
    run: add,
  },
  {
    name: 'remove_break',
    usage: 'tag',
    summary: 'remove a breakpoint by tag',
    minimum: 1,
    maximum: 1,
    run: remove,
  },
  {
    name: 'resume',
    usage: 'tag',
    summary: 'resumes the request tagged as tag',
    minimum: 1,
    maximum: 1,
    run: resume,
  },
  {
    name: 'wait_break',
    usage: 'tag',
    summary: 'waits for the suspension of a request',
    minimum: 1,
    maximum: 1,
    run: wait,
  },
];
