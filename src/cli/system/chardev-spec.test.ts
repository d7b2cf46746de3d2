import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { NullChardev } from '../../chardev/chardev.ts';
import type { CharEvent, CharFrontend } from '../../chardev/chardev.ts';
import { expandCharText, openChardev } from './chardev-spec.ts';

const folder = mkdtempSync(join(tmpdir(), 'orrery-chardev-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const noStdio = (): NullChardev => new NullChardev();
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

class Listener implements CharFrontend {
  text = '';
  readonly events: CharEvent[] = [];
  canReceive(): number {
    return 1000;
  }
  receive(bytes: Uint8Array): void {
    this.text += new TextDecoder().decode(bytes);
  }
  event(event: CharEvent): void {
    this.events.push(event);
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('the words of -serial', () => {
  it.each([
    ['stdio', { name: 'stdio', properties: { mux: 'off' } }],
    ['mon:stdio', { name: 'stdio', properties: { mux: 'on', signal: 'off' } }],
    ['file:/tmp/a:b', { name: 'file', properties: { path: '/tmp/a:b' } }],
    [
      'tcp:localhost:4000,server,nowait',
      { name: 'socket', properties: { host: 'localhost', port: '4000', server: 'on', wait: 'off' } },
    ],
    ['tcp::4000', { name: 'socket', properties: { host: '', port: '4000' } }],
    ['unix:/run/x,server=on,wait=off', { name: 'socket', properties: { path: '/run/x', server: 'on', wait: 'off' } }],
  ])('%s', (text, list) => {
    expect(expandCharText('serial', text)).toEqual(list);
  });

  it('refuses what there is not', () => {
    expect(() => expandCharText('serial', 'stdoi')).toThrow(
      "-serial: no character device 'stdoi'; did you mean 'stdio'?",
    );
    expect(() => openChardev({ name: 'socket', properties: { prot: '1' } }, noStdio, () => {})).toThrow(
      "chardev socket: no property 'prot'; did you mean 'port'?",
    );
    expect(() => openChardev({ name: 'file', properties: {} }, noStdio, () => {})).toThrow(
      'chardev file: path= is missing',
    );
    expect(() => openChardev({ name: 'file', properties: { path: folder } }, noStdio, () => {})).toThrow(
      `${folder} cannot be written: EISDIR`,
    );
  });
});

describe('backends', () => {
  it('write to a file, anew or behind what is there', async () => {
    const path = join(folder, 'out');
    for (const append of ['off', 'on']) {
      const { chardev, close } = openChardev({ name: 'file', properties: { path, append } }, noStdio, () => {});
      expect(chardev.write(encode('abc'))).toBe(3);
      await close();
    }
    expect(readFileSync(path, 'utf8')).toBe('abcabc');
  });

  it('serve one client after another, and keep quiet in between', async () => {
    const path = join(folder, 'socket');
    const { chardev, ready, close } = openChardev(
      { name: 'socket', properties: { path, server: 'on', wait: 'off' } },
      noStdio,
      () => {},
    );
    const guest = new Listener();
    chardev.attach(guest);
    await ready;
    expect(chardev.write(encode('nobody hears'))).toBe(12);
    for (const word of ['one', 'two']) {
      guest.text = '';
      const before = guest.events.length;
      const client = connect(path);
      let heard = '';
      client.on('data', (bytes) => (heard += String(bytes)));
      client.write(word);
      await until(() => guest.text === word);
      chardev.write(encode(`hello ${word}`));
      await until(() => heard === `hello ${word}`);
      client.end();
      await until(() => guest.events.length >= before + 2);
      expect(guest.events.slice(-2)).toEqual(['opened', 'closed']);
    }
    await close();
  });

  it('tell where nobody listens', async () => {
    const { ready } = openChardev({ name: 'socket', properties: { path: join(folder, 'none') } }, noStdio, () => {});
    await expect(ready).rejects.toThrow(`cannot connect to unix:${folder}/none: ENOENT`);
  });
});
