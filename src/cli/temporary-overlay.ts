/** An image that takes all writes and is gone with the process. */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockGraph } from '../block/graph.ts';
import type { BlockNode } from '../block/node.ts';

/** `name` is what the file is called while anybody can see it. */
export async function overlayOn(graph: BlockGraph, base: BlockNode, name: string): Promise<BlockNode> {
  const filename = join(process.env['TMPDIR'] ?? tmpdir(), `${name}-${process.pid}.qcow2`);
  await graph.create({ format: 'qcow2', filename, size: base.size });
  const options = { driver: 'qcow2', 'file.driver': 'file', 'file.filename': filename, backing: base.name };
  const node = await graph.open(options, { noFlush: true, unmap: true });
  // The open file stays, and nobody else finds it.
  await rm(filename, { force: true });
  return node;
}
