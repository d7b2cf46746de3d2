/** Disk images in a browser: files of the user, the private file system from a page and from a worker, images over HTTP. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createImage, openImage } from '../../src/node.ts';
import { examples } from '../support/manual-examples.ts';
import { CHROMIUM, launch, serve } from './chromium.ts';

if (CHROMIUM === undefined) console.warn('no Chromium to open images in');
const MIB = 1024 ** 2;

/** In the page and in its worker: `run(code)` runs the body of an asynchronous function that knows the library. */
const RUN = `
  import * as orrery from '/browser.js';
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor;
  const hex = async (bytes) => Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)),
    (byte) => byte.toString(16).padStart(2, '0')).join('');
  const pattern = (bytes, seed) => Uint8Array.from({ length: bytes }, (_, i) => (i * seed + (i >> 9)) & 255);
  const names = { ...orrery, hex, pattern };
  const run = (code) => new AsyncFunction(...Object.keys(names), code)(...Object.values(names));
`;
const FILES = {
  'index.html': `<!doctype html><input type="file" multiple><script type="module">${RUN}
    globalThis.run = run;
    const worker = new Worker('/worker.js', { type: 'module' });
    globalThis.runInWorker = (code) => new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => ('error' in data ? reject(new Error(data.error)) : resolve(data.result));
      worker.postMessage(code);
    });
    document.body.dataset.ready = 'yes';</script>`,
  'worker.js': `${RUN}
    onmessage = ({ data }) => run(data).then((result) => postMessage({ result }), (error) => postMessage({ error: error.message }));`,
};

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

