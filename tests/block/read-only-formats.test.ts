/** bochs, cloop and dmg images of every kind that is read, written by the test, read by us and by the distribution's tools. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bunzip2 } from '../../src/block/formats/dmg/bunzip2.ts';
import { BlockGraph } from '../../src/block/graph.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';
import { bochsImage, cloopImage, dmgImage, packAdc } from './support/read-only-images.ts';
import type { DmgChunk } from './support/read-only-images.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orrery-read-only-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs of one byte and bytes of all values, as the bzip2 fixture has them packed. */
function runs(bytes: number): Uint8Array {
  const data = new Uint8Array(bytes);
  let state = 1;
  for (let at = 0; at < bytes;) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const run = (state & 0x800000) === 0 ? 1 : 1 + ((state >> 8) & 255);
    data.fill(run === 1 && (state & 0x800000) === 0 ? (state >> 16) & 255 : (state >> 16) & 15, at, at + run);
    at += run;
  }
  return data;
}

const PACKED = readFileSync(join(import.meta.dirname, 'fixtures', 'runs.bz2'));
const PLAIN = runs(40960);
const DISK = new Uint8Array(5 * 40960);
DISK.set(PLAIN);
DISK.set(PLAIN.subarray(0, 20000), 100_000);
DISK.fill(3, DISK.length - 700);

const zlib = (plain: Uint8Array): DmgChunk => ({ type: 0x80000005, plain, packed: deflateSync(plain) });
const zeroes: DmgChunk = { type: 0, plain: new Uint8Array(8192), packed: new Uint8Array(0) };
const ignored: DmgChunk = { type: 2, plain: new Uint8Array(512), packed: new Uint8Array(0) };
const plain: DmgChunk = { type: 1, plain: PLAIN.subarray(0, 1536), packed: PLAIN.subarray(0, 1536) };
const adc: DmgChunk = { type: 0x80000004, plain: PLAIN, packed: packAdc(PLAIN) };
const bzip2: DmgChunk = { type: 0x80000006, plain: PLAIN, packed: PACKED };
const diskOf = (chunks: readonly DmgChunk[]): Uint8Array => Buffer.concat(chunks.map((chunk) => chunk.plain));

const COMMON = [zlib(PLAIN), zeroes, plain, ignored, zlib(PLAIN.subarray(512, 10240))];
const OURS = [adc, zlib(PLAIN), zeroes, bzip2, plain];

const IMAGES: readonly { name: string; format: string; image: Uint8Array; disk: Uint8Array; oursAlone?: true }[] = [
  { name: 'version 1', format: 'bochs', image: bochsImage(DISK, 1), disk: DISK },
  { name: 'version 2', format: 'bochs', image: bochsImage(DISK, 2), disk: DISK },
  { name: 'blocks of 64 KiB', format: 'cloop', image: cloopImage(DISK.subarray(0, 3 << 16), 1 << 16), disk: DISK.subarray(0, 3 << 16) },
  { name: 'blocks of 512 bytes', format: 'cloop', image: cloopImage(DISK, 512), disk: DISK },
  { name: 'property list', format: 'dmg', image: dmgImage(COMMON, 'list'), disk: diskOf(COMMON) },
  { name: 'resource fork', format: 'dmg', image: dmgImage(COMMON, 'fork'), disk: diskOf(COMMON) },
  { name: 'ADC and bzip2', format: 'dmg', image: dmgImage(OURS, 'list'), disk: diskOf(OURS), oursAlone: true },
]; // prettier-ignore

describe('images that are only read', () => {
  for (const { name, format, image, disk, oursAlone } of IMAGES) {
    test(`${format}: ${name}`, async () => {
      const path = join(folder, `${name.replaceAll(' ', '-')}.${format}`);
      writeFileSync(path, image);
      const graph = new BlockGraph(nodeBlockHost);
      const node = await graph.open(path, { readOnly: true });
      expect([node.driver, node.size]).toEqual([format, disk.length]);
      const seen = new Uint8Array(disk.length);
      await node.read(0, [seen]);
      expect(Buffer.compare(seen, disk)).toBe(0);
      const part = new Uint8Array(20_011);
      await node.read(4999, [part.subarray(0, 7), part.subarray(7)]);
      expect(Buffer.compare(part, disk.subarray(4999, 4999 + part.length))).toBe(0);
      let at = 0;
      while (at < node.size) {
        const status = await node.status(at, node.size - at);
        expect(status.bytes).toBeGreaterThan(0);
        if (status.zero) expect(disk.subarray(at, at + status.bytes).every((byte) => byte === 0)).toBe(true);
        at += status.bytes;
      }
      await expect(node.write(0, [new Uint8Array(1)])).rejects.toThrow('read-only');
      await graph.closeAll();
      if (toolsMissing !== undefined || oursAlone) return;
      writeFileSync(`${path}.raw`, disk);
      expect(qemuImg('compare', '-f', format, '-F', 'raw', path, `${path}.raw`).text).toContain('identical');
    });
  }

  test('bzip2 streams that are cut or changed fail', () => {
    expect(Buffer.compare(bunzip2(PACKED, PLAIN.length), PLAIN)).toBe(0);
    expect(() => bunzip2(PACKED, PLAIN.length - 1)).toThrow('unpacks to more than');
    expect(() => bunzip2(PACKED.subarray(0, 900), PLAIN.length)).toThrow('ends too early');
    const changed = PACKED.slice();
    changed[700]! ^= 4;
    expect(() => bunzip2(changed, PLAIN.length)).toThrow('bzip2 data');
  });
});
