/** Persistent dirty bitmaps, exchanged with the distribution's tools. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DirtyBitmap } from '../../src/block/node.ts';
import { closeAll, createQcow2, openQcow2, PlainFile } from './support/plain-file.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orrery-dirty-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SIZE = 40 << 20;

function runs(bitmap: DirtyBitmap | undefined): [offset: number, bytes: number][] {
  const dirty: [number, number][] = [];
  for (let at = 0; at < SIZE;) {
    const run = bitmap?.run(at, SIZE - at) ?? { dirty: false, bytes: SIZE };
    if (run.dirty) dirty.push([at, run.bytes]);
    at += run.bytes;
  }
  return dirty;
}

describe.skipIf(toolsMissing)('persistent bitmaps', () => {
  test('ours are theirs, and theirs ours', async () => {
    const path = join(folder, 'a.qcow2');
    await createQcow2(path, SIZE, { cluster_size: '4k' });
    let node = await openQcow2(path);
    await node.bitmaps.add('ours', 512, true);
    await node.bitmaps.add('still', 65536, false);
    await node.write(1000, [new Uint8Array(3000).fill(1)]);
    await node.writeZeroes(17 << 20, 20 << 20);
    await closeAll(node);
    expect(qemuImg('check', path).text).toContain('No errors');
    expect(qemuImg('bitmap', '--add', '--enable', '-g', '64k', path, 'theirs').text).toBe('');
    expect(qemuImg('bitmap', '--add', path, 'copy').text).toBe('');
    expect(qemuImg('bitmap', '--merge', 'ours', path, 'copy').text).toBe('');
    expect(spawnSync('/usr/bin/qemu-io', ['-c', 'write 2M 100k', path]).status).toBe(0);
    node = await openQcow2(path);
    const size = 20 << 20;
    expect(runs(node.bitmaps.find('ours')).slice(0, 2)).toEqual([[512, 3584], [2 << 20, 102_400]]); // prettier-ignore
    expect(runs(node.bitmaps.find('copy'))).toEqual([[0, 4096], [2 << 20, 102_400], [17 << 20, size]]); // prettier-ignore
    expect(runs(node.bitmaps.find('still'))).toEqual([]);
    expect(runs(node.bitmaps.find('theirs'))).toEqual([[2 << 20, 131_072]]);
    const theirs = JSON.parse(qemuImg('info', '--output=json', path).text) as Record<string, unknown>;
    expect(theirs['format-specific']).toEqual(node.specificInfo());
    await node.bitmaps.remove('ours');
    await node.bitmaps.remove('copy');
    await node.truncate(SIZE / 2);
    await closeAll(node);
    expect(qemuImg('check', path).text).toContain('No errors');
    node = await openQcow2(path);
    expect(node.bitmaps.list().map(({ name }) => name)).toEqual(['still', 'theirs']);
    await node.bitmaps.remove('still');
    await node.bitmaps.remove('theirs');
    await closeAll(node);
    expect(qemuImg('check', path).text).toContain('No errors');
    expect(qemuImg('info', path).text).not.toContain('bitmap');
  });

  test('have their place in the smallest header too', async () => {
    const path = join(folder, 'small.qcow2');
    await createQcow2(path, 1 << 20, { cluster_size: '512' });
    const node = await openQcow2(path);
    await node.bitmaps.add('marks', 512, true);
    await closeAll(node);
    expect(qemuImg('info', path).text).toContain('name: marks');
  });

  test('take no memory for what a table says of clusters that are not there', async () => {
    const path = join(folder, 'ones.qcow2');
    await createQcow2(path, 2 ** 40, { cluster_size: '2M' });
    const node = await openQcow2(path);
    await node.bitmaps.add('marks', 512, true);
    await closeAll(node);
    const file = await PlainFile.open(path, { write: true });
    const record = new Uint8Array(8);
    await file.read(node.image.header.bitmaps?.directoryOffset ?? 0, [record]);
    // 128 entries: each of 16 Mi bits is set.
    const table = Uint8Array.from({ length: 1024 }, (_, i) => (i % 8 === 7 ? 1 : 0));
    await file.write(Number(new DataView(record.buffer).getBigUint64(0)), [table]);
    await file.close();
    const before = process.memoryUsage().arrayBuffers;
    const again = await openQcow2(path);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 << 20);
    expect(again.bitmaps.find('marks')?.run(1000, 1 << 20)).toEqual({ dirty: true, bytes: 1 << 20 });
    await closeAll(again);
  });

  test('one whose state was changed and not stored is inconsistent', async () => {
    const path = join(folder, 'changed.qcow2');
    await createQcow2(path, 1 << 20);
    let node = await openQcow2(path);
    for (const name of ['removed', 'enabled', 'disabled', 'still'])
      await node.bitmaps.add(name, 65536, name !== 'still');
    await node.bitmaps.enable('enabled', false);
    await closeAll(node);
    node = await openQcow2(path);
    await node.bitmaps.remove('removed');
    await node.bitmaps.enable('enabled', true);
    await node.bitmaps.enable('disabled', false);
    await node.write(0, [new Uint8Array(512)]);
    await node.flush();
    // The process dies.
    for (const child of node.children) await closeAll(child.node);
    const again = await openQcow2(path, { readOnly: true });
    const inUse = again.bitmaps.list().filter(({ flags }) => flags.includes('in-use'));
    expect(inUse.map(({ name }) => name)).toEqual(['removed', 'enabled', 'disabled']);
    await closeAll(again);
  });

  test('fit the disk of a snapshot that is applied', async () => {
    const path = join(folder, 'applied.qcow2');
    await createQcow2(path, 1 << 20);
    let node = await openQcow2(path);
    await node.snapshots.create({ name: 'small', vmStateBytes: 0, dateSeconds: 1, dateNs: 0, vmClockNs: 0n });
    await node.truncate(1 << 30);
    await node.bitmaps.add('marks', 512, true);
    await node.write(1 << 29, [new Uint8Array(512)]);
    await node.snapshots.apply('small');
    await closeAll(node);
    expect(qemuImg('info', path).text).toContain('name: marks');
    node = await openQcow2(path);
    expect(node.bitmaps.find('marks')?.dirtyBytes()).toBe(0);
    await closeAll(node);
    expect(qemuImg('check', path).text).toContain('No errors');
  });

  test('one that was not stored is inconsistent', async () => {
    const path = join(folder, 'b.qcow2');
    await createQcow2(path, SIZE);
    let node = await openQcow2(path);
    await node.bitmaps.add('lost', 65536, true);
    await closeAll(node);
    node = await openQcow2(path);
    await node.write(0, [new Uint8Array(512)]);
    await node.flush();
    // The process dies: nothing is stored.
    for (const child of node.children) await closeAll(child.node);
    const again = await openQcow2(path);
    expect(again.bitmaps.list()).toEqual([{ name: 'lost', granularity: 65536, flags: ['in-use', 'auto'] }]);
    expect(() => again.bitmaps.find('lost')).toThrow('inconsistent');
    await closeAll(again);
    expect(qemuImg('info', path).text).toContain('in-use');
  });
});