describe.skipIf(CHROMIUM === undefined)('disk images in Chromium', () => {
  let folder = '';
  let server: Server;
  let browser: Browser;
  let page: Page;
  const ranges: string[] = [];
  const at = (name: string): string => join(folder, name);
  const text = (count: number): Uint8Array => new Uint8Array(Buffer.alloc(count, 'the quick brown fox jumps over '));
  const run = async (code: string, where = 'run'): Promise<unknown> => {
    try {
      return await page.evaluate(`${where}(${JSON.stringify(code)})`);
    } catch (error) {
      // The page's stack names places that are no files of ours, which the report of a failure would look for.
      throw new Error(String((error as Error).message).split('\n')[0]);
    }
  };
  /** A file that the page has made in the private file system. */
  async function fetchPrivate(name: string): Promise<string> {
    const base64 = await run(
      `const handle = await (await navigator.storage.getDirectory()).getFileHandle('${name}');
       const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
       let text = '';
       for (const byte of bytes) text += String.fromCharCode(byte);
       return btoa(text);`,
    );
    await writeFile(at(name), Buffer.from(String(base64), 'base64'));
    return at(name);
  }
  const judge = (file: string): void => {
    if (spawnSync('which', ['qemu-img']).status === 0) execFileSync('qemu-img', ['check', '-q', file]);
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'orrery-images-'));
    await build({
      configFile: false, logLevel: 'error', publicDir: false,
      build: {
        outDir: folder, emptyOutDir: false, target: 'esnext', minify: false, modulePreload: false,
        rolldownOptions: {
          input: { browser: 'src/browser.ts' }, preserveEntrySignatures: 'strict',
          output: { format: 'es', entryFileNames: '[name].js' },
        },
      },
    }); // prettier-ignore
    for (const compression of ['zlib', 'zstd']) {
      await using image = await createImage({
        filename: at(`${compression}.qcow2`),
        format: 'qcow2',
        size: 4 * MIB,
        options: { compression_type: compression },
      });
      await image.write(MIB, text(2 * MIB), { compressed: true });
    }
    await using overlay = await createImage({
      filename: at('overlay.qcow2'), format: 'qcow2', backing: { filename: 'zlib.qcow2', format: 'qcow2' },
    }); // prettier-ignore
    await overlay.write(2 * MIB, new Uint8Array(65_536).fill(7));
    server = await serve(folder, FILES, (path, range) => ranges.push(`${path} ${range}`));
    browser = await launch();
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction('document.body.dataset.ready === "yes"');
  });

  afterAll(async () => {
    await browser.close();
    server.close();
    await rm(folder, { recursive: true });
  });

  it('reads files that the user picked, compressed and on backing files', async () => {
    await page.setInputFiles('input', [at('zlib.qcow2'), at('zstd.qcow2'), at('overlay.qcow2')]);
    const result = await run(`
      const files = Object.fromEntries([...document.querySelector('input').files].map((file) => [file.name, file]));
      const sums = [];
      for (const name of ['zlib.qcow2', 'zstd.qcow2']) {
        await using image = await openImage(files[name]);
        sums.push(await hex(await image.read(0, image.size)));
      }
      await using image = await openImage('overlay.qcow2', { files, readOnly: true });
      sums.push(await hex(await image.read(0, image.size)));
      const refused = await openImage('overlay.qcow2', { files }).catch((error) => error.message);
      return { sums, refused };
    `);
    await using overlay = await openImage(at('overlay.qcow2'), { readOnly: true });
    await using base = await openImage(at('zlib.qcow2'), { readOnly: true });
    const plain = sha256(await base.read(0, 4 * MIB));
    expect(result).toEqual({
      sums: [plain, plain, sha256(await overlay.read(0, 4 * MIB))],
      refused: "Could not open 'overlay.qcow2': Permission denied",
    });
  });

  it.each([
    ['page', 'run'],
    ['worker', 'runInWorker'],
  ])('keeps images in the private file system, from a %s', async (where, how) => {
    const name = `${where}.qcow2`;
    const options = { filename: name, format: 'qcow2', size: 8 * MIB };
    const result = await run(
      `await using image = await createImage(${JSON.stringify(options)});
       const one = pattern(300_000, 31);
       await image.write(1000, one);
       await image.flush();
       await image.write(500_000, one);
       await image.write(4 * 1024 * 1024, new Uint8Array(131_072).fill(65), { compressed: true });
       const early = await image.read(500_000, 300_000);
       await image.close();
       const other = await openImage('${name}');
       const second = await createImage({ filename: 'over-${name}', format: 'qcow2', backing: { filename: '${name}', format: 'qcow2' } }, {})
         .then((made) => made.close(), (error) => error.message);
       const sums = [await hex(one), await hex(early), await hex(await other.read(1000, 300_000)), await hex(await other.read(500_000, 300_000))];
       await other.close();
       return { same: new Set(sums).size === 1, second: typeof second };`,
      how,
    );
    // A worker's handles keep others out, even those of the same worker.
    expect(result).toEqual({ same: true, second: where === 'worker' ? 'string' : 'undefined' });
    const file = await fetchPrivate(name);
    judge(file);
    await using image = await openImage(file, { readOnly: true });
    expect((await image.read(4 * MIB, 131_073)).lastIndexOf(65)).toBe(131_071);
    expect((await image.read(1000, 2)).join()).toBe('0,31');
  });

  it('shrinks, grows and rewrites files from a page', async () => {
    const result = await run(`
      const image = await createImage({ filename: 'grow.raw', size: 300_000 });
      await image.write(0, new Uint8Array(300_000).fill(1));
      await image.flush();
      await image.resize(100_000);
      const pending = image.flush();
      await image.resize(200_000);
      await image.write(150_000, new Uint8Array(10).fill(2));
      await pending;
      const before = await hex(await image.read(0, 200_000));
      await image.close();
      await using again = await openImage('grow.raw');
      const bytes = await again.read(0, 200_000);
      return [before === await hex(bytes), bytes[99_999], bytes[100_000], bytes[150_009], bytes[150_010], again.size];
    `);
    expect(result).toEqual([true, 1, 0, 2, 0, 200_000]);
  });

  it('reads images over HTTP, a window at a time', async () => {
    const { port } = server.address() as AddressInfo;
    const sum = await run(`
      await using image = await openImage('http://127.0.0.1:${port}/zstd.qcow2', { readOnly: true });
      return hex(await image.read(0, image.size));
    `);
    await using image = await openImage(at('zstd.qcow2'), { readOnly: true });
    expect(sum).toBe(sha256(await image.read(0, 4 * MIB)));
    const { length } = await readFile(at('zstd.qcow2'));
    expect(ranges.filter((range) => range.startsWith('zstd')).length).toBeLessThanOrEqual(
      2 + Math.ceil(length / 262_144),
    );
  });

  it("runs the manual's example", async () => {
    const [code = ''] = (await examples('library-disks.md', 'ts')).filter((example) => example.includes('input.files'));
    await page.setInputFiles('input', [at('zlib.qcow2')]);
    const body = code.replace(/^import .*$/m, "const input = document.querySelector('input');");
    expect(await run(`${body}\nreturn [hello, format];`)).toEqual(['hello', 'qcow2']);
  });
});
