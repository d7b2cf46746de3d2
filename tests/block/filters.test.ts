/** Filters over nodes in memory and small images: what they let through, hold back, copy and break. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BlockGraph } from '../../src/block/graph.ts';
import type { BlockHost } from '../../src/block/host.ts';
import type { BlockNode, JsonValue } from '../../src/block/node.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';

const KIB = 1024;
const MIB = KIB * KIB;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orrery-filters-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const at = (name: string): string => join(folder, name);
const filled = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value);
const memory = (size: number): Record<string, JsonValue> => ({ driver: 'memory', size });

async function content(node: BlockNode, offset: number, count: number): Promise<Uint8Array> {
  const into = new Uint8Array(count);
  await node.read(offset, [into]);
  return into;
}

describe('blkdebug', () => {
  const open = (rules: Record<string, JsonValue>): Promise<BlockNode> =>
    new BlockGraph(nodeBlockHost).open({ driver: 'blkdebug', image: memory(64 * KIB), ...rules });

  test('fails the requests that a rule is for, once, with its error', async () => {
    const node = await open({
      'inject-error': [{ event: 'none', iotype: 'write', sector: 2, errno: 28, once: true }],
    });
    await node.write(0, [filled(1024, 1)]);
    await expect(node.write(512, [filled(1024, 2)])).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await content(node, 1024, 1)).toEqual(filled(1, 0));
    await node.write(512, [filled(1024, 2)]);
    expect(await content(node, 1024, 1)).toEqual(filled(1, 2));
  });

  test('changes its state at events, and takes rules of the state alone', async () => {
    const node = await open({
      'set-state.0.event': 'pwritev_done',
      'set-state.0.state': 1,
      'set-state.0.new_state': 2,
      'inject-error.0.event': 'pwritev',
      'inject-error.0.state': 2,
      'inject-error.0.errno': 5,
    });
    await node.write(0, [filled(512, 1)]);
    await expect(node.write(0, [filled(512, 1)])).rejects.toMatchObject({ code: 'EIO' });
  });

  test('writes a part only, and only at the Nth request', async () => {
    const short = await open({ 'inject-error': [{ event: 'none', fault: 'short-write', errno: 28, nth: 2 }] });
    await short.write(0, [filled(2048, 1)]);
    await expect(short.write(0, [filled(2048, 2)])).rejects.toMatchObject({ code: 'ENOSPC' });
    const torn = await open({ 'inject-error': [{ event: 'none', iotype: 'write', fault: 'torn-write' }] });
    await expect(torn.write(0, [filled(700, 3), filled(1348, 3)])).rejects.toMatchObject({ code: 'EIO' });
    expect(await content(torn, 0, 2048)).toEqual(
      Uint8Array.from([...filled(512, 3), ...filled(512, 0), ...filled(512, 3), ...filled(512, 0)]),
    );
  });

  test('makes requests late', async () => {
    const naps: number[] = [];
    const host: BlockHost = { ...nodeBlockHost, sleep: async (ms) => void naps.push(ms) };
    const node = await new BlockGraph(host).open({
      driver: 'blkdebug',
      image: memory(KIB),
      'inject-error': [{ event: 'none', iotype: 'read', fault: 'delay', 'delay-ms': 40 }],
    });
    await node.read(0, [filled(8, 0)]);
    await node.write(0, [filled(8, 0)]);
    expect(naps).toEqual([40]);
  });

  test('asks for zeroes in the units that it was told', async () => {
    const node = await open({ 'opt-write-zero': 4 * KIB, 'max-write-zero': 8 * KIB });
    await node.write(0, [filled(64 * KIB, 1)]);
    const asked: unknown[] = [];
    const below = node.children[0]!.node;
    below.writeZeroes = async (offset, bytes) => void asked.push([offset / KIB, bytes / KIB]);
    await node.writeZeroes(3 * KIB, 30 * KIB);
    expect(asked).toEqual([[4, 8], [12, 8], [20, 8], [28, 4]]); // prettier-ignore
    expect(await content(node, 2 * KIB, 3 * KIB)).toEqual(filled(3 * KIB, 1).fill(0, KIB, 2 * KIB));
    expect(await content(node, 32 * KIB, 2 * KIB)).toEqual(filled(2 * KIB, 1).fill(0, 0, KIB));
    await expect(node.writeZeroes(0, KIB, { noFallback: true })).rejects.toMatchObject({ code: 'ENOTSUP' });
  });

  test('reads rules from a file, with a file name that says so', async () => {
    writeFileSync(at('rules'), '# rules\n[inject-error]\nevent = "none"\niotype = "flush"\nerrno = "28"\n');
    writeFileSync(at('plain.raw'), filled(512, 7));
    const graph = new BlockGraph(nodeBlockHost);
    const node = await graph.open(`blkdebug:${at('rules')}:${at('plain.raw')}`, { format: 'raw' });
    expect(await content(node, 0, 2)).toEqual(filled(2, 7));
    // Nothing was written: there is nothing that flushing could lose.
    await node.flush();
    await node.write(0, [filled(1, 7)]);
    await expect(node.flush()).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(node.filename).toBe(`blkdebug:${at('rules')}:${at('plain.raw')}`);
    await graph.closeAll();
    writeFileSync(at('rules'), '[inject-error]\nevent = "nonsense"\n');
    await expect(graph.open(`blkdebug:${at('rules')}:${at('plain.raw')}`)).rejects.toThrow(
      "Invalid parameter 'nonsense'",
    );
  });

  test('stops requests at breakpoints', async () => {
    const node = await open({});
    const said: string[] = [];
    const { breakpoints } = node;
    if (breakpoints === undefined) throw new Error('no breakpoints');
    breakpoints.report = (sentence) => void said.push(sentence);
    expect([breakpoints.add('pwritev', 'A'), breakpoints.add('nonsense', 'B')]).toEqual([true, false]);
    let done = false;
    const writing = node.write(0, [filled(512, 1)]).then(() => (done = true));
    await breakpoints.suspended('A');
    expect([done, breakpoints.isSuspended('A')]).toEqual([false, true]);
    expect([breakpoints.resume('A'), breakpoints.resume('A')]).toEqual([true, false]);
    await writing;
    expect(said).toEqual(["blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'"]);
  });
});

describe('throttle', () => {
  /** A graph whose clock goes as far as somebody sleeps. */
  function throttled(limits: Record<string, number>): { graph: BlockGraph; elapsed: () => number } {
    let now = 0;
    const host: BlockHost = {
      ...nodeBlockHost,
      nowMs: () => now,
      sleep: async (ms) => {
        now += ms;
      },
    };
    const throttleGroup = (id: string): Record<string, number> | undefined => (id === 'g' ? limits : undefined);
    return { graph: new BlockGraph(host, { throttleGroup }), elapsed: () => now };
  }
  const open = (graph: BlockGraph): Promise<BlockNode> =>
    graph.open({ driver: 'throttle', 'throttle-group': 'g', file: memory(MIB) });

  test('lets a tenth of a second go at once, and the rest at the rate', async () => {
    const { graph, elapsed } = throttled({ 'bps-total': 100 * KIB });
    const node = await open(graph);
    for (let i = 0; i < 100; i++) await node.write(i * 4096, [filled(4096, 1)]);
    // 400 KiB at 100 KiB/s; the last request and the slack are not waited for.
    expect(elapsed()).toBeGreaterThan(3800);
    expect(elapsed()).toBeLessThan(4000);
  });

  test('lets bursts go at their own rate, as long as they may last', async () => {
    const { graph, elapsed } = throttled({ 'iops-total': 10, 'iops-total-max': 100, 'iops-total-max-length': 2 });
    const node = await open(graph);
    for (let i = 0; i < 200; i++) await node.read(0, [filled(512, 0)]);
    expect(elapsed()).toBeGreaterThan(1800);
    expect(elapsed()).toBeLessThan(2100);
    for (let i = 0; i < 40; i++) await node.read(0, [filled(512, 0)]);
    expect(elapsed()).toBeGreaterThan(3300);
  });

  test('shares limits among nodes, and leaves the other direction alone', async () => {
    const { graph, elapsed } = throttled({ 'iops-write': 10 });
    const nodes = [await open(graph), await open(graph)];
    await Promise.all(nodes.flatMap((node) => [1, 2, 3, 4, 5].map((value) => node.write(0, [filled(1, value)]))));
    expect(elapsed()).toBeGreaterThanOrEqual(800);
    const before = elapsed();
    for (const node of nodes) for (let i = 0; i < 50; i++) await node.read(0, [filled(1, 0)]);
    expect(elapsed()).toBe(before);
  });

  test('refuses limits that contradict each other, and groups that are not there', async () => {
    const { graph } = throttled({ 'bps-total': 1, 'bps-read': 1 });
    await expect(open(graph)).rejects.toThrow('total values and read/write values cannot be used at the same time');
    const missing = graph.open({ driver: 'throttle', 'throttle-group': 'x', file: memory(512) });
    await expect(missing).rejects.toThrow("Throttle group 'x' does not exist");
  });
});

