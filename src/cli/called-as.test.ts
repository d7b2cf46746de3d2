import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const launcher = fileURLToPath(new URL('../../bin/orrery.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'orrery-called-'));
afterAll(() => rmSync(folder, { recursive: true }));

function call(name: string, ...args: string[]): { status: number | null; error: string; output: string } {
  const link = join(folder, name);
  symlinkSync(launcher, link);
  const { status, stderr, stdout } = spawnSync(process.execPath, [link, ...args], { encoding: 'utf8', cwd: folder });
  return { status, error: stderr, output: stdout };
}

describe('a link to the launcher', () => {
  it('named qemu-img is orrery img, and says so', () => {
    expect(call('qemu-img', 'info', 'absent')).toEqual({
      status: 1,
      error: "qemu-img: Could not open 'absent': Could not open 'absent': No such file or directory\n",
      output: '',
    });
  });

  it('named qemu-nbd is orrery nbd', () => {
    expect(call('qemu-nbd', '--socket')).toMatchObject({
      status: 1,
      error: expect.stringContaining(
        "qemu-nbd: option '--socket' requires an argument\nTry `qemu-nbd --help' for more",
      ),
    });
  });

  it('of any other name is the launcher itself', () => {
    expect(call('emulator', 'help').output).toMatch(/^usage: orrery COMMAND/);
  });
});
