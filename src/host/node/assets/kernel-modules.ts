/**
 * Chooses kernel modules for a guest and writes the index files by which modprobe finds them. The packages carry no such
 * index (it is made at installation), so dependencies come from the modules themselves.
 */
import { spawnSync } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { UserError } from '../../../base/errors.ts';
import { readModuleInfo } from './modinfo.ts';

/** What a guest may meet on our machines, by module name; those that a kernel has built in or lacks are passed over. */
export const GUEST_MODULES: readonly string[] = [
  ...['virtio_pci', 'virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio_console', 'virtio_rng', 'virtio_scsi'],
  ...['virtio_balloon', 'virtio_input', 'virtio_gpu', 'virtiofs', '9pnet_virtio', '9p', 'vmw_vsock_virtio_transport'],
  ...['ata_piix', 'ata_generic', 'ahci', 'sd_mod', 'sr_mod', 'sg', 'nvme', 'floppy', 'loop'],
  ...['e1000', 'e1000e', '8139cp', '8139too', 'ne2k_pci', 'pcnet32', 'af_packet'],
  ...['ext4', 'isofs', 'vfat', 'nls_cp437', 'nls_ascii', 'nls_utf8', 'nls_iso8859_1', 'squashfs', 'overlay', 'fuse'],
  ...['crc32c_generic', 'psmouse', 'evdev', 'uhci_hcd', 'ehci_pci', 'xhci_pci', 'usb_storage', 'usbhid', 'hid_generic'],
  ...['i6300esb', 'rtc_cmos'],
];

export interface KernelModule {
  readonly name: string;
  /** Below lib/modules/VERSION. */
  readonly path: string;
  readonly content: Uint8Array;
}

/** A module's name from its file: the kernel writes '-' and '_' as it pleases and means the same. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

async function readModule(path: string): Promise<Uint8Array> {
  const bytes = await readFile(path);
  if (path.endsWith('.gz')) return gunzipSync(bytes);
  if (path.endsWith('.zst')) return zstdDecompressSync(bytes);
  if (!path.endsWith('.xz')) return bytes;
  const result = spawnSync('xz', ['-dc'], { input: bytes, maxBuffer: 1 << 28 });
  if (result.status !== 0) throw new UserError(`${basename(path)} is compressed and this machine's xz cannot read it`);
  return result.stdout;
}

export interface ModuleSet {
  readonly modules: readonly KernelModule[];
  /** Index files below lib/modules/VERSION, by name. */
  readonly indices: Readonly<Record<string, string>>;
}

/** The modules of `wanted` that exist below `folder` (a lib/modules/VERSION), with all that they need. */
export async function collectModules(folder: string, wanted: readonly string[] = GUEST_MODULES): Promise<ModuleSet> {
  const files = new Map<string, string>();
  for (const entry of await readdir(join(folder, 'kernel'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.ko(\.\w+)?$/.test(entry.name)) continue;
    files.set(moduleName(entry.name), join(entry.parentPath, entry.name));
  }

  const modules = new Map<string, KernelModule>();
  const depends = new Map<string, readonly string[]>();
  const aliases: string[] = [];
  const softDepends: string[] = [];
  const add = async (name: string): Promise<void> => {
    const file = files.get(name);
    if (file === undefined || modules.has(name)) return;
    const content = await readModule(file);
    const info = readModuleInfo(content);
    modules.set(name, { name, path: relative(folder, file).replace(/\.(gz|xz|zst)$/, ''), content });
    depends.set(name, info.depends.map(moduleName));
    aliases.push(...info.aliases.map((alias) => `alias ${alias} ${name}\n`));
    const soft = info.softDepends.map(moduleName).filter((other) => files.has(other));
    if (soft.length > 0) softDepends.push(`softdep ${name} pre: ${soft.join(' ')}\n`);
    for (const other of [...info.depends.map(moduleName), ...soft]) await add(other);
  };
  for (const name of wanted) await add(name);

  return {
    modules: [...modules.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
    indices: {
      'modules.dep': [...modules.values()].map((module) => dependencyLine(module, modules, depends)).join(''),
      'modules.alias': aliases.join(''),
      'modules.softdep': softDepends.join(''),
    },
  };
}

/** A line of modules.dep: the module, then all it needs, directly or not, each before what needs it when read backwards. */
function dependencyLine(
  module: KernelModule,
  modules: ReadonlyMap<string, KernelModule>,
  depends: ReadonlyMap<string, readonly string[]>,
): string {
  const order: string[] = [];
  const visit = (name: string): void => {
    for (const other of depends.get(name) ?? []) {
      visit(other);
      const path = modules.get(other)?.path;
      if (path !== undefined && !order.includes(path)) order.push(path);
    }
  };
  visit(module.name);
  return `${module.path}:${order
    .reverse()
    .map((path) => ` ${path}`)
    .join('')}\n`;
}
