/** Our client against our server in memory, in each of the three reply modes; what the server told the node is looked at too. */
import { describe, expect, it } from 'vitest';
import { PairHost } from '../../../tests/support/stream-pair.ts';
import { RamNode } from '../../../tests/support/ram-node.ts';
import { BlockError } from '../block-error.ts';
import { BlockGraph } from '../graph.ts';
import type { HostStream } from '../host.ts';
import type { DirtyBitmap } from '../node.ts';
import { listNbd } from './client/connect.ts';
import { NbdNode, type NbdNodeOptions } from './client/nbd-node.ts';
import type { NbdExportOptions } from './server/export.ts';
import { NbdServer } from './server/server.ts';

const MIB = 1024 ** 2;
const ADDRESS = { type: 'unix', path: '/sock' } as const;

interface Rig {
  readonly pair: PairHost;
  readonly server: NbdServer;
  readonly disk: RamNode;
  readonly open: (options?: Partial<NbdNodeOptions>, readOnly?: boolean) => Promise<NbdNode>;
}

async function rig(options: Partial<NbdExportOptions> = {}, sizeBytes: number = MIB): Promise<Rig> {
  const pair = new PairHost();
  const disk = new RamNode(new Uint8Array(sizeBytes));
  const server = new NbdServer({ host: pair.host });
  server.add({ name: '', node: disk, ...options });
  await server.listen(ADDRESS);
  return {
    pair,
    server,
    disk,
    open: (more = {}, readOnly = false) => NbdNode.open('n', readOnly, pair.host, { address: ADDRESS, ...more }),
  };
}

function pattern(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, index) => (index * 31 + (index >> 8)) | 1);
}

it('images are made at a server, which keeps its size', async () => {
  const { pair, disk } = await rig();
  disk.data.fill(0xaa);
  const graph = new BlockGraph(pair.host);
  const filename = 'nbd+unix:///?socket=/sock';
  await graph.create({ format: 'raw', filename, size: 1000 });
  expect([disk.data[0], disk.data[511], disk.data[512]]).toEqual([0, 0, 0xaa]);
  await graph.create({ format: 'qcow2', filename, size: MIB });
  const image = await graph.open(filename, { format: 'qcow2' });
  await image.write(100_000, [pattern(5000)]);
  const into = new Uint8Array(MIB);
  await image.read(0, [into]);
  expect(into.subarray(100_000, 105_000)).toEqual(pattern(5000));
  expect(into.fill(0, 100_000, 105_000).every((byte) => byte === 0)).toBe(true);
  await graph.closeAll();
  await expect(graph.create({ format: 'raw', filename, size: 2 * MIB })).rejects.toThrow('Cannot grow NBD nodes');
});

