/** Persistent dirty bitmaps, exchanged with the distribution's tools. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DirtyBitmap } from '../../src/block/node.ts';
import { closeAll, createQcow2, openQcow2 } from './support/plain-file.ts';
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
