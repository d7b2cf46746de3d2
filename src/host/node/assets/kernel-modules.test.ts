import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { busyboxApplets, guestRoot } from './guest-root.ts';
import { collectModules } from './kernel-modules.ts';
import { readModuleInfo } from './modinfo.ts';

const folder = mkdtempSync(join(tmpdir(), 'orrery-modules-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** An ELF file with a string table and a .modinfo section, as small as the format allows. */
function moduleFile(info: readonly string[], wide = true): Uint8Array {
  const headerBytes = wide ? 64 : 52;
  const entryBytes = wide ? 64 : 40;
  const names = '\0.shstrtab\0.modinfo\0';
  const strings = info.map((line) => `${line}\0`).join('');
  const namesAt = headerBytes + 3 * entryBytes;
  const bytes = new Uint8Array(namesAt + names.length + strings.length);
  const view = new DataView(bytes.buffer);
  const address = (at: number, value: number): void => {
    if (wide) view.setBigUint64(at, BigInt(value), true);
    else view.setUint32(at, value, true);
  };
  bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  address(wide ? 0x28 : 0x20, headerBytes); // e_shoff
  view.setUint16(wide ? 0x3a : 0x2e, entryBytes, true);
  view.setUint16(wide ? 0x3c : 0x30, 3, true); // e_shnum
  view.setUint16(wide ? 0x3e : 0x32, 1, true); // e_shstrndx
  const section = (index: number, name: number, offset: number, size: number): void => {
    const at = headerBytes + index * entryBytes;
    view.setUint32(at, name, true);
    address(at + (wide ? 0x18 : 0x10), offset);
    address(at + (wide ? 0x20 : 0x14), size);
  };
  section(1, 1, namesAt, names.length);
  section(2, 11, namesAt + names.length, strings.length);
  bytes.set(new TextEncoder().encode(names + strings), namesAt);
  return bytes;
}

function write(path: string, content: Uint8Array): void {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

describe('kernel modules', () => {
  it.each([true, false])('tell what they need (64-bit: %s)', (wide) => {
    const info = [
      'license=GPL',
      'alias=pci:v00001AF4*',
      'depends=virtio,virtio_ring',
      'softdep=pre: crc32c aes post: x',
    ];
    expect(readModuleInfo(moduleFile(info, wide))).toEqual({
      depends: ['virtio', 'virtio_ring'],
      softDepends: ['crc32c', 'aes'],
      aliases: ['pci:v00001AF4*'],
    });
  });

  it('are refused when they are none', () => {
    expect(() => readModuleInfo(new Uint8Array(64))).toThrow('not an ELF file');
  });

  it('come with all that they need, each dependency listed before what needs it when read backwards', async () => {
    write('kernel/a/net-top.ko', moduleFile(['depends=middle', 'alias=net:*']));
    write('kernel/a/middle.ko', moduleFile(['depends=bottom']));
    write('kernel/b/bottom.ko.gz', gzipSync(moduleFile(['depends='])));
    write('kernel/b/unused.ko', moduleFile([]));
    const { modules, indices } = await collectModules(folder, ['net_top', 'absent']);
    expect(modules.map(({ name }) => name)).toEqual(['middle', 'net_top', 'bottom']);
    expect(indices['modules.dep']?.split('\n')).toContain('kernel/a/net-top.ko: kernel/a/middle.ko kernel/b/bottom.ko');
    expect(indices['modules.alias']).toBe('alias net:* net_top\n');
  });
});

describe('the root file system of guests', () => {
  const busybox = new TextEncoder().encode('\x7fELF....\0[\0[[\0ash\0busybox\0cat\0\0rest');

  it('reads the names of the applets out of BusyBox', () => {
    expect(busyboxApplets(busybox)).toEqual(['[', '[[', 'ash', 'busybox', 'cat']);
    expect(busyboxApplets(new Uint8Array(100))).toEqual([]);
  });

  it('has every parent before its children, and every path once', () => {
    const modules = {
      modules: [{ name: 'm', path: 'kernel/a/m.ko', content: new Uint8Array(1) }],
      indices: { 'modules.dep': '' },
    };
    const paths = guestRoot(busybox, '6.1', modules).map(({ path }) => path);
    expect(new Set(paths).size).toBe(paths.length);
    for (const [index, path] of paths.entries()) {
      const parent = dirname(path);
      if (parent !== '.' && parent !== 'sbin') expect(paths.slice(0, index)).toContain(parent);
    }
    expect(paths).toEqual(expect.arrayContaining(['init', 'bin/ash', 'lib/modules/6.1/kernel/a/m.ko', 'dev/console']));
  });
});
