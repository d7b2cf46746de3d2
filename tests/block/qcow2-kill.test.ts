/**
 * Nothing that was flushed is lost, whenever the process is killed: a program writes, it is killed with SIGKILL at a random moment, and
 * then the image opens, has at most leaks, and holds every byte that was flushed. ORRERY_KILLS sets how often (500 by hand).
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { closeAll, createQcow2, openQcow2 } from './support/plain-file.ts';
import { batch, DISK_BYTES } from './support/qcow2-load.ts';
import { qemuImg, toolsMissing } from './support/qemu-tools.ts';

const KILLS = Number(process.env['ORRERY_KILLS'] ?? '6');
const LOAD = join(import.meta.dirname, 'support', 'qcow2-load.ts');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orrery-kill-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Lets the load run until `ms` after its first flush; the number of the last batch that it said was flushed. */
function runAndKill(path: string, seed: number, ms: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [LOAD, path, String(seed)], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [said, complaint] = ['', ''];
    let timer: NodeJS.Timeout | undefined;
    child.stdout.on('data', (text: Buffer) => {
      said += text.toString();
      timer ??= setTimeout(() => child.kill('SIGKILL'), ms);
    });
    child.stderr.on('data', (text: Buffer) => (complaint += text.toString()));
    child.on('exit', (_code, signal) => {
      clearTimeout(timer);
      if (signal !== 'SIGKILL') reject(new Error(`the load ended by itself: ${complaint}`));
      else resolve(Number(said.slice(0, said.lastIndexOf('\n')).split('\n').at(-1)));
    });
  });
}

/** Fails unless each byte has its flushed value, or one that a later request wrote. */
function compare(seen: Uint8Array, before: Uint8Array, seed: number, flushed: number): void {
  const must = before.slice();
  for (let number = 1; number <= flushed; number++)
    for (const { offset, bytes, fill } of batch(seed, number)) must.fill(fill, offset, offset + bytes);
  // One batch at most was under way, or flushed but not yet said so; a second one cannot have begun before that was said.
  const may = must.slice();
  const touched = new Uint8Array(must.length);
  for (const { offset, bytes, fill } of batch(seed, flushed + 1)) {
    may.fill(fill, offset, offset + bytes);
    touched.fill(1, offset, offset + bytes);
  }
  for (let at = 0; at < seen.length; at++)
    if (seen[at] !== must[at] && !(touched[at] === 1 && seen[at] === may[at]))
      expect.fail(`byte ${at} is ${seen[at]} instead of ${must[at]} after batch ${flushed} of ${seed}`);
}

const VARIANTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'refcounts at each flush': {},
  'lazy refcounts': { lazy_refcounts: 'on' },
  'subclusters and zstd': { extended_l2: 'on', compression_type: 'zstd' },
};

describe.skipIf(toolsMissing)('killed at a random moment', () => {
  for (const [name, options] of Object.entries(VARIANTS)) {
    test(
      name,
      async () => {
        const path = join(folder, `${name.replaceAll(' ', '-')}.qcow2`);
        await createQcow2(path, DISK_BYTES, options);
        let content = new Uint8Array(DISK_BYTES);
        const counts = { clean: 0, leaks: 0, repaired: 0 };
        for (let kill = 0; kill < Math.ceil(KILLS / 3); kill++) {
          const seed = kill + 1;
          const flushed = await runAndKill(path, seed, Math.random() * 250);
          // The dirty bit (lazy refcounts, a snapshot under way) announces a repair when it is opened; otherwise leaks are the worst.
          const check = qemuImg('check', path);
          if (!(await isDirty(path))) expect([0, 3], `kill ${kill}: ${check.text}`).toContain(check.status);
          const node = await openQcow2(path);
          counts[check.status === 0 ? 'clean' : check.status === 3 ? 'leaks' : 'repaired']++;
          const seen = new Uint8Array(DISK_BYTES);
          await node.read(0, [seen]);
          compare(seen, content, seed, flushed);
          content = seen;
          await closeAll(node);
          const after = qemuImg('check', path);
          expect([0, 3], `kill ${kill}, opened again: ${after.text}`).toContain(after.status);
        }
        if (KILLS > 100) console.log(name, counts);
      },
      KILLS * 5000 + 60_000,
    );
  }
});

async function isDirty(path: string): Promise<boolean> {
  const node = await openQcow2(path, { readOnly: true });
  const dirty = node.imageInfo().dirty;
  await closeAll(node);
  return dirty;
}
