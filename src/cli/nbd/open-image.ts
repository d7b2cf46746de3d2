/** A node that `orrery nbd` exports: an image, an internal snapshot of it, or a temporary image over it. */
import { UserError } from '../../base/errors.ts';
import type { BlockGraph, OpenFlags } from '../../block/graph.ts';
import type { BlockNode } from '../../block/node.ts';
import { parseOptionList } from '../system/option-text.ts';
import { warnOfGuessedRaw } from '../guessed-raw.ts';
import { overlayOn } from '../temporary-overlay.ts';
import type { NbdRequest } from './request.ts';

export async function openImage(graph: BlockGraph, file: string, request: NbdRequest): Promise<BlockNode> {
  const { format, cache, discard, temporaryOverlay, loadSnapshot } = request;
  const flags: OpenFlags = {
    ...(format !== undefined && { format }),
    readOnly: request.readOnly || temporaryOverlay,
    direct: cache === 'none' || cache === 'directsync',
    noFlush: cache === 'unsafe',
    unmap: discard,
  };
  const node = await graph.open(request.imageOpts ? imageOptions(file) : file, flags).catch((error: unknown) => {
    throw new UserError(`Failed to blk_new_open '${file}': ${error instanceof Error ? error.message : String(error)}`);
  });
  if (format === undefined && !request.imageOpts) warnOfGuessedRaw(node);
  if (temporaryOverlay) return overlayOn(graph, node, 'orrery-nbd');
  return loadSnapshot === undefined ? node : snapshotOf(node, loadSnapshot);
}

function imageOptions(text: string): Readonly<Record<string, string>> {
  const { name, properties } = parseOptionList('-image-opts', text);
  if (name !== undefined) throw new UserError(`--image-opts ${text}: '${name}' is no option with a value`);
  return properties;
}

/** `snapshot.id=ID,snapshot.name=NAME`, or an id or name as it is. */
async function snapshotOf(node: BlockNode, text: string): Promise<BlockNode> {
  const named = text.startsWith('snapshot.') ? parseOptionList('l', text).properties : {};
  const { 'snapshot.id': id, 'snapshot.name': name } = named;
  if (node.snapshots === undefined) {
    throw new UserError(
      `Failed to load snapshot: Block format '${node.driver}' used by device '' does not support temporarily loading internal snapshots`,
    );
  }
  const found = node.snapshots
    .list()
    .find((snapshot) => (id === undefined || snapshot.id === id) && (name === undefined || snapshot.name === name));
  const which = id === undefined && name === undefined ? text : found?.id;
  if (which === undefined) throw new UserError(`Failed to load snapshot: Can't find snapshot '${text}'`);
  return node.snapshots.open(which).catch((error: unknown) => {
    throw new UserError(`Failed to load snapshot: ${error instanceof Error ? error.message : String(error)}`);
  });
}
