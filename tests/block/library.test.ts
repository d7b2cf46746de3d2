/** The library's images on files: the manual's examples, and what they do not show. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import * as orrery from '../../src/node.ts';
import { createImage, openImage, type ImageExtent } from '../../src/node.ts';
import { examples, runExample } from '../support/manual-examples.ts';

const folder = await mkdtemp(join(tmpdir(), 'orrery-library-'));
const at = (name: string): string => join(folder, name);
afterAll(() => rm(folder, { recursive: true }));

const MIB = 1024 ** 2;
const page = await examples('library-disks.md', 'ts');

/** Runs the manual's example with this heading's position, its files in our folder. */
function run(index: number, result: string): Promise<unknown> {
  const code = (page[index] ?? '').replace(
    /(['=])(\w+\.(?:qcow2|raw|sock|vmdk))'/g,
    (_, before, name) => `${before}${at(name)}'`,
  );
  const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  return runExample(code, { ...orrery, createHash, later }, result);
}

describe('docs/manual/library-disks.md', () => {
  it('makes an image, writes and reads', async () => {
    expect(new TextDecoder().decode((await run(0, 'bytes')) as Uint8Array)).toBe('hello');
  });

  it('opens images and tells what is in them', async () => {
    const { extents, ...info } = (await run(
      1,
      '{ format, virtualSize, clusterSize, stored: actualSize > 65_536, extents }',
    )) as { extents: ImageExtent[] };
    expect(info).toEqual({ format: 'qcow2', virtualSize: 1024 * MIB, clusterSize: 65_536, stored: true });
    expect(extents).toEqual([
      { offset: 0, bytes: 65_536, data: true, zero: false, depth: 1 },
      { offset: 65_536, bytes: MIB - 65_536, data: false, zero: true, depth: 0 },
      { offset: MIB, bytes: 65_536, data: true, zero: false, depth: 2 },
      { offset: MIB + 65_536, bytes: 1023 * MIB - 65_536, data: false, zero: true, depth: 0 },
    ]);
  });

  it('streams in and out, and gives up', async () => {
    const text = 'any stream of bytes: a file, a response, a decompressor';
    expect(await run(2, '{ digest, outcome }')).toEqual({
      digest: createHash('sha256').update(text).digest('hex'),
      outcome: 'TimeoutError',
    });
  });

  it('copies and compares', async () => {
    const { seen, same } = (await run(3, '{ seen, same }')) as { seen: number[]; same: boolean };
    expect(same).toBe(true);
    expect(seen.at(-1)).toBe(1);
  });

  it('serves several exports', async () => {
    expect(new TextDecoder().decode((await run(4, 'greeting')) as Uint8Array)).toBe('any stream');
  });

  it('builds graphs', async () => {
    await writeFile(at('disk.raw'), new Uint8Array(4096));
    const { first, open } = (await run(5, '{ first, open: graph.nodes() }')) as { first: Uint8Array; open: unknown[] };
    expect([...first.subarray(510)]).toEqual([0, 0, 1, 2, 3]);
    expect(open).toEqual([]);
  });
});

describe('images as streams', () => {
  it('grow to what is written, and no further', async () => {
    await using image = await createImage({ filename: at('grow.qcow2'), format: 'qcow2', size: 0 });
    const writer = image.writable({ grow: true }).getWriter();
    for (let n = 1; n <= 5; n++) await writer.write(new Uint8Array(700_001).fill(n));
    await writer.close();
    expect(image.size).toBe(Math.ceil((5 * 700_001) / 512) * 512);
    let n = 0;
    for await (const piece of image.readable({ bytes: 5 * 700_001, chunkBytes: 700_001 })) expect(piece.every((byte) => byte === n + 1) && ++n).toBe(n); // prettier-ignore
    expect(n).toBe(5);
  });

  it('do not write beyond the end', async () => {
    await using image = await createImage({ filename: at('small.qcow2'), format: 'qcow2', size: 4096 });
    const writer = image.writable({ offset: 4000 }).getWriter();
    await expect(writer.write(new Uint8Array(97))).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(() => image.readable({ offset: 4000, bytes: 97 })).toThrow('not in an image of 4096 bytes');
  });

  it('are read no further than asked', async () => {
    await using image = await createImage({ filename: at('ahead.raw'), size: 64 * MIB });
    const offsets: number[] = [];
    const read = image.node.read.bind(image.node);
    image.node.read = (offset, into) => {
      offsets.push(offset);
      return read(offset, into);
    };
    const reader = image.readable().getReader();
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(offsets).toEqual([0, MIB, 2 * MIB]);
    await reader.cancel();
  });

  it('stop when they are aborted, and leave the image to others', async () => {
    await using image = await createImage({ filename: at('abort.raw'), size: MIB });
    const controller = new AbortController();
    const [reader, writer] = [
      image.readable({ chunkBytes: 4096, signal: controller.signal }).getReader(),
      image.writable({ signal: controller.signal }).getWriter(),
    ];
    await reader.read();
    await writer.write(new Uint8Array(512).fill(1));
    controller.abort(new Error('enough'));
    await expect(reader.read()).rejects.toThrow('enough');
    await expect(writer.write(new Uint8Array(512))).rejects.toThrow('enough');
    expect((await image.read(511, 2)).join()).toBe('1,0');
    await expect(image.read(0, MIB, { signal: controller.signal })).rejects.toThrow('enough');
    await expect(openImage(at('abort.raw'), { signal: controller.signal })).rejects.toThrow('enough');
  });
});

describe('openImage and createImage', () => {
  it('take the size of the backing image, and secrets', async () => {
    const secrets = { key: 'open sesame' };
    await (await createImage({ filename: at('base.raw'), size: 3 * MIB })).close();
    await using image = await createImage(
      {
        filename: at('secret.qcow2'), format: 'qcow2', backing: { filename: 'base.raw', format: 'raw' },
        options: { 'encrypt.format': 'luks', 'encrypt.key-secret': 'key', 'encrypt.iter-time': 10 },
      },
      { noIo: true, secrets },
    ); // prettier-ignore
    expect(await image.info()).toMatchObject({
      virtualSize: 3 * MIB,
      encrypted: true,
      backing: { file: 'base.raw', format: 'raw' },
    });
    const options = { driver: 'qcow2', 'encrypt.format': 'luks', 'encrypt.key-secret': 'key' };
    const file = { driver: 'file', filename: at('secret.qcow2') };
    await image.close();
    await using opened = await openImage({ ...options, file }, { secrets });
    await opened.write(5, new Uint8Array([1, 2, 3]));
    expect([...(await opened.read(4, 5))]).toEqual([0, 1, 2, 3, 0]);
    await opened.close();
    await expect(openImage({ ...options, file }, { secrets: { key: 'wrong' } })).rejects.toThrow(/password|key/i);
  });

  it('are copied only into what is large enough, and until they are aborted', async () => {
    await using small = await createImage({ filename: at('s.raw'), size: MIB });
    await using large = await createImage({ filename: at('l.raw'), size: 64 * MIB });
    await large.write(0, new Uint8Array(32 * MIB).fill(3));
    await expect(orrery.finish(large.copyTo(small))).rejects.toThrow('is smaller than');
    await using target = await createImage({ filename: at('t.qcow2'), format: 'qcow2', size: 64 * MIB });
    const controller = new AbortController();
    const stop = (): void => controller.abort(new Error('enough'));
    await expect(orrery.finish(large.copyTo(target, { signal: controller.signal }), stop)).rejects.toThrow('enough');
    expect(await orrery.finish(large.compareTo(target))).toMatchObject({ same: false, why: 'content' });
    await orrery.finish(large.copyTo(target));
    expect(await orrery.finish(large.compareTo(target))).toEqual({ same: true });
  });

  it('resize, discard and zero', async () => {
    await using image = await createImage({ filename: at('ops.qcow2'), format: 'qcow2', size: MIB });
    await image.write(0, new Uint8Array(MIB).fill(1), { fua: true });
    await image.writeZeroes(0, 65_536);
    await image.discard(65_536, 65_536);
    await image.resize(2 * MIB);
    const seen: string[] = [];
    for await (const { offset, bytes, data, zero } of image.blockStatus())
      seen.push(`${offset}+${bytes} ${data} ${zero}`);
    expect(seen).toEqual([`0+131072 false true`, `131072+${MIB - 131_072} true false`, `${MIB}+${MIB} false true`]);
    await expect(image.read(2 * MIB - 1, 2)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('say in one sentence what is wrong', async () => {
    await expect(openImage(at('none.qcow2'))).rejects.toThrow(`Could not open '${at('none.qcow2')}': No such file`);
    await expect(createImage({ filename: at('x'), format: 'nope', size: 1 })).rejects.toThrow("Unknown file format 'nope'"); // prettier-ignore
    await expect(createImage({ filename: at('x') })).rejects.toThrow('needs a size');
  });
});