describe.each([
  ['extended headers', true],
  ['structured replies', false],
])('client and server with %s', (_name, extendedHeaders) => {
  it('reads what was written, whatever the pieces', async () => {
    const { pair, disk, open } = await rig();
    pair.chunkBytes = 1000;
    const node = await open({ extendedHeaders });
    const data = pattern(200_000);
    await node.write(777, [data.subarray(0, 5), data.subarray(5, 100_000), data.subarray(100_000)]);
    expect(disk.data.subarray(777, 200_777)).toEqual(data);
    const [first, second] = [new Uint8Array(150_001), new Uint8Array(49_999)];
    await node.read(777, [first, second]);
    expect(first).toEqual(data.subarray(0, 150_001));
    expect(second).toEqual(data.subarray(150_001));
    await node.close();
  });

  it('reads holes between data as zeroes', async () => {
    const { disk, open } = await rig();
    disk.data.set(pattern(5000), 100_000);
    disk.data.set(pattern(3), 300_000);
    const node = await open({ extendedHeaders });
    const into = new Uint8Array(400_000).fill(0xee);
    await node.read(4, [into]);
    expect(into).toEqual(disk.data.subarray(4, 400_004));
    // Long holes were not read.
    expect(disk.log.every((entry) => Number(entry.split(' ')[2]) < 20_000)).toBe(true);
  });

  it('passes on flags of writes, zeroes, discards and flushes', async () => {
    const { disk, open } = await rig();
    const node = await open({ extendedHeaders });
    await node.write(0, [pattern(512)], { fua: true });
    await node.writeZeroes(512, 1024, { unmap: true });
    await node.writeZeroes(512, 1024);
    await node.writeZeroes(512, 1024, { noFallback: true, unmap: true });
    await node.discard(4096, 8192);
    await node.flush();
    expect(disk.log).toEqual([
      'write 0 512 fua',
      'zero 512 1024 unmap',
      'zero 512 1024',
      'zero 512 1024 unmap fast',
      'discard 4096 8192',
      'flush',
    ]);
  });

  it('tells allocation', async () => {
    const { disk, open } = await rig();
    disk.data.set(pattern(4096), 8192);
    const node = await open({ extendedHeaders });
    expect(await node.status(0, MIB)).toMatchObject({ bytes: 8192, data: false, zero: true });
    expect(await node.status(8200, MIB - 8200)).toMatchObject({ bytes: 4088, data: true, zero: false });
  });

  it('tells a dirty bitmap and the depth', async () => {
    const bitmap: DirtyBitmap = {
      name: 'b', granularity: 65_536, enabled: false,
      run: (offset, bytes) => offset < 65_536 ? { dirty: true, bytes: 65_536 - offset } : { dirty: false, bytes },
      set: () => {}, clear: () => {}, dirtyBytes: () => 65_536,
    }; // prettier-ignore
    const pair = new PairHost();
    const store = { find: (name: string) => (name === 'b' ? bitmap : undefined) };
    const disk = Object.assign(new RamNode(new Uint8Array(MIB)), { bitmaps: store });
    const server = new NbdServer({ host: pair.host });
    expect(() => server.add({ name: 'x', node: disk as never, bitmaps: ['c'] })).toThrow("Bitmap 'c' is not found");
    server.add({ name: '', node: disk as never, bitmaps: ['b'], allocationDepth: true });
    await server.listen(ADDRESS);
    const open = (context: string): Promise<NbdNode> =>
      NbdNode.open('n', true, pair.host, { address: ADDRESS, extendedHeaders, context });
    const dirty = await open('qemu:dirty-bitmap:b');
    expect(await dirty.status(0, MIB)).toMatchObject({ bytes: 65_536, data: false });
    expect(await dirty.status(65_536, MIB - 65_536)).toMatchObject({ bytes: MIB - 65_536, data: true });
    expect(await (await open('qemu:allocation-depth')).status(0, MIB)).toMatchObject({ bytes: MIB, data: false });
    await expect(open('qemu:dirty-bitmap:c')).rejects.toThrow('requested x-dirty-bitmap qemu:dirty-bitmap:c not found');
  });

  it('hands on errors with their sentence, and goes on', async () => {
    const { disk, open } = await rig();
    const node = await open({ extendedHeaders });
    for (const code of ['ENOSPC', 'EIO', 'EPERM'] as const) {
      disk.failNext = new BlockError(code, 'the disk says no');
      await expect(node.read(0, [new Uint8Array(512)])).rejects.toMatchObject({ code, message: 'the disk says no' });
      disk.failNext = new BlockError(code, 'the disk says no');
      await expect(node.write(0, [new Uint8Array(512)])).rejects.toMatchObject({ code });
    }
    await expect(node.read(MIB - 1, [new Uint8Array(2)])).rejects.toMatchObject({ code: 'EIO' });
    await node.read(0, [new Uint8Array(512)]);
  });

  it('has many requests under way, answered as they are ready', async () => {
    const { disk, open } = await rig();
    const node = await open({ extendedHeaders });
    let release = (): void => {};
    disk.gate = new Promise((resolve) => (release = resolve));
    const slow = node.read(0, [new Uint8Array(1)]);
    await new Promise((resolve) => setImmediate(resolve));
    disk.gate = undefined;
    await node.read(1, [new Uint8Array(1)]);
    expect(disk.log).toEqual(['read 0 1', 'read 1 1']);
    release();
    await slow;
    await Promise.all(Array.from({ length: 500 }, (_, at) => node.write(at * 7, [pattern(7)])));
    expect(disk.data.subarray(0, 7)).toEqual(pattern(7));
    expect(disk.data.subarray(3493, 3500)).toEqual(pattern(7));
  });

  it('refuses writing to a read-only export', async () => {
    const { open } = await rig({ readOnly: true });
    await expect(open({ extendedHeaders })).rejects.toThrow('request for write access denied');
    const node = await open({ extendedHeaders }, true);
    await expect(node.write(0, [new Uint8Array(1)])).rejects.toMatchObject({ code: 'EPERM' });
  });

  it('exports a part of a node', async () => {
    const { disk, open } = await rig({ offset: 1000, size: 5000 });
    const node = await open({ extendedHeaders });
    expect(node.size).toBe(5000);
    await node.write(4999, [pattern(1)]);
    expect(disk.data[5999]).toBe(1);
    expect(await node.status(0, 5000)).toMatchObject({ bytes: 3096, zero: true });
  });
});

