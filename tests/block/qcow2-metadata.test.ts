/** Where qcow2 images have their metadata and what becomes of it: after a crash, a repair, a discard, preallocation. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { BlockError } from '../../src/block/block-error.ts';
import type { Qcow2Node } from '../../src/block/formats/qcow2/qcow2-node.ts';
import { BlockGraph } from '../../src/block/graph.ts';
import { copyImage } from '../../src/block/jobs/copy.ts';
import type { JsonValue } from '../../src/block/node.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';
import { closeAll, createQcow2, openQcow2 } from './support/plain-file.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';

const [KIB, MIB] = [1024, 1024 ** 2];
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orrery-metadata-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);
const bytes = (count: number, value = 1): Uint8Array => new Uint8Array(count).fill(value);

async function made(name: string, size: number, options: Record<string, string> = {}): Promise<Qcow2Node> {
  await createQcow2(at(name), size, options);
  return openQcow2(at(name), { unmap: true });
}

test('adjacent storage is written by one request, whatever its clusters are', async () => {
  const node = await made('adjacent', MIB);
  await node.write(0, [bytes(192 * KIB)]);
  await node.writeZeroes(64 * KIB, 64 * KIB);
  const write = vi.spyOn(node.image.file, 'write');
  await node.write(1000, [bytes(190 * KIB, 2)]);
  expect(write).toHaveBeenCalledTimes(1);
  const all = bytes(192 * KIB, 9);
  await node.read(0, [all]);
  expect(all).toEqual(bytes(192 * KIB).fill(2, 1000, 1000 + 190 * KIB));
  await closeAll(node);
});

test('refcount blocks do not lie in the way of data', async () => {
  const node = await made('runs', 4 * MIB, { cluster_size: '4096', refcount_bits: '64' });
  await node.write(0, [bytes(4 * MIB)]);
  expect(await node.status(0, 2 * MIB)).toMatchObject({ bytes: 2 * MIB, data: true });
  expect(await node.status(2 * MIB, 2 * MIB)).toMatchObject({ bytes: 2 * MIB, data: true });
  await closeAll(node);
  expect(qemuImg('check', at('runs')).status).toBe(0);
});

test('much storage that is given back is used again before the file grows', async () => {
  const node = await made('reuse', 64 * MIB);
  await node.write(0, [bytes(16 * MIB)]);
  await node.flush();
  const { size } = node.image.file;
  await node.discard(0, 16 * MIB);
  await node.write(32 * MIB, [bytes(12 * MIB)]);
  expect(node.image.file.size).toBe(size);
  await closeAll(node);
});

test('what grows within a cluster is preallocated too', async () => {
  const node = await made('growth', 40 * KIB);
  await node.truncate(60 * KIB, { preallocation: 'falloc' });
  const { size } = node.image.file;
  await node.write(0, [bytes(60 * KIB)]);
  expect(node.image.file.size).toBe(size);
  await closeAll(node);
});

test('a part of a write that fails early fails the write, and nothing else', async () => {
  const first = await made('failing', MIB, { cluster_size: '512', refcount_bits: '64' });
  await first.write(0, [bytes(MIB)]);
  await first.discard(0, MIB);
  await closeAll(first);
  const node = await openQcow2(at('failing'));
  vi.spyOn(node.image.file, 'write').mockRejectedValueOnce(new BlockError('ENOSPC'));
  // Refcount blocks are read meanwhile for the rest.
  await expect(node.write(0, [bytes(MIB)])).rejects.toMatchObject({ code: 'ENOSPC' });
  await node.write(0, [bytes(MIB)]);
  await closeAll(node);
  const last = await openQcow2(at('failing'), { readOnly: true });
  expect(await last.check('none')).toMatchObject({ leaks: 0, corruptions: 0 });
  await closeAll(last);
});

test('a stream is never put into a cluster that was given to somebody else', async () => {
  const node = await made('streams', MIB);
  const [first, second] = [bytes(64 * KIB, 3), bytes(64 * KIB, 4)];
  await node.write(0, [first], { compressed: true });
  await node.writeZeroes(0, 64 * KIB, { unmap: true });
  await node.flush();
  // The cluster is taken again, and its taker waits.
  let go = (): void => {};
  const gate = new Promise<void>((done) => (go = done));
  node.image.file.debugEvent = (event) => (event === 'cluster_alloc' ? gate : undefined);
  const writes = [node.write(64 * KIB, [first]), node.write(128 * KIB, [second], { compressed: true })];
  await new Promise((done) => setTimeout(done, 100));
  go();
  await Promise.all(writes);
  const all = bytes(128 * KIB, 0);
  await node.read(64 * KIB, [all]);
  expect([all.indexOf(4), all.lastIndexOf(3)]).toEqual([64 * KIB, 64 * KIB - 1]);
  await closeAll(node);
  expect(qemuImg('check', at('streams')).status).toBe(0);
});

test('new refcount blocks, and larger tables, are told below', async () => {
  const node = await made('events', 16 * MIB, { cluster_size: '512' });
  const told = new Set<string>();
  node.image.file.debugEvent = (event) => void told.add(event);
  await node.write(0, [bytes(9 * MIB)]);
  await node.truncate(64 * MIB);
  expect(told.delete('refblock_load')).toBe(true);
  await node.write(9 * MIB, [bytes(512)]);
  expect(told.has('refblock_load')).toBe(true);
  await closeAll(node);
  const wanted = ['refblock_alloc', 'refblock_alloc_write', 'refblock_alloc_hookup', 'refblock_alloc_write_blocks', 'l1_grow_alloc_table']; // prettier-ignore
  expect(wanted.filter((event) => !told.has(event))).toEqual([]);
});

describe('opened after a crash, with lazy refcounts', () => {
  async function crashed(name: string): Promise<void> {
    const node = await made(`${name}.live`, MIB, { lazy_refcounts: 'on' });
    await node.write(0, [bytes(512)]);
    await node.flush();
    copyFileSync(at(`${name}.live`), at(name));
    await closeAll(node);
  }

  test.skipIf(toolsMissing !== undefined)('only data lacks its counts', async () => {
    await crashed('lazy');
    const { text } = qemuImg('check', at('lazy'));
    expect(text).toContain('ERROR cluster 5 refcount=0');
    expect(text).toContain('2 errors were found');
  });

  test('what is repaired is told', async () => {
    await crashed('told');
    const said: string[] = [];
    const graph = new BlockGraph(nodeBlockHost, { warn: (sentence) => said.push(sentence) });
    await graph.open(at('told'));
    expect(said).toEqual([
      'ERROR cluster 5 refcount=0 reference=1',
      'Rebuilding refcount structure',
      'Repairing cluster 1 refcount=1 reference=0',
      'Repairing cluster 2 refcount=1 reference=0',
    ]);
    await graph.closeAll();
  });
});

describe('the snapshot table', () => {
  /** An image with a snapshot, of version 2 unless `version`, whose header and table were changed. */
  async function changed(name: string, change: (file: DataView, table: number) => void, version = 2): Promise<void> {
    const node = await made(name, MIB, { compat: '0.10' });
    await node.write(0, [bytes(KIB)]);
    const nothing = { vmStateBytes: 0, dateSeconds: 0, dateNs: 0, vmClockNs: 0n };
    await node.snapshots.create({ name: 'one', ...nothing });
    await closeAll(node);
    const file = readFileSync(at(name));
    const view = new DataView(file.buffer, file.byteOffset, file.length);
    view.setUint32(4, version);
    if (version === 3) {
      view.setUint32(96, 4);
      view.setUint32(100, 104);
    }
    change(view, Number(view.getBigUint64(64)));
    writeFileSync(at(name), file);
  }

  async function checked(name: string, repair: 'none' | 'all'): Promise<JsonValue> {
    const graph = new BlockGraph(nodeBlockHost);
    const node = await graph.open(at(name), { check: true });
    try {
      const { messages, corruptions, corruptionsFixed, checkErrors } = await node.check!(repair);
      return [messages.join(), corruptions, corruptionsFixed, checkErrors];
    } finally {
      await graph.closeAll();
    }
  }

  const opening = (name: string): Promise<Qcow2Node> => openQcow2(at(name), { readOnly: true });

  test('of version 3 is completed', async () => {
    const shorten = (file: DataView, table: number): void => {
      file.setUint32(table + 36, 8);
      for (let byte = 0; byte < 4; byte++) file.setUint8(table + 48 + byte, file.getUint8(table + 64 + byte));
    };
    await changed('incomplete', shorten, 3);
    expect(await checked('incomplete', 'none')).toEqual(['ERROR snapshot table entry 0 is incomplete', 1, 0, 0]);
    expect(await checked('incomplete', 'all')).toEqual(['Repairing snapshot table entry 0 is incomplete', 0, 1, 0]);
    expect(await checked('incomplete', 'none')).toEqual(['', 0, 0, 0]);
    const node = await opening('incomplete');
    expect(node.snapshots.list()).toMatchObject([{ name: 'one', diskBytes: MIB }]);
    await closeAll(node);
    await changed('older', shorten);
    const older = await openQcow2(at('older'));
    await older.amend({ compat: '1.1' }, false, () => {});
    await closeAll(older);
    expect(await checked('older', 'none')).toEqual(['', 0, 0, 0]);
  });

  test('with too much extra data is refused, and cut', async () => {
    await changed('extra', (file, table) => file.setUint32(table + 36, 65_530));
    const sentence = 'Too much extra metadata in snapshot table entry 0';
    await expect(opening('extra')).rejects.toThrow(sentence);
    await expect(checked('extra', 'none')).rejects.toThrow(`ERROR failed to read the snapshot table: ${sentence}`);
    // The table goes on in a cluster behind the end of the file, which nobody counted.
    expect(await checked('extra', 'all')).toEqual([
      expect.stringMatching(/^Discarding too much extra metadata.*65530 > 1024.*Rebuilding/),
      0,
      2,
      0,
    ]);
    expect(qemuImg('check', at('extra')).status).toBe(0);
  });

  test('of too many snapshots is refused, and cut', async () => {
    await changed('many', (file) => file.setUint32(60, 70_000));
    truncateSync(at('many'), 4 * MIB);
    await expect(opening('many')).rejects.toThrow('Snapshot table too large');
    await expect(checked('many', 'none')).rejects.toThrow('ERROR snapshot table too large');
    expect(await checked('many', 'all')).toEqual([
      expect.stringMatching('^Discarding 4464 overhanging'),
      0,
      expect.any(Number),
      0,
    ]);
    const node = await opening('many');
    expect(node.snapshots.list().length).toBe(65_536);
    await closeAll(node);
  });
});

