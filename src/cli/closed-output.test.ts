import { spawn } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'orrery-output-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('ends without a word when nobody reads its output any more', async () => {
  const path = join(folder, 'holes.raw');
  const fd = openSync(path, 'w');
  for (let piece = 0; piece < 200; piece++) writeSync(fd, new Uint8Array(4096).fill(1), 0, 4096, piece * 131_072);
  const child = spawn(process.execPath, [MAIN, 'img', 'map', '--output=json', path], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.destroy();
  let errors = '';
  child.stderr.on('data', (piece: Uint8Array) => (errors += String(piece)));
  const status = await new Promise((resolve) => child.on('close', resolve));
  expect([status, errors]).toEqual([141, '']);
});
