/** Damaged qcow2 images, repaired: judged by the distribution's tool where it is there. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { closeAll, createQcow2, openQcow2, PlainFile } from './support/plain-file.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';

const REFCOUNT_TABLE_CLUSTERS_AT = 56;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orrery-qcow2-check-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** An image with 100,000 bytes of data, whose file `damage` changes. */
async function damaged(options: Record<string, string>, damage: (view: DataView) => void): Promise<string> {
  const path = join(folder, 'damaged.qcow2');
  await createQcow2(path, 1 << 20, options);
  const node = await openQcow2(path);
  await node.write(5000, [new Uint8Array(100_000).fill(7)]);
  await closeAll(node);
  const bytes = readFileSync(path);
  damage(new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
  writeFileSync(path, bytes);
  return path;
}

async function repaired(path: string): Promise<void> {
  const node = await openQcow2(path);
  expect(await node.check('all')).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
  const seen = new Uint8Array(100_000);
  await node.read(5000, [seen]);
  expect(Buffer.compare(seen, new Uint8Array(100_000).fill(7))).toBe(0);
  await closeAll(node);
  if (!toolsMissing) expect(qemuImg('check', path).text).toContain('No errors were found');
}

test.each([{}, { cluster_size: '512' }])(
  'a refcount table that is said to go on behind the file: %o',
  async (options) => {
    const path = await damaged(options, (view) => view.setUint32(REFCOUNT_TABLE_CLUSTERS_AT, 128));
    await repaired(path);
  },
);

test('a leak far behind, in a long file with holes', async () => {
  const path = join(folder, 'long.qcow2');
  await createQcow2(path, 1 << 20, { cluster_size: '2M', refcount_bits: '1' });
  const node = await openQcow2(path);
  const block = node.image.refcounts.blockOffset(0);
  await closeAll(node);
  const file = await PlainFile.open(path, { write: true });
  const clusters = 2 ** 20;
  await file.truncate(clusters * (2 << 20));
  await file.write(block + clusters / 8 - 100, [Uint8Array.of(4)]);
  await file.close();
  const cluster = clusters - 100 * 8 + 2;
  const again = await openQcow2(path);
  expect(await again.check('leaks')).toMatchObject({
    corruptions: 0,
    leaksFixed: 1,
    messages: [
      `Leaked cluster ${cluster} refcount=1 reference=0`,
      `Repairing cluster ${cluster} refcount=1 reference=0`,
    ],
  });
  expect(await again.image.refcounts.nextUsed(10, clusters)).toBe(clusters);
  await closeAll(again);
});
