/** The same engine in a browser: headless Chromium opens the page, which boots the same guest. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guest, scriptArchive } from '../guests/guest.ts';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);
if (CHROMIUM === undefined) console.warn('no Chromium to test the page with');
const image = CHROMIUM === undefined ? undefined : await guest();

const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** Serves the built page and the guest's files with the headers that shared memory needs. */
async function serve(folder: string, files: Readonly<Record<string, Uint8Array>>): Promise<Server> {
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname.slice(1) || 'index.html';
    const headers = {
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
      'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream',
    };
    const content = files[path];
    (content === undefined ? readFile(join(folder, path)) : Promise.resolve(content)).then(
      (bytes) => response.writeHead(200, headers).end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

describe.skipIf(image === undefined)('the page in Chromium', () => {
  let folder = '';
  let server: Server;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'orrery-page-'));
    await build({ root: 'web', logLevel: 'error', build: { outDir: folder, emptyOutDir: true, target: 'esnext' } });
    // INVARIANT: the suite is skipped where there is no guest.
    const { kernel, initrd } = image!;
    const script = scriptArchive('uname -sm; dd if=/dev/zero bs=1M count=10 2>/dev/null | md5sum');
    server = await serve(folder, { vmlinuz: kernel, 'initrd.cpio': initrd, 'script.cpio': script });
  });

  afterAll(async () => {
    server.close();
    await rm(folder, { recursive: true });
  });

  it.each(['jit', 'interp'])('boots Linux and powers it off (%s)', async (accel) => {
    const browser = await chromium.launch({
      executablePath: CHROMIUM ?? '',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
    try {
      const page = await browser.newPage();
      const { port } = server.address() as AddressInfo;
      await page.goto(`http://127.0.0.1:${port}/?accel=${accel}&initrd=initrd.cpio&initrd=script.cpio`);
      await page.waitForFunction('document.body.dataset.exit !== undefined', undefined, { timeout: 240_000 });
      expect(await page.evaluate('document.body.dataset.exit')).toBe('poweroff');
      const text = String(await page.evaluate('document.getElementById("console").textContent'));
      expect(text).toContain('Linux x86_64');
      // 10 MiB of zeros
      expect(text).toContain('f1c9645dbc14efddc7d8a322685f26eb');
    } finally {
      await browser.close();
    }
  });
});
