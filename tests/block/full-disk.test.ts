/** Images on a disk that becomes full: requests fail with ENOSPC, and what was written before can be made to stay. */
import { expect, it } from 'vitest';
import { BlockError } from '../../src/block/block-error.ts';
import { DRIVERS } from '../../src/block/drivers.ts';
import { BlockGraph } from '../../src/block/graph.ts';
import { type IoVector, vectorBytes } from '../../src/block/io-vector.ts';
import { MemoryNode } from '../../src/block/protocols/memory.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';

const KIB = 1024;
const MIB = KIB * KIB;
const PAGE_BYTES = 4 * KIB;
const CHUNK_BYTES = 64 * KIB;

/** A sparse file of which only so many pages can have storage. */
class SmallDisk extends MemoryNode {
  private readonly pages: Set<number> = new Set();
  private readonly most: number;

  constructor(name: string, bytes: number) {
    super(name, 0);
    this.most = bytes / PAGE_BYTES;
  }

  override async write(offset: number, from: IoVector): Promise<void> {
    const end = Math.ceil((offset + vectorBytes(from)) / PAGE_BYTES);
    for (let page = Math.floor(offset / PAGE_BYTES); page < end; page++) {
      if (!this.pages.has(page) && this.pages.size === this.most) throw new BlockError('ENOSPC');
      this.pages.add(page);
    }
    await super.write(offset, from);
  }

  override async close(): Promise<void> {}
}

it.each(['raw', 'qcow2'])('%s keeps what it took before', async (format) => {
  const disk = new SmallDisk('disk', 4 * MIB);
  const driver = DRIVERS.find(({ name }) => name === format);
  await driver?.create?.({ file: disk, size: 16 * MIB, options: {} }, { host: nodeBlockHost } as never);
  const open = async (): Promise<BlockGraph> => {
    const graph = new BlockGraph(nodeBlockHost);
    graph.add(disk);
    await graph.open({ driver: format, file: 'disk', 'node-name': 'image' });
    return graph;
  };
  const graph = await open();
  const node = graph.node('image');
  let taken = 0;
  const fill = async (): Promise<void> => {
    for (; ; taken++) await node?.write(taken * CHUNK_BYTES, [new Uint8Array(CHUNK_BYTES).fill(taken + 1)]);
  };
  await expect(fill()).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(taken).toBeGreaterThan(50);
  await node?.write(0, [new Uint8Array(CHUNK_BYTES).fill(0xee)]);
  await node?.flush();
  await graph.closeAll();

  const again = await open();
  const into = new Uint8Array(taken * CHUNK_BYTES);
  await again.node('image')?.read(0, [into]);
  const expected = Array.from({ length: taken }, (_, chunk) => (chunk === 0 ? 0xee : chunk + 1));
  expect(expected.map((_, chunk) => into[(chunk + 1) * CHUNK_BYTES - 1])).toEqual(expected);
  await again.closeAll();
});