describe('copy-on-read', () => {
  test('writes what it read from below, and not what was written meanwhile', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    writeFileSync(at('base.raw'), filled(MIB, 9));
    await graph.create({
      format: 'qcow2',
      filename: at('top.qcow2'),
      size: MIB,
      options: { backing_file: at('base.raw'), backing_fmt: 'raw' },
    });
    const node = await graph.open({
      driver: 'copy-on-read',
      file: { driver: 'qcow2', file: { filename: at('top.qcow2') } },
    });
    const top = node.children[0]?.node;
    const [into] = [filled(512, 0)];
    await Promise.all([node.read(70 * KIB, [into]), node.write(65 * KIB, [filled(512, 4)])]);
    expect(into).toEqual(filled(512, 9));
    expect(await content(node, 65 * KIB, 513)).toEqual(Uint8Array.from([...filled(512, 4), 9]));
    expect(await top?.status(0, MIB)).toMatchObject({ allocated: false, bytes: 64 * KIB });
    expect(await top?.status(64 * KIB, 64 * KIB)).toMatchObject({ allocated: true, bytes: 64 * KIB });
    await graph.closeAll();
  });
});

describe('preallocate', () => {
  test('has storage ahead while it is open, and cuts it off', async () => {
    writeFileSync(at('grow.raw'), '');
    const graph = new BlockGraph(nodeBlockHost);
    const node = await graph.open({
      driver: 'preallocate',
      'prealloc-size': '4M',
      file: { driver: 'file', filename: at('grow.raw') },
    });
    await node.write(0, [filled(1000, 1)]);
    expect([node.size, statSync(at('grow.raw')).size]).toEqual([1000, 5 * MIB]);
    await node.truncate(2000);
    await graph.close(node);
    expect(statSync(at('grow.raw')).size).toBe(2000);
  });
});

