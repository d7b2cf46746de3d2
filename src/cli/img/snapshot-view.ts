/** `-l`: an internal snapshot as the image. */
import type { BlockNode } from '../../block/node.ts';
import { parseOptionList } from '../system/option-text.ts';
import { ImgFailure } from './arguments.ts';
import { calledAs } from '../called-as.ts';
import { messageOf } from './open.ts';

/** Refuses options of `-l` that there are not. */
export function checkSnapshotName(text: string): void {
  if (!text.startsWith('snapshot.')) return;
  for (const name of Object.keys(parseOptionList('l', text).properties)) {
    if (name !== 'snapshot.id' && name !== 'snapshot.name')
      throw new ImgFailure(
        `Invalid parameter '${name}'\n${calledAs('img')}: Failed in parsing snapshot param '${text}'`,
      );
  }
}

/** `text`: an id or a name, or `snapshot.id=ID,snapshot.name=NAME`. */
export async function snapshotOf(node: BlockNode, text: string): Promise<BlockNode> {
  const fail = (why: string): never => {
    throw new ImgFailure(`Failed to load snapshot: ${why}`);
  };
  const { snapshots } = node;
  if (snapshots === undefined) {
    return fail(
      `Block format '${node.driver}' used by device '' does not support temporarily loading internal snapshots`,
    );
  }
  const named = text.startsWith('snapshot.') ? parseOptionList('l', text).properties : undefined;
  const { 'snapshot.id': id, 'snapshot.name': name } = named ?? {};
  const found = snapshots
    .list()
    .find((snapshot) =>
      named === undefined
        ? snapshot.id === text || snapshot.name === text
        : (id === undefined || snapshot.id === id) && (name === undefined || snapshot.name === name),
    );
  if (found === undefined) return fail(`Can't find snapshot`);
  return snapshots.open(found.id).catch((error: unknown) => fail(messageOf(error)));
}