test('a compressed copy leaves out each cluster of zeroes, or none', async () => {
  const source = await made('copied', MIB);
  await source.write(0, [bytes(KIB)]);
  await source.write(8 * KIB, [bytes(KIB)]);
  const copy = async (name: string, sparseBytes: number): Promise<Qcow2Node> => {
    const target = await made(name, MIB, { cluster_size: '1024' });
    const job = copyImage({ sources: [source], target, targetIsZero: true, compressed: true, sparseBytes });
    for await (const _ of job);
    return target;
  };
  const sparse = await copy('sparse', 4096);
  expect(await sparse.status(0, MIB)).toMatchObject({ bytes: KIB, compressed: true });
  expect(await sparse.status(KIB, MIB - KIB)).toMatchObject({ bytes: 7 * KIB, zero: true });
  const full = await copy('full', 0);
  expect(await full.status(0, MIB)).toMatchObject({ bytes: MIB, compressed: true });
  for (const node of [source, sparse, full]) await closeAll(node);
});

test('what cannot be written when an image is closed is told', async () => {
  await createQcow2(at('lost'), MIB);
  const rules = { 'inject-error.0.event': 'flush_to_os', 'inject-error.0.errno': 28 };
  const graph = new BlockGraph(nodeBlockHost);
  const file = { driver: 'blkdebug', ...rules, image: { driver: 'file', filename: at('lost') } };
  const node = await graph.open({ driver: 'qcow2', file });
  await node.write(0, [bytes(512)]);
  await expect(graph.closeAll()).rejects.toThrow(
    'Failed to flush the L2 table cache: No space left on device\nFailed to flush the refcount block cache: No space left',
  );
  expect(statSync(at('lost')).size).toBeGreaterThan(0);
});
