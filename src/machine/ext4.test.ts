import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ext4Writes, MIN_EXT4_BYTES } from './ext4.ts';

const folder = mkdtempSync(join(tmpdir(), 'orrery-ext4-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const uuid = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const GIBIBYTE = 2 ** 30;
const found = spawnSync('e2fsck', ['-V']).error === undefined;
if (!found) console.warn('e2fsck (package e2fsprogs) is not there to judge the file systems');

describe.skipIf(!found)('an empty ext4 file system', () => {
  it.each([MIN_EXT4_BYTES, 127 * 2 ** 20, 128 * 2 ** 20 + 4096, GIBIBYTE])(
    'of %d bytes is what e2fsck wants it to be',
    (sizeBytes) => {
      const path = join(folder, `${sizeBytes}.raw`);
      const file = openSync(path, 'w');
      ftruncateSync(file, sizeBytes);
      for (const { offset, bytes } of ext4Writes({ sizeBytes, uuid, time: 1_700_000_000 }))
        writeSync(file, bytes, 0, bytes.length, offset);
      closeSync(file);
      const { status, stdout, stderr } = spawnSync('e2fsck', ['-fn', path], { encoding: 'utf8' });
      expect(`${stdout}${stderr}`).toMatch(/11\/\d+ files/);
      expect(status).toBe(0);
      rmSync(path);
    },
  );
});
