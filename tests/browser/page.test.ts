/** The same engine in a browser: headless Chromium opens the page, which boots the same guest. */
import { mkdtemp, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guest, scriptArchive } from '../guests/guest.ts';
import { CHROMIUM, launch, serve } from './chromium.ts';

if (CHROMIUM === undefined) console.warn('no Chromium to test the page with');
const image = CHROMIUM === undefined ? undefined : await guest();

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
    const browser = await launch();
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
