/** `orrery img snapshot`: internal snapshots listed, made, gone back to and deleted. */
import { ERRNO_TEXT, type Errno, errnoOf } from '../../block/block-error.ts';
import type { BlockNode } from '../../block/node.ts';
import { Arguments, ImgFailure, SHAPES, usageError } from './arguments.ts';
import { describeSnapshots } from './describe-image.ts';
import { messageOf, newGraph, openImage } from './open.ts';

const { imageOpts, forceShare, quiet } = SHAPES;
const LIST = { name: 'list', short: 'l', value: false };
const APPLY = { name: 'apply', short: 'a', value: true };
const CREATE = { name: 'create', short: 'c', value: true };
const DELETE = { name: 'delete', short: 'd', value: true };
const ACTIONS = [LIST, APPLY, CREATE, DELETE];

/** Numbers of Linux for the codes that snapshots fail with. */
const NUMBERS: Partial<Record<Errno, number>> = { EPERM: 1, EIO: 5, EINVAL: 22, EFBIG: 27, ENOSPC: 28, ENOTSUP: 95 };
const MAX_NAME = 255;

export async function snapshot(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [imageOpts, forceShare, quiet, ...ACTIONS]);
  const given = args.all.filter(({ name }) => ACTIONS.some((action) => action.name === name));
  if (given.length > 1) throw usageError("Cannot mix '-l', '-a', '-c', '-d'");
  const filename = args.only('Expecting one image file name');
  const [action] = given;
  const graph = newGraph(args);
  const node = await openImage(graph, filename, {
    imageOpts: args.has(imageOpts),
    forceShare: args.has(forceShare),
    readOnly: action?.name === LIST.name,
    unmap: true,
  });
  try {
    if (action !== undefined) await act(node, action.name, action.value);
  } catch (error) {
    // What becomes of the image matters less than why.
    await graph.closeAll().catch(() => undefined);
    throw error;
  }
  await graph.closeAll();
  return 0;
}

async function act(node: BlockNode, action: string, which: string): Promise<void> {
  switch (action) {
    case LIST.name: {
      const all = node.snapshots?.list() ?? [];
      if (all.length > 0) process.stdout.write(`${describeSnapshots(all)}\n`);
      return;
    }
    case CREATE.name:
      return create(node, which.slice(0, MAX_NAME));
    case APPLY.name:
      return apply(node, which);
    case DELETE.name:
      return remove(node, which);
  }
}

async function create(node: BlockNode, name: string): Promise<void> {
  const ms = Date.now();
  try {
    if (node.snapshots === undefined) throw Object.assign(new Error(), { code: 'ENOTSUP' });
    await node.snapshots.create({
      name,
      vmStateBytes: 0,
      dateSeconds: Math.floor(ms / 1000),
      dateNs: (ms % 1000) * 1_000_000,
      vmClockNs: 0n,
      icount: 0n,
    });
    await node.flush();
  } catch (error) {
    const code = errnoOf(error);
    throw new ImgFailure(`Could not create snapshot '${name}': -${NUMBERS[code] ?? NUMBERS.EIO} (${ERRNO_TEXT[code]})`);
  }
}

async function apply(node: BlockNode, which: string): Promise<void> {
  const fail = (why: string): never => {
    throw new ImgFailure(`Could not apply snapshot '${which}': ${why}`);
  };
  if (node.snapshots === undefined) return fail('Block driver does not support snapshots');
  if ((node.bitmaps?.list() ?? []).length > 0) return fail('Device has active dirty bitmaps');
  if (!node.snapshots.list().some(({ id, name }) => id === which || name === which))
    return fail(`Failed to load snapshot: ${ERRNO_TEXT.ENOENT}`);
  await node.snapshots.apply(which).catch((error: unknown) => fail(messageOf(error)));
  await node.flush().catch((error: unknown) => fail(messageOf(error)));
}

async function remove(node: BlockNode, which: string): Promise<void> {
  const fail = (why: string): never => {
    throw new ImgFailure(`Could not delete snapshot '${which}': ${why}`);
  };
  // By name only.
  const found = node.snapshots?.list().find(({ name }) => name === which);
  if (found === undefined) return fail('snapshot not found');
  await node.snapshots?.delete(found.id).catch((error: unknown) => fail(messageOf(error)));
  await node.flush().catch((error: unknown) => fail(messageOf(error)));
}
