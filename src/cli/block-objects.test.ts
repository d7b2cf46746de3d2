import { createCipheriv } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { nodeBlockHost } from '../host/node/block/host.ts';
import { BlockObjects } from './block-objects.ts';

const objects = (...texts: string[]): BlockObjects => new BlockObjects(nodeBlockHost, texts);
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

it('secrets come from the option, from a file, in base64 and encrypted under another', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'orrery-objects-'));
  writeFileSync(join(folder, 'secret'), 'c2VzYW1l\n');
  const key = Buffer.alloc(32, 7);
  const iv = Buffer.alloc(16, 3);
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const hidden = Buffer.concat([cipher.update('under a key'), cipher.final()]).toString('base64');
  const made = objects(
    'secret,id=a,data=open,,sesame',
    `qom-type=secret,id=b,format=base64,file=${join(folder, 'secret')}`,
    `secret,id=key,format=base64,data=${key.toString('base64')}`,
    JSON.stringify({
      'qom-type': 'secret',
      id: 'c',
      keyid: 'key',
      iv: iv.toString('base64'),
      data: hidden,
      format: 'base64',
    }),
  );
  expect(text(await made.secret('a'))).toBe('open,sesame');
  expect(text(await made.secret('b'))).toBe('sesame');
  expect(text(await made.secret('c'))).toBe('under a key');
  await expect(made.secret('d')).rejects.toThrow("No secret with id 'd'");
  rmSync(folder, { recursive: true });
});

it('throttle groups have limits in both spellings', () => {
  const made = objects('throttle-group,id=g,x-iops-total=100,limits.bps-read-max=4096');
  expect(made.throttleGroup('g')).toEqual({ 'iops-total': 100, 'bps-read-max': 4096 });
  expect(made.throttleGroup('h')).toBeUndefined();
});

it.each([
  ['secret,data=x', "Parameter 'id' is missing"],
  ['secret,id=a', "Either 'file' or 'data' must be provided"],
  ['secret,id=a,data=x,file=y', "'file' and 'data' are mutually exclusive"],
  ['secret,id=a,data=x,colour=red', "Parameter 'colour' is unexpected"],
  ['secret,id=a,data=x,format=hex', "Parameter 'format' does not accept value 'hex'"],
  ['secret,id=1,data=x', "Parameter 'id' expects an identifier"],
  ['iothread,id=a', "Parameter 'qom-type' does not accept value 'iothread'"],
  ['throttle-group,id=g,limits.speed=1', "Parameter 'limits.speed' is unexpected"],
  ['{"id":', 'this is no JSON'],
])('refuses %s', (option, sentence) => {
  expect(() => objects(option)).toThrow(sentence);
});

it('refuses the same id twice', () => {
  expect(() => objects('secret,id=a,data=x', 'throttle-group,id=a')).toThrow("attempt to add duplicate property 'a'");
});
