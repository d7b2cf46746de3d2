import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { BlockNode } from '../../../block/node.ts';
import { createImage } from '../../../node.ts';
import { parseSystemOptions } from '../options.ts';
import { MachineStorage } from './machine-storage.ts';

const folder = mkdtempSync(join(tmpdir(), 'orrery-storage-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MEBIBYTE = 1 << 20;
const warnings: string[] = [];

function open(...args: string[]): Promise<MachineStorage> {
  warnings.length = 0;
  return MachineStorage.open(parseSystemOptions(args).storage, (sentence) => warnings.push(sentence));
}

function image(name: string, fill = 0): string {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array(MEBIBYTE).fill(fill));
  return path;
}

async function byteAt(node: BlockNode | undefined, offset: number): Promise<number | undefined> {
  const byte = new Uint8Array(1);
  await node?.read(offset, [byte]);
  return byte[0];
}

describe('the disks of a command line', () => {
  it('orders drives by interface and index, and names those that nobody named', async () => {
    const [a, b, c] = [image('a.raw'), image('b.raw'), image('c.iso')];
    const storage = await open(
      ...['-drive', `file=${b},if=virtio,format=raw,index=1`, '-hda', a, '-cdrom', c, '-drive', 'if=scsi,media=cdrom'],
    );
    expect(storage.drives.map(({ id, interface: kind }) => `${id} ${kind}`)).toEqual([
      'ide0-hd0 virtio',
      'ide1-cd0 cdrom',
      'virtio1 virtio',
      'scsi0-cd0 cdrom',
    ]);
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain('no IDE controller yet');
    expect(warnings[1]).toContain('taken for raw');
    await storage.close();
  });

  it('takes json: for the options of the top node, also with options of the drive beside it', async () => {
    const filename = join(folder, 'json.qcow2');
    const made = await createImage({ filename, format: 'qcow2', size: MEBIBYTE });
    await made.close();
    const json = JSON.stringify({ driver: 'qcow2', file: { driver: 'file', filename } }).replaceAll(',', ',,');
    const storage = await open('-drive', `file=json:${json},if=virtio,detect-zeroes=on`);
    expect(storage.drives.map(({ node }) => [node?.driver, node?.size])).toEqual([['qcow2', MEBIBYTE]]);
    expect(warnings).toEqual([]);
    await storage.close();
  });

  it('opens nodes that devices name, also inside each other', async () => {
    const path = image('d.raw', 7);
    const storage = await open(
      ...['-blockdev', `driver=file,node-name=f,filename=${path},read-only=on`],
      ...['-blockdev', 'driver=raw,node-name=r,file=f,offset=512,read-only=on,discard=unmap'],
    );
    expect(storage.drives).toMatchObject([
      { id: 'f', interface: 'none' },
      { id: 'r', discard: true },
    ]);
    expect(await byteAt(storage.drives[1]?.node, 0)).toBe(7);
    await storage.close();
  });

  it('keeps what is written to it, but not with -snapshot', async () => {
    const path = image('e.raw', 1);
    const drive = ['-drive', `file=${path},format=raw,if=virtio`];
    const temporary = await open(...drive, '-snapshot');
    await temporary.drives[0]?.node?.write(4096, [Uint8Array.of(9)]);
    expect(await byteAt(temporary.drives[0]?.node, 4096)).toBe(9);
    expect(await byteAt(temporary.drives[0]?.node, 4097)).toBe(1);
    await temporary.close();
    expect(readFileSync(path)[4096]).toBe(1);

    const lasting = await open(...drive);
    await lasting.drives[0]?.node?.write(4096, [Uint8Array.of(9)]);
    await lasting.close();
    expect(readFileSync(path)[4096]).toBe(9);
  });

  it('puts limits and filters over a drive', async () => {
    const drive = `file=${image('f.raw')},format=raw,if=virtio`;
    const limited = await open('-drive', `${drive},throttling.iops-total=1000,copy-on-read=on`);
    const [top] = limited.drives;
    expect([top?.node?.driver, top?.node?.children[0]?.node.driver]).toEqual(['throttle', 'copy-on-read']);
    await limited.close();
    const sparse = await open('-drive', `${drive},discard=unmap,detect-zeroes=unmap`);
    await sparse.drives[0]?.node?.write(0, [new Uint8Array(65536)]);
    expect(await sparse.drives[0]?.node?.status(0, 65536)).toMatchObject({ data: false });
    await sparse.close();
  });

  it('opens an encrypted image with a secret', async () => {
    const path = join(folder, 'g.luks');
    const options = { 'key-secret': 'k', 'iter-time': 10 };
    const made = await createImage(
      { filename: path, format: 'luks', size: MEBIBYTE, options },
      { secrets: { k: 'word' } },
    );
    await made.close();
    const words = ['-object', 'secret,id=k,data=word', '-drive', `file=${path},format=luks,key-secret=k,if=none`];
    const storage = await open(...words);
    expect(storage.drives[0]?.node?.size).toBe(MEBIBYTE);
    await storage.close();
  });

  it('makes images whole or not at all', async () => {
    const path = join(folder, 'new.qcow2');
    await MachineStorage.createImage(path, MEBIBYTE);
    expect(existsSync(`${path}.new`)).toBe(false);
    const storage = await open('-drive', `file=${path},if=none,id=x`);
    expect(storage.drives[0]?.node).toMatchObject({ driver: 'qcow2', size: MEBIBYTE });
    await storage.close();
  });

  it.each([
    [['-hda', '/nowhere/x'], "-hda /nowhere/x: Could not open '/nowhere/x': No such file or directory"],
    [['-drive', 'format=raw'], '-drive format=raw: '],
    [['-drive', 'if=virtio'], '-drive if=virtio: file= is missing'],
    [['-hdc', 'x', '-cdrom', 'y'], '-cdrom y: place 2 has the drive of -hdc x already'],
    [['-object', 'rng-random,id=r'], "Parameter 'qom-type' does not accept value 'rng-random'"],
  ])('refuses %j in one sentence', async (args, message) => {
    await expect(open(...args)).rejects.toThrow(message);
  });
});