describe('compress', () => {
  test('writes compressed clusters', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    await graph.create({ format: 'qcow2', filename: at('c.qcow2'), size: MIB });
    const node = await graph.open({ driver: 'compress', file: { driver: 'qcow2', file: { filename: at('c.qcow2') } } });
    await node.write(0, [filled(128 * KIB, 5)]);
    await node.write(200 * KIB, [filled(512, 6)]);
    expect(await node.status(0, 128 * KIB)).toMatchObject({ compressed: true });
    expect(await content(node, 200 * KIB, 513)).toEqual(Uint8Array.from([...filled(512, 6), 0]));
    await graph.closeAll();
  });
});

test('detect-zeroes keeps zeroes from taking room', async () => {
  const graph = new BlockGraph(nodeBlockHost);
  await graph.create({ format: 'qcow2', filename: at('z.qcow2'), size: MIB });
  const node = await graph.open({ driver: 'qcow2', 'detect-zeroes': 'on', file: { filename: at('z.qcow2') } });
  await node.write(0, [filled(64 * KIB, 0), filled(64 * KIB, 0)]);
  expect(await node.status(0, 128 * KIB)).toMatchObject({ data: false, zero: true });
  await node.write(0, [filled(64 * KIB, 1)]);
  expect(await node.status(0, 64 * KIB)).toMatchObject({ data: true });
  await graph.closeAll();
});

describe('reopening', () => {
  test('changes what may be written and how, and keeps what is below when it can', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    await graph.create({ format: 'qcow2', filename: at('r.qcow2'), size: MIB });
    let node = await graph.open(at('r.qcow2'), { readOnly: true });
    const { name } = node;
    await expect(node.write(0, [filled(512, 1)])).rejects.toMatchObject({ code: 'EPERM' });
    node = await graph.reopen(node, {}, { readOnly: false });
    await node.write(0, [filled(512, 1)]);
    const file = node.children[0]?.node;
    node = await graph.reopen(node, { 'lazy-refcounts': 'on' });
    expect([node.name, node.children[0]?.node === file]).toEqual([name, true]);
    expect(await content(node, 0, 512)).toEqual(filled(512, 1));
    await expect(graph.reopen(node, { 'lazy-refcounts': 'maybe' })).rejects.toThrow("expects 'on' or 'off'");
    await expect(graph.reopen(graph.node(name) ?? node, { driver: 'raw' })).rejects.toThrow(
      "Cannot change the option 'driver'",
    );
    expect(await content(graph.node(name) ?? node, 0, 512)).toEqual(filled(512, 1));
    await graph.closeAll();
  });
});
