/** `orrery run --disk`, as its user has it: a disk that is not there yet, and is what was left of it the next time. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { openImage } from '../../src/node.ts';
import { guest } from './guest.ts';

const amd64 = await guest('amd64');
const folder = mkdtempSync(join(tmpdir(), 'orrery-run-disk-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const LAUNCHER = fileURLToPath(new URL('../../bin/orrery.js', import.meta.url));

function run(disks: readonly string[], script: string): { status: number | null; output: string } {
  const words = disks.flatMap((disk) => ['--disk', join(folder, disk)]);
  const command = ['run', ...words, '--disk-size', '64M', '--', 'sh', '-c', script];
  const { status, stdout, stderr } = spawnSync(process.execPath, [LAUNCHER, ...command], { encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

describe.skipIf(amd64 === undefined)('the disk of orrery run', () => {
  it('is made at its first use, and keeps what was written', { timeout: 240_000 }, async () => {
    const first = run(
      ['a.qcow2', 'b.raw'],
      'df -k /disk1 | tail -1; seq 100000 >/disk/numbers; mkdir /disk1/x; md5sum </disk/numbers',
    );
    expect(first.status).toBe(0);
    const [sum = ''] = /^[0-9a-f]{32}/m.exec(first.output) ?? [];
    expect(sum).not.toBe('');
    const second = run(['a.qcow2', 'b.raw'], 'md5sum </disk/numbers; ls -d /disk1/x; rm /disk/numbers; exit 7');
    expect(second).toEqual({ status: 7, output: `${sum}  -\n/disk1/x\n` });
    const image = await openImage(join(folder, 'a.qcow2'), { readOnly: true });
    expect(image.format).toBe('qcow2');
    await image.close();
  });
});
