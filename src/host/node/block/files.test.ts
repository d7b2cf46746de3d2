/** Files of the host with koffi and without it. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { libc } from './libc.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'orrery-files-'));
const path = join(folder, 'file.raw');
afterAll(() => rmSync(folder, { recursive: true }));

const WITHOUT_KOFFI = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  registerHooks({ resolve(name, context, next) {
    if (name === 'koffi') throw new Error('not installed');
    return next(name, context);
  } });
`)}`;

/** What a process of its own finds: a file of 1 MiB of data whose middle is zeroed and whose end is discarded. */
const PROGRAM = `
  import { BlockGraph } from '${new URL('../../../block/graph.ts', import.meta.url).href}';
  import { nodeBlockHost } from '${new URL('./host.ts', import.meta.url).href}';
  import { libc } from '${new URL('./libc.ts', import.meta.url).href}';
  const graph = new BlockGraph(nodeBlockHost);
  const node = await graph.open({ driver: 'file', filename: process.argv[1] }, { unmap: true });
  await node.writeZeroes(262144, 262144, { unmap: true });
  await node.discard(524288, 262144);
  await node.truncate(2 << 20, { preallocation: 'falloc' });
  const data = new Uint8Array(2 << 20);
  await node.read(0, [data]);
  const { bytes, data: stored } = await node.status(0, 1 << 20);
  const other = await new BlockGraph(nodeBlockHost).open({ driver: 'file', filename: process.argv[1] }).then(
    () => 'open', (error) => error.message.split('\\n')[0]);
  await graph.closeAll();
  console.log(JSON.stringify({
    native: (await libc()) !== undefined, zeroed: data.subarray(262144, 524288).every((byte) => byte === 0),
    kept: data[0] + data[262143] + data[786432], extent: [bytes, stored], other,
  }));
`;

async function found(...options: string[]): Promise<Record<string, unknown>> {
  writeFileSync(path, Buffer.alloc(1 << 20, 1));
  const args = [...options, '--input-type=module', '-e', PROGRAM, path];
  const { stdout } = await run(process.execPath, args, { cwd: fileURLToPath(new URL('.', import.meta.url)) });
  return JSON.parse(stdout) as Record<string, unknown>;
}

it.skipIf((await libc()) === undefined)('with koffi has holes, preallocation and locks', async () => {
  expect(await found()).toEqual({
    native: true, zeroed: true, kept: 3, extent: [262_144, true], other: 'Failed to get "write" lock'
  }); // prettier-ignore
});

it('without koffi writes zeroes, knows no holes, and keeps nobody out', async () => {
  expect(await found('--import', WITHOUT_KOFFI)).toEqual({
    native: false, zeroed: true, kept: 3, extent: [1 << 20, true], other: 'open'
  }); // prettier-ignore
});
