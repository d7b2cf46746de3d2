/** `orrery img rebase` and `commit` beside the distribution's tool. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Both } from './support/img-both.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';

const MIB = 1024 ** 2;
const both = new Both();
afterAll(() => both.remove());

/** A raw file of `bytes` with runs of data, each its place, length and byte. */
function rawFile(name: string, bytes: number, ...runs: readonly (readonly [number, number, number])[]): string {
  const data = new Uint8Array(bytes);
  for (const [at, length, byte] of runs) data.fill(byte, at, at + length);
  const path = join(both.start, name);
  writeFileSync(path, data);
  return path;
}

const { skipIf } = describe;

skipIf(toolsMissing !== undefined)('orrery img on backing chains and the distribution’s tool', () => {
  beforeAll(() => {
    const first = rawFile('first.raw', 2 * MIB, [0, 300_000, 1], [700_000, 100_000, 2], [1_500_000, 50_000, 7]);
    const mid = rawFile('mid.raw', 2 * MIB, [0, 300_000, 1], [700_000, 100_000, 2], [2 * MIB - 9000, 4000, 3]);
    const top = rawFile('top.raw', 3 * MIB, [0, 300_000, 1], [1_000_000, 700, 4], [3 * MIB - 9000, 4000, 5]);
    rawFile('other.raw', MIB, [0, 200_000, 1], [600_000, 300_000, 6]);
    qemuImg('convert', '-O', 'qcow2', first, join(both.start, 'base'));
    qemuImg('convert', '-O', 'qcow2', '-B', 'base', '-F', 'qcow2', mid, join(both.start, 'mid'));
    qemuImg('convert', '-O', 'qcow2', '-B', 'mid', '-F', 'qcow2', top, join(both.start, 'top'));
    qemuImg('convert', '-O', 'qcow2', join(both.start, 'other.raw'), join(both.start, 'other'));
    // One that ends before the image that it is on, and a longer one on that; data begins and ends within clusters.
    const short = join(both.start, 'short');
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', '-b', 'base', '-F', 'qcow2', short, '1200640');
    const changes = [
      'write -P 1 64k 300k',
      'write -z 400k 130k',
      'write -P 2 534k 1k',
      'write -P 3 640k 512',
      'write -P 4 650k 512',
    ];
    execFileSync('/usr/bin/qemu-io', [...changes.flatMap((change) => ['-c', change]), short]);
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'short', '-F', 'qcow2', join(both.start, 'long'), '2500k');
    qemuImg(
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      'extended_l2=on',
      '-b',
      'base',
      '-F',
      'qcow2',
      join(both.start, 'parts'),
      '503k',
    );
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', join(both.start, 'small'), '1M');
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'other.raw', '-F', 'raw', join(both.start, 'thin'), '1M');
  });
  beforeEach(() => both.reset());

  const long = 'a'.repeat(1100);
  test.each([
    'rebase -b other -F qcow2 @/top', 'rebase -p -b base -F qcow2 @/top', 'rebase -b  @/top', 'rebase -b @/other.raw -F raw @/top',
    'rebase -u -b base -F qcow2 @/mid', 'rebase -u -b  @/thin', 'rebase -p -u -b x -F raw @/thin', 'rebase -u @/thin',
    'rebase -b none -F qcow2 @/top', 'rebase -b base -F none @/top', 'rebase -b base @/top', 'rebase', 'rebase @/top',
    'rebase -t x -b base -F qcow2 @/top', 'rebase -T x -b base -F qcow2 @/top', 'rebase -b  -f raw @/top',
    `rebase -u -b ${long} -F raw @/mid`, `rebase -u -b ${long.slice(0, 500)} -F raw @/small`, 'rebase -b  @/top @/mid',
    'commit @/top', 'commit -p -d @/top', 'commit -q @/thin', 'commit -b base @/top', 'commit -b @/base @/top', 'commit -b none @/top',
    'commit @/base', 'commit -f raw @/first.raw', 'commit -t x @/top', 'commit -b @/./base @/top',
    'commit -r x @/top', 'commit @/top @/mid', 'commit @/none',
    'commit @/long', 'resize @/short 2M', 'resize --preallocation=metadata @/parts 2M', 'resize --preallocation=full @/parts 2000k',
    'convert -c -O qcow2 -B base -F qcow2 @/short @/x', 'commit -b mid @/top', 'commit --image-opts driver=qcow2,file.filename=@/top',
  ])('%s', async (words) => {
    await both.say(words);
    if (words.includes('@/parts')) return both.alike('parts', 'qcow2');
    if (words.includes('@/short') || words.includes('@/long')) {
      for (const name of ['short', ...(words.includes('@/x') ? ['x'] : [])]) both.alike(name, 'qcow2');
      return;
    }
    if (words.startsWith('rebase') && !words.endsWith('@/top')) return;
    await both.say('info --output=json @/top');
    const changed = words.startsWith('rebase') ? ['top'] : words.includes('base') ? ['base'] : ['mid', 'other.raw'];
    for (const name of changed) both.alike(name, name.endsWith('raw') ? 'raw' : 'qcow2');
  }); // prettier-ignore

  test('a snapshot that cannot be deleted is named', async () => {
    qemuImg('snapshot', '-c', 'one', join(both.own, 'small'));
    const rules = join(both.own, 'rules');
    writeFileSync(rules, '[inject-error]\nevent = "cluster_free"\nerrno = "5"\n');
    const { status, err } = await both.ours(`snapshot -d one blkdebug:${rules}:@/small`);
    expect(status).toBe(1);
    expect(err).toContain("Could not delete snapshot 'one': ");
  });

  test('commit keeps the options that the backing image has', async () => {
    const file = { driver: 'blkdebug', 'inject-error': [{ event: 'write_aio', errno: 28, once: true }], image: { driver: 'file', filename: join(both.own, 'small') } }; // prettier-ignore
    const full = `json:${JSON.stringify({ driver: 'qcow2', file })}`;
    qemuImg('create', '-q', '-f', 'qcow2', '-u', '-b', full, '-F', 'qcow2', join(both.own, 'x'), '1M');
    execFileSync('/usr/bin/qemu-io', ['-c', 'write 0 64k', join(both.own, 'x')]);
    const { status, err } = await both.ours('commit @/x');
    expect([status, err]).toEqual([1, 'qemu-img: Block job failed: No space left on device\n']);
  });
});
