import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { BlockGraph } from '../../../block/graph.ts';
import { nodeBlockHost } from './host.ts';
import { libc } from './libc.ts';

const folder = mkdtempSync(join(tmpdir(), 'orrery-now-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const KIB = 1024;
const content = (bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, (_, i) => (i * 7) ^ (i >> 8));
const native = await libc();

describe.skipIf(native === undefined)('reading without waiting', () => {
  it('fills pieces of shared memory from a file that is in the page cache, and leaves the rest to others', async () => {
    const path = join(folder, 'a.raw');
    const bytes = content(64 * KIB);
    writeFileSync(path, bytes);
    const graph = new BlockGraph(nodeBlockHost);
    const node = await graph.open(path, { format: 'raw', readOnly: true });
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 4, shared: true });
    const pieces = [new Uint8Array(memory.buffer, 100, 1000), new Uint8Array(memory.buffer, 8192, 3096)];
    expect(node.readNow(512, pieces)).toBe(true);
    expect(Buffer.concat(pieces)).toEqual(Buffer.from(bytes.subarray(512, 512 + 4096)));
    expect(node.readNow(62 * KIB, [new Uint8Array(4 * KIB)])).toBe(false);
    await graph.close(node);
  });

  it('knows holes, zeroes and clusters of a qcow2 image', async () => {
    const filename = join(folder, 'b.qcow2');
    const graph = new BlockGraph(nodeBlockHost);
    await graph.create({ format: 'qcow2', filename, size: 1024 * KIB });
    const node = await graph.open(filename);
    await node.write(60 * KIB, [content(8 * KIB)]);
    const found = new Uint8Array(68 * KIB).fill(1);
    expect(node.readNow(0, [found])).toBe(true);
    const wanted = new Uint8Array(68 * KIB);
    wanted.set(content(8 * KIB), 60 * KIB);
    expect(Buffer.compare(found, wanted)).toBe(0);
    expect(node.readNow(1023 * KIB, [new Uint8Array(2 * KIB)])).toBe(false);
    await graph.close(node);
  });
});
