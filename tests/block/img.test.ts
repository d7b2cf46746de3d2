/** `orrery img` beside the distribution's tool: the same words, the same output and exit status, and images with the same content. */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { imgCommand } from '../../src/cli/img.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';

const MIB = 1024 ** 2;
const folder = mkdtempSync(join(tmpdir(), 'orrery-img-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
/** What both start from, theirs, and ours. */
const [START, THEIRS, OURS] = ['s', 'a', 'b'].map((name) => join(folder, name)) as [string, string, string];

interface Said {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Words with `@` for the folder. */
async function theirs(words: string): Promise<Said> {
  const args = words.split(' ').map((word) => word.replaceAll('@', THEIRS));
  return new Promise((resolve) => {
    execFile('/usr/bin/qemu-img', args, (error, out, err) => {
      resolve({ status: Number(error?.code ?? 0), out: neutral(out), err: neutral(err) });
    });
  });
}

async function ours(words: string): Promise<Said> {
  const said = { out: '', err: '' };
  const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((said.out += String(text)), true));
  const err = vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((said.err += String(text)), true));
  try {
    const status = await imgCommand.run(words.split(' ').map((word) => word.replaceAll('@', OURS)));
    return { status, out: neutral(said.out), err: neutral(said.err) };
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}

function neutral(text: string): string {
  return text
    .replaceAll(THEIRS, '@')
    .replaceAll(OURS, '@')
    .replaceAll('orrery img', 'qemu-img')
    .replace(/(\r? +\(\d+\.\d\d\/100%\))+\r/g, 'progress')
    .replace(/(Detected format of \w+\.)\n/, '$1')
    .replace(/disk size: .*/g, 'disk size: …')
    .replace(/"actual-size": \d+/g, '"actual-size": …')
    .replace(/"?(parent.)?cid"?: \d+/g, 'cid: …')
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'date')
    .replace(/"date-n?sec": \d+/g, '"date": …');
}

async function both(words: string): Promise<void> {
  const [expected, found] = await Promise.all([theirs(words), ours(words)]);
  expect(found, words).toEqual(expected);
}

const { skipIf } = describe;

skipIf(toolsMissing !== undefined)('orrery img and the distribution’s tool', () => {
  beforeAll(() => {
    mkdirSync(START);
    const data = new Uint8Array(3 * MIB + 512);
    for (let at = 0; at < 300_000; at++) data[at] = (at * 7) ^ (at >> 5);
    data.fill(0xee, 2 * MIB + 4096, 2 * MIB + 8192);
    writeFileSync(join(START, 'b.raw'), data);
    writeFileSync(
      join(START, 'd.raw'),
      data.map((byte, at) => (at < 65536 || at > 2.5 * MIB ? byte ^ 1 : byte)),
    );
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'b.raw', '-F', 'raw', join(START, 'o.q'));
    qemuImg('convert', '-c', '-O', 'qcow2', join(START, 'b.raw'), join(START, 'c.q'));
    qemuImg('snapshot', '-c', 'one', join(START, 'c.q'));
    qemuImg('resize', '-q', join(START, 'o.q'), '+1M');
    qemuImg('bitmap', '--add', join(START, 'o.q'), 'dirty');
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'o.q', '-F', 'qcow2', join(START, 'p.q'));
    qemuImg('bitmap', '--add', join(START, 'p.q'), 'dirty');
    qemuImg('create', '-q', '-f', 'vmdk', join(START, 'short.vmdk'), '100G');
    truncateSync(join(START, 'short.vmdk'), 4 * MIB);
    qemuImg('create', '-q', '-f', 'vpc', '-o', 'force_size=on', join(START, 'large.vhd'), '200G');
  });
  beforeEach(() => {
    for (const place of [THEIRS, OURS]) {
      rmSync(place, { recursive: true, force: true });
      cpSync(START, place, { recursive: true });
    }
  });

  test.each([
    'info @/o.q', 'info --output=json --backing-chain @/o.q', 'info @/c.q', 'info --output=json @/c.q', 'info @/none',
    'info -f qcow2 @/b.raw', 'info', 'info --output=x @/o.q', 'info --image-opts driver=qcow2,file.filename=@/c.q',
    'map @/o.q', 'map --output=json @/o.q', 'map --output=json -s 100k -l 1M @/o.q', 'map @/c.q', 'map --output=json @/c.q',
    'check @/o.q', 'check --output=json @/c.q', 'check @/b.raw', 'check -r x @/o.q',
    'compare @/o.q @/b.raw', 'compare -p @/c.q @/b.raw', 'compare -s @/c.q @/o.q', 'compare @/c.q',
    'snapshot -l @/c.q', 'measure -O qcow2 @/o.q', 'measure --output=json --size 1G -O qcow2',
    'measure -O qcow2 -l one @/c.q', 'measure', 'measure --size 1G -O vdi', 'measure --size 7E -O qcow2', 'measure -l snapshot.x=y', 'create -f vmdk @/x 5T', 'info @/short.vmdk',
    'map --image-opts driver=raw,file.filename=@/d.raw,backing.driver=raw,backing.file.filename=@/b.raw',
    'map --output=json --image-opts driver=vpc,force_size_calc=chs,file.filename=@/large.vhd',
    'create -u -f qcow2 -o backing_file=a,,help,backing_fmt=raw @/x 1M', 'convert', 'convert @/b.raw', 'convert -m 99 @/b.raw @/x', 'nothing', 'info --wrong @/o.q', 'info -f',
  ])('%s', both); // prettier-ignore

  test.each([
    'create -f qcow2 @/x 3M', 'create -f qcow2 -b @/b.raw -F raw @/x', 'create -f qcow2 -b @/b.raw @/x',
    'create -f qcow2 -o cluster_size=4k,lazy_refcounts=on,refcount_bits=1 @/x 1G', 'create -f raw @/x 10k',
    'create -f vmdk @/x 1M', 'create -f vdi @/x 1M', 'create -f qcow2 @/x', 'create -f qcow2 -o cluster_size=3 @/x 1M',
    'create -f qcow2 -o wrong=1 @/x 1M', 'create -f raw -o help', 'create -f qcow2 -o ,, @/x 1M', 'create -f raw @/x 1234', 'create @/x 1Z', 'create -f qcow2 @/x 1E', 'create -f qcow2 -o refcount_bits=-1 @/x 1M', 'create @/x 1M 2M',
    'convert -O qcow2 @/b.raw @/x', 'convert -p -c -O qcow2 @/b.raw @/x', 'convert -W -m 3 @/o.q @/x',
    'convert -c -O qcow2 -o compression_type=zstd,cluster_size=8k @/b.raw @/x', 'convert -S 0 @/c.q @/x',
    'convert -O qcow2 -B @/b.raw -F raw @/o.q @/x', 'convert -O qcow2 -B @/b.raw @/b.raw @/o.q @/x', 'convert -c -S 0 -O qcow2 @/c.q @/x',
    'convert -l one -O vmdk @/c.q @/x', 'convert @/b.raw @/o.q @/x',
    'convert -O vpc @/b.raw @/x', 'convert --bitmaps -O qcow2 @/o.q @/x', 'convert -n -O raw @/c.q @/x',
    'resize @/o.q +1M', 'resize -f raw @/b.raw 1M', 'resize -f raw --shrink @/b.raw 1M', 'resize @/c.q 5M', 'resize @/c.q x',
    'commit @/o.q', 'commit -d @/o.q', 'commit @/c.q', 'rebase -b @/d.raw -F raw @/o.q', 'rebase -b @/d.raw @/o.q',
    'rebase -b x -F raw @/o.q', 'rebase @/o.q', 'rebase -u -b  @/o.q', 'amend -o compat=0.10 @/c.q', 'amend -o cluster_size=4k @/c.q',
    'dd bs=100k skip=1 count=3 if=@/b.raw of=@/x', 'dd -O qcow2 if=@/o.q of=@/x', 'dd if=@/b.raw', 'bitmap --remove @/o.q dirty',
    'bitmap --add --merge dirty @/o.q more',
    'bitmap --add --merge dirty -b @/p.q -F qcow2 @/o.q more', 'bitmap --clear @/o.q none', 'bitmap @/o.q x',
    'snapshot -c two @/o.q', 'snapshot -d one @/c.q', 'snapshot -a one @/c.q', 'snapshot -d none @/c.q', 'snapshot -c x @/b.raw',
  ])('%s', async (words) => {
    await both(words);
    for (const name of ['x', 'o.q', 'c.q', 'b.raw'] as const) {
      const made = join(OURS, name);
      if (!existsSync(join(THEIRS, name)) || !words.includes(name)) continue;
      const check = qemuImg('check', '-q', made);
      expect(check.status === 0 || check.status === 63, check.text).toBe(true);
      expect(qemuImg('compare', join(THEIRS, name), made).text).toContain('identical');
    }
  }); // prettier-ignore
});
