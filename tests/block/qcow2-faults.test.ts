/** qcow2 images whose file fails at one request and works again afterwards: nothing that is in use is given away. */
import { expect, test } from 'vitest';
import { BlockGraph } from '../../src/block/graph.ts';
import type { BlockNode } from '../../src/block/node.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';
import { FailingFile } from './support/failing-file.ts';

const MOMENT = { vmStateBytes: 0, dateSeconds: 1, dateNs: 0, vmClockNs: 0n };

async function makeDisk(
  size: number,
  options: Record<string, string>,
): Promise<{ file: FailingFile; disk: BlockNode }> {
  const graph = new BlockGraph(nodeBlockHost);
  const file = new FailingFile('file');
  // INVARIANT: a driver that creates; it opens no child.
  await graph.driver('qcow2')!.create!({ file, size, options }, { host: nodeBlockHost } as never);
  return { file, disk: await open(file) };
}

async function open(file: FailingFile): Promise<BlockNode> {
  const graph = new BlockGraph(nodeBlockHost);
  graph.add(file);
  return graph.open({ driver: 'qcow2', file: 'file' });
}

/** Of the image as whoever opens it next sees it. */
async function expectSound(file: FailingFile, nth: number): Promise<void> {
  const disk = await open(file);
  expect(await disk.check?.('none'), `request ${nth}`).toMatchObject({ corruptions: 0, checkErrors: 0 });
}

/** Whether the work failed since the file did, at its `nth` request that changes something. */
async function failsAt(file: FailingFile, nth: number, work: () => Promise<unknown>): Promise<boolean> {
  file.failAt(nth, 'ENOSPC');
  const failed = await work().then(
    () => false,
    () => true,
  );
  file.failAt(0, 'ENOSPC');
  return failed;
}

test('the last snapshot is deleted, at any request that fails', async () => {
  for (let nth = 1, failed = true; failed; nth++) {
    const { file, disk } = await makeDisk(1 << 20, { compat: '0.10' });
    await disk.snapshots?.create({ name: 'one', ...MOMENT });
    failed = await failsAt(file, nth, () => disk.snapshots!.delete('one'));
    await disk.snapshots?.create({ name: 'two', ...MOMENT });
    await disk.close();
    await expectSound(file, nth);
  }
});

test('the refcount table grows, at any request that fails', async () => {
  for (let nth = 1, failed = true; failed; nth++) {
    // Clusters for 2 MiB have counts in the table that there is.
    const { file, disk } = await makeDisk(3 << 20, { cluster_size: '512', refcount_bits: '64' });
    await disk.write(0, [new Uint8Array(2_000_000).fill(1)]);
    await disk.flush();
    failed = await failsAt(file, nth, async () => {
      await disk.write(2_000_000, [new Uint8Array(100_000).fill(2)]);
      await disk.flush();
    });
    await disk.write(2_000_000, [new Uint8Array(800_000).fill(3)]);
    await disk.close();
    await expectSound(file, nth);
  }
});