describe('nbd', () => {
  it('lists exports with their contexts', async () => {
    const { pair, server, disk } = await rig({ allocationDepth: true });
    server.add({ name: 'second', description: 'a second one', node: disk, readOnly: true, size: 512 });
    const exports = await listNbd(pair.host, ADDRESS);
    expect(exports).toMatchObject([
      { name: '', size: MIB, contexts: ['base:allocation', 'qemu:allocation-depth'] },
      { name: 'second', description: 'a second one', size: 512, contexts: ['base:allocation'] },
    ]);
    expect(() => server.add({ name: 'second', node: disk })).toThrow("there is an export 'second' already");
  });

  it('names the export that is not there', async () => {
    const { open, pair } = await rig();
    await expect(open({ exportName: 'nope' })).rejects.toThrow(
      "Requested export not available\nserver reported: export 'nope' not present",
    );
    await expect(
      NbdNode.open('n', true, new PairHost().host, { address: { type: 'inet', host: 'h', port: 1 } }),
    ).rejects.toThrow("Failed to connect to 'h:1': Connection refused");
    expect(pair.connections).toHaveLength(1);
  });

  it('makes requests again on the next connection', async () => {
    const { pair, disk, open } = await rig();
    const node = await open({ reconnectDelayMs: 20_000 });
    let release = (): void => {};
    disk.gate = new Promise((resolve) => (release = resolve));
    const write = node.write(0, [pattern(100)]);
    const read = node.read(200, [new Uint8Array(4)]);
    await new Promise((resolve) => setImmediate(resolve));
    pair.connections[0]?.close();
    release();
    await Promise.all([write, read]);
    expect(disk.data.subarray(0, 100)).toEqual(pattern(100));
    expect(pair.connections).toHaveLength(2);
  });

  it('fails requests when the server stays away', async () => {
    const { server, open } = await rig();
    const [waits, fails] = [await open({ reconnectDelayMs: 2000 }), await open()];
    await server.close();
    await expect(waits.read(0, [new Uint8Array(1)])).rejects.toMatchObject({ code: 'EIO' });
    await expect(fails.flush()).rejects.toMatchObject({ code: 'EIO' });
  });

  it('lets no further requests wait when the server has stayed away for long, until it is back', async () => {
    const { server, pair, disk, open } = await rig();
    const node = await open({ reconnectDelayMs: 2000 });
    const { host } = pair;
    await server.close();
    await expect(node.flush()).rejects.toMatchObject({ code: 'EIO' });
    const failedMs = host.nowMs();
    await expect(node.flush()).rejects.toMatchObject({ code: 'EIO' });
    expect(host.nowMs()).toBe(failedMs);
    const again = new NbdServer({ host });
    again.add({ name: '', node: disk });
    await again.listen(ADDRESS);
    await host.sleep(1000);
    await node.write(0, [pattern(100)]);
    expect(disk.data.subarray(0, 100)).toEqual(pattern(100));
  });

  it('does not wait longer for a server that says nothing', async () => {
    const { server, pair, open } = await rig();
    const node = await open({ reconnectDelayMs: 2000 });
    await server.close();
    await pair.host.listen?.(ADDRESS, () => {});
    await expect(node.flush()).rejects.toThrow('the server did not answer in time');
  });

  it('can be closed when the server takes nothing any more', async () => {
    const { pair } = await rig();
    const stalled = new Promise<void>(() => {});
    let stalls = false;
    const connect = async (): Promise<HostStream> => {
      const stream = await pair.host.connect?.(ADDRESS);
      if (stream === undefined) throw new Error('no connection');
      const write = stream.write.bind(stream);
      return Object.assign(stream, { write: (pieces: readonly Uint8Array[]) => (stalls ? stalled : write(pieces)) });
    };
    const node = await NbdNode.open('n', false, { ...pair.host, connect }, { address: ADDRESS });
    stalls = true;
    const write = expect(node.write(0, [pattern(512)])).rejects.toMatchObject({ code: 'EIO' });
    await node.close();
    await write;
  });

  it('does not take another export for the lost one', async () => {
    const { server, pair, open } = await rig();
    const node = await open({ reconnectDelayMs: 20_000 });
    server.remove('');
    server.add({ name: '', node: new RamNode(new Uint8Array(512)) });
    pair.connections[0]?.close();
    await expect(node.flush()).rejects.toThrow('the export is another one');
  });

  it('flushes all exports when it closes, and tells the first that cannot be', async () => {
    const { server, disk } = await rig();
    const [second, readOnly] = [new RamNode(new Uint8Array(512)), new RamNode(new Uint8Array(512), true)];
    server.add({ name: 'second', node: second });
    server.add({ name: 'third', node: readOnly });
    disk.failNext = new BlockError('ENOSPC');
    await expect(server.close()).rejects.toMatchObject({ code: 'ENOSPC' });
    expect([second.log, readOnly.log]).toEqual([['flush'], []]);
  });

  it('lets clients wait for a place, and tells when the last is gone', async () => {
    const pair = new PairHost();
    const gone: number[] = [];
    const server = new NbdServer({ host: pair.host, maxClients: 1, onClientGone: (left) => gone.push(left) });
    server.add({ name: '', node: new RamNode(new Uint8Array(512)) });
    await server.listen(ADDRESS);
    const first = await NbdNode.open('1', true, pair.host, { address: ADDRESS });
    const second = NbdNode.open('2', true, pair.host, { address: ADDRESS });
    await new Promise((resolve) => setImmediate(resolve));
    expect(server.clientCount).toBe(1);
    await first.close();
    await (await second).read(0, [new Uint8Array(512)]);
    expect(gone).toEqual([0]);
  });

  it('serves hundreds of clients that come at once, some at a time', async () => {
    const pair = new PairHost();
    const server = new NbdServer({ host: pair.host, maxClients: 8 });
    const disk = new RamNode(new Uint8Array(512));
    server.add({ name: '', node: disk });
    await server.listen(ADDRESS);
    const visit = async (): Promise<void> => {
      const node = await NbdNode.open('n', true, pair.host, { address: ADDRESS });
      expect(server.clientCount).toBeLessThanOrEqual(8);
      await node.read(0, [new Uint8Array(512)]);
      await node.close();
    };
    await Promise.all(Array.from({ length: 200 }, visit));
    expect(disk.log).toHaveLength(200);
  });
});
