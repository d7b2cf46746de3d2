/** VMDK images, as far as what other tests of all formats do not see. */
import { expect, test } from 'vitest';
import { BlockGraph } from '../../src/block/graph.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';
import { FailingFile } from './support/failing-file.ts';

test('grains that are not there are one run up to the next one that is', async () => {
  const graph = new BlockGraph(nodeBlockHost);
  const file = new FailingFile('file');
  // INVARIANT: a driver that creates; it opens no child.
  await graph.driver('vmdk')!.create!({ file, size: 8 * 2 ** 30, options: {} }, { host: nodeBlockHost } as never);
  graph.add(file);
  const disk = await graph.open({ driver: 'vmdk', file: 'file' });
  const written = 5 * 2 ** 30 + 65_536 * 3;
  await disk.write(written, [new Uint8Array(512).fill(1)]);
  expect(await disk.status(1000, disk.size - 1000)).toMatchObject({ bytes: written - 1000, data: false, zero: true });
  expect(await disk.status(written, disk.size - written)).toMatchObject({ bytes: 65_536, data: true });
  const behind = written + 65_536;
  expect(await disk.status(behind, disk.size - behind)).toMatchObject({ bytes: disk.size - behind, data: false });
  await graph.closeAll();
});
