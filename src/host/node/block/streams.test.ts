import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { HostStream } from '../../../block/host.ts';
import { listenStream } from './streams.ts';

const folder = mkdtempSync(join(tmpdir(), 'orrery-streams-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('a connection that is closed does not wait for ever for a peer that reads nothing', async () => {
  const path = join(folder, 'sock');
  const accepted = Promise.withResolvers<HostStream>();
  const listener = await listenStream({ type: 'unix', path }, accepted.resolve);
  const peer = connect(path);
  peer.pause();
  const stream = await accepted.promise;
  const written = stream.write([new Uint8Array(8 * 1024 ** 2)]);
  await new Promise((resolve) => setImmediate(resolve));
  stream.close();
  await expect(written).rejects.toThrow();
  peer.destroy();
  await listener.close();
});
