/** The graph over real files: opening by name, options and content, backing chains, locks, and what QEMU says of what was written. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BlockGraph } from '../../src/block/graph.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';

const KIB = 1024;
const MIB = KIB * KIB;
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orrery-graph-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const at = (name: string): string => join(folder, name);
const bytes = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value);

async function readAll(graph: BlockGraph, name: string, offset: number, count: number): Promise<number[]> {
  const node = await graph.open(name, { readOnly: true });
  const into = new Uint8Array(count);
  await node.read(offset, [into]);
  await graph.close(node);
  return [...new Set(into)];
}

test.each([
  ['a/b.qcow2', 'a/x'],
  ['blkdebug:rules:a/b.qcow2', 'a/x'],
  ['json:{"driver":"qcow2","file":{"driver":"blkdebug","image.filename":"blkdebug::a/b.qcow2"}}', 'a/x'],
])('what an image names is in the folder of its file: %s', (image, path) => {
  expect(new BlockGraph(nodeBlockHost).filenames.backingFilename(image, 'x')).toBe(path);
});

test('an image whose name says no file has no folder', () => {
  const { filenames } = new BlockGraph(nodeBlockHost);
  expect(() => filenames.backingFilename('json:{"driver":"qcow2","file":"node"}', 'x')).toThrow('relative');
});

test.each(['parallels', 'vmdk'])('a backing image that options give an image of %s', async (format) => {
  const graph = new BlockGraph(nodeBlockHost);
  await graph.create({ format: 'raw', filename: at('below.raw'), size: 2 * MIB });
  const below = await graph.open(at('below.raw'), { format: 'raw' });
  await below.write(0, [bytes(64 * KIB, 42)]);
  await graph.close(below);
  await graph.create({ format, filename: at(`over.${format}`), size: 2 * MIB });
  const backing = { driver: 'raw', file: { driver: 'file', filename: at('below.raw') } };
  const node = await graph.open({ driver: format, file: { driver: 'file', filename: at(`over.${format}`) }, backing });
  await node.write(0, [bytes(64, 1)]);
  const into = new Uint8Array(128 * KIB);
  await node.read(0, [into]);
  expect([into[63], into[64], into[64 * KIB - 1], into[64 * KIB]]).toEqual([1, 42, 42, 0]);
  await graph.closeAll();
});

test('an image that could not be made leaves no file, and one that was there is left', async () => {
  const graph = new BlockGraph(nodeBlockHost);
  const options = { cluster_size: '3' };
  await expect(graph.create({ format: 'qcow2', filename: at('half'), size: MIB, options })).rejects.toThrow('Cluster');
  expect(existsSync(at('half'))).toBe(false);
  writeFileSync(at('half'), 'x');
  await expect(graph.create({ format: 'qcow2', filename: at('half'), size: MIB, options })).rejects.toThrow('Cluster');
  expect(existsSync(at('half'))).toBe(true);
});

describe('files', () => {
  test('raw, by content, grows and has holes', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    await graph.create({ format: 'raw', filename: at('a.raw'), size: MIB });
    const node = await graph.open(at('a.raw'), { format: 'raw', unmap: true });
    expect([node.driver, node.size, node.children[0]?.node.driver]).toEqual(['raw', MIB, 'file']);
    await node.write(64 * KIB, [bytes(3, 1), bytes(64 * KIB - 3, 2)]);
    expect(await node.status(0, MIB)).toMatchObject({ bytes: 64 * KIB, data: false, zero: true });
    expect(await node.status(64 * KIB, MIB - 64 * KIB)).toMatchObject({ bytes: 64 * KIB, data: true });
    await node.writeZeroes(64 * KIB, 64 * KIB, { unmap: true });
    expect(await node.status(0, MIB)).toMatchObject({ bytes: MIB, zero: true });
    await node.truncate(2 * MIB);
    await graph.closeAll();
    expect([statSync(at('a.raw')).size, graph.nodes()]).toEqual([2 * MIB, []]);
  });

  test('that are not there, or folders, are refused in one sentence', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    await expect(graph.open(at('none'))).rejects.toThrow(`Could not open '${at('none')}': No such file or directory`);
    await expect(graph.open(folder)).rejects.toThrow('to be a regular file');
    await expect(graph.open({ driver: 'qcow3', file: at('none') })).rejects.toThrow("Unknown driver 'qcow3'");
    await expect(graph.open({ driver: 'raw', wrong: 1, 'file.filename': at('a.raw') })).rejects.toThrow("'wrong'");
    expect(graph.nodes()).toEqual([]);
  });

  test('taken for raw do not become another format', async () => {
    writeFileSync(at('guess.img'), bytes(MIB, 0));
    const graph = new BlockGraph(nodeBlockHost);
    const guessed = await graph.open(at('guess.img'));
    const header = bytes(512, 0);
    header.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
    await expect(guessed.write(0, [header])).rejects.toThrow('taken for raw');
    await guessed.write(512, [header]);
    await graph.close(guessed);
    const told = await graph.open(at('guess.img'), { format: 'raw' });
    await told.write(0, [header]);
    await graph.close(told);
  });

  test('that somebody writes are kept from a second writer, unless it shares by force', async () => {
    writeFileSync(at('locked.img'), bytes(MIB, 7));
    const [one, two] = [new BlockGraph(nodeBlockHost), new BlockGraph(nodeBlockHost)];
    const writer = await one.open(at('locked.img'), { format: 'raw' });
    await expect(two.open(at('locked.img'), { format: 'raw' })).rejects.toThrow('Failed to get "write" lock');
    // Whoever reads raw bytes may; whoever reads tables must not have them changed.
    const reader = await two.open(at('locked.img'), { format: 'raw', readOnly: true });
    const file = { driver: 'file', filename: at('locked.img') };
    await expect(two.open({ ...file, 'read-only': true })).rejects.toThrow('Failed to get shared "write" lock');
    if (hasQemu) {
      const said = spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 512', at('locked.img')], { encoding: 'utf8' });
      expect(said.stderr).toContain('Failed to get "write" lock');
    }
    await two.close(reader);
    await one.close(writer);
    await two.close(await two.open(at('locked.img'), { format: 'raw' }));
  });
});

test('a node that cannot be closed keeps no other open', async () => {
  const graph = new BlockGraph(nodeBlockHost);
  for (const name of ['one.raw', 'two.raw']) {
    await graph.create({ format: 'raw', filename: at(name), size: KIB });
    await graph.open(at(name), { format: 'raw' });
  }
  const [first] = graph.nodes().filter(({ driver }) => driver === 'raw');
  Object.assign(first ?? {}, { close: () => Promise.reject(new Error('no space')) });
  await expect(graph.closeAll()).rejects.toThrow('no space');
  expect(graph.nodes()).toEqual([]);
});

describe('options', () => {
  test('nested, dotted and as JSON, with names and references', async () => {
    writeFileSync(at('named.img'), bytes(64 * KIB, 9));
    const graph = new BlockGraph(nodeBlockHost);
    const below = await graph.open({ driver: 'file', filename: at('named.img'), 'node-name': 'below' });
    const part = await graph.open({ driver: 'raw', file: 'below', offset: '4k', size: 512, 'node-name': 'part' });
    expect([part.size, graph.node('part') === part, part.children[0]?.node === below]).toEqual([512, true, true]);
    await expect(graph.open({ driver: 'null-co', 'node-name': 'part' })).rejects.toThrow('Duplicate nodes');
    await graph.close(part);
    expect(graph.node('below')).toBe(below);
    await graph.close(below);
    const dotted = await graph.open({
      driver: 'raw',
      'file.driver': 'file',
      'file.filename': at('named.img'),
      'read-only': 'on',
    });
    expect(dotted.readOnly).toBe(true);
    const json = JSON.stringify({ driver: 'raw', file: { driver: 'null-co', size: 1000, 'read-zeroes': true } });
    expect(await readAll(graph, `json:${json}`, 10, 20)).toEqual([0]);
    await graph.closeAll();
  });
});

describe('qcow2 chains', () => {
  test('are followed by the names in them, and loops are found', async () => {
    const graph = new BlockGraph(nodeBlockHost);
    await graph.create({ format: 'qcow2', filename: at('base.qcow2'), size: MIB });
    const base = await graph.open(at('base.qcow2'));
    expect(base.driver).toBe('qcow2');
    await base.write(0, [bytes(128 * KIB, 5)]);
    await graph.close(base);
    const options = { backing_file: 'base.qcow2', backing_fmt: 'qcow2' };
    await graph.create({ format: 'qcow2', filename: at('top.qcow2'), size: MIB, options });
    const top = await graph.open(at('top.qcow2'));
    await top.write(64 * KIB, [bytes(64 * KIB, 6)]);
    await graph.closeAll();
    expect(await readAll(graph, at('top.qcow2'), 0, 64 * KIB)).toEqual([5]);
    expect(await readAll(graph, at('top.qcow2'), 64 * KIB, 128 * KIB)).toEqual([6, 0]);
    if (hasQemu) {
      for (const name of ['base.qcow2', 'top.qcow2']) execFileSync('qemu-img', ['check', at(name)]);
      execFileSync('qemu-img', ['convert', '-O', 'raw', at('top.qcow2'), at('flat.raw')]);
      const flat = readFileSync(at('flat.raw'));
      expect([flat.length, flat[0], flat[64 * KIB], flat[128 * KIB]]).toEqual([MIB, 5, 6, 0]);
      execFileSync('qemu-img', ['rebase', '-u', '-b', 'top.qcow2', '-F', 'qcow2', at('base.qcow2')]);
      await expect(graph.open(at('top.qcow2'))).rejects.toThrow('infinite loop');
      expect(graph.nodes()).toEqual([]);
    }
  });
});
