/**
 * Guest assets: a Linux kernel and an initial file system for it, fetched once with the machine's own package client, kept in
 * the user's cache folder and used from there without a network.
 *
 *     ${XDG_CACHE_HOME:-~/.cache}/orrery/guest-amd64-4/{vmlinuz,initrd.cpio,manifest.json}
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../../../base/errors.ts';
import { writeCpio } from '../../../machine/cpio.ts';
import { guestRoot } from './guest-root.ts';
import { collectModules } from './kernel-modules.ts';
import { openPackageClient } from './package-client.ts';
import type { PackageClient } from './package-client.ts';

export type GuestArchitecture = 'amd64' | 'i386';

/** Packages that stand for "the kernel for virtual machines", best first. */
const KERNEL_PACKAGES: Readonly<Record<GuestArchitecture, readonly string[]>> = {
  amd64: ['linux-image-cloud-amd64', 'linux-image-virtual', 'linux-image-amd64', 'linux-image-generic'],
  i386: ['linux-image-686-pae', 'linux-image-686', 'linux-image-generic'],
};
const BUSYBOX_PACKAGE = 'busybox-static';

/** Raised when the content of the initial file system changes. Orreries of several layouts have their folders side by side. */
const LAYOUT = 4;

export interface AssetManifest {
  readonly layout: number;
  readonly architecture: GuestArchitecture;
  readonly kernelVersion: string;
  /** Package name: version. */
  readonly packages: Readonly<Record<string, string>>;
  /** File name: SHA-256, hexadecimal. */
  readonly sha256: Readonly<Record<string, string>>;
}

export interface GuestAssets {
  /** Paths. */
  readonly kernel: string;
  readonly initrd: string;
  readonly manifest: AssetManifest;
}

export interface AssetOptions {
  readonly architecture?: GuestArchitecture;
  /** Fetch again even if the cache has it. */
  readonly refresh?: boolean;
  /** Told what is being done; nothing is printed otherwise. */
  readonly progress?: (line: string) => void;
}

/** The folder for everything Orrery keeps between runs. */
export function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'orrery');
}

function guestFolder(architecture: GuestArchitecture): string {
  return join(cacheFolder(), `guest-${architecture}-${LAYOUT}`);
}

/** What the cache holds, or undefined. Asks no network and no package client. */
export async function cachedGuestAssets(architecture: GuestArchitecture = 'amd64'): Promise<GuestAssets | undefined> {
  const folder = guestFolder(architecture);
  try {
    const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as AssetManifest;
    const kernel = join(folder, 'vmlinuz');
    const initrd = join(folder, 'initrd.cpio');
    await Promise.all([stat(kernel), stat(initrd)]);
    return manifest.layout === LAYOUT ? { kernel, initrd, manifest } : undefined;
  } catch {
    return undefined;
  }
}

/** The guest assets of an architecture: from the cache, else fetched. Throws UserError when neither is possible. */
export async function guestAssets(options: AssetOptions = {}): Promise<GuestAssets> {
  const { architecture = 'amd64', refresh = false, progress = (): void => {} } = options;
  const cached = refresh ? undefined : await cachedGuestAssets(architecture);
  if (cached !== undefined) return cached;

  const cache = cacheFolder();
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, `.fetch-${architecture}-`));
  try {
    await install(await fetchWithin(work, architecture, progress), guestFolder(architecture));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const assets = await cachedGuestAssets(architecture);
  if (assets === undefined) throw new UserError(`${cache} does not keep what is written there`);
  return assets;
}

/** Puts a finished folder in its place. Whoever comes second finds another's work, which is as good, or replaces an old one. */
async function install(made: string, place: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await rename(made, place);
      return;
    } catch (error) {
      if (attempt === 5) throw error;
      const old = `${made}.old${attempt}`;
      await rename(place, old).catch(() => {});
      await rm(old, { recursive: true, force: true });
    }
  }
}

/** The package that really holds a kernel: the one named, or what it depends on. */
async function kernelPackage(client: PackageClient, architecture: GuestArchitecture): Promise<string> {
  for (const name of KERNEL_PACKAGES[architecture]) {
    if (!(await client.has(name))) continue;
    const real = (await client.dependencies(name)).find((dependency) => /^linux-image-\d/.test(dependency));
    if (real !== undefined) return real;
  }
  throw new UserError(
    `this machine's package client has none of ${KERNEL_PACKAGES[architecture].join(', ')}: give a kernel with --kernel and --initrd`,
  );
}

/** Fetches with the system's package lists, and once more with fresh ones if those name packages that are gone. */
async function fetchWithin(
  work: string,
  architecture: GuestArchitecture,
  progress: (line: string) => void,
): Promise<string> {
  const client = await openPackageClient(architecture, work, progress);
  try {
    return await fetchInto(client, architecture, await mkdtemp(join(work, 'try-')), progress);
  } catch (error) {
    if (!client.usesSystemLists || !(error instanceof UserError)) throw error;
    const fresh = await openPackageClient(architecture, work, progress, true);
    return await fetchInto(fresh, architecture, await mkdtemp(join(work, 'try-')), progress);
  }
}

async function fetchInto(
  client: PackageClient,
  architecture: GuestArchitecture,
  work: string,
  progress: (line: string) => void,
): Promise<string> {
  const root = join(work, 'root');
  const downloads = join(work, 'packages');
  const made = join(work, 'guest');
  await Promise.all([root, downloads, made].map((folder) => mkdir(folder)));

  const kernel = await kernelPackage(client, architecture);
  // Some distributions keep the modules in a package of their own.
  const modulePackages = (await client.dependencies(kernel)).filter((name) => /^linux-modules-\d/.test(name));
  const packages: Record<string, string> = {};
  for (const name of [kernel, ...modulePackages, BUSYBOX_PACKAGE]) {
    const { file, version } = await client.download(name, downloads);
    packages[name] = version;
    await client.unpack(file, root);
  }

  progress('building the initial file system');
  const image = (await readdir(join(root, 'boot'))).find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new UserError(`package ${kernel} holds no kernel`);
  const kernelVersion = image.slice('vmlinuz-'.length);
  const busybox = await firstFile([join(root, 'bin/busybox'), join(root, 'usr/bin/busybox')]);
  const moduleFolder = await firstFolder([join(root, 'lib/modules'), join(root, 'usr/lib/modules')], kernelVersion);
  const modules = await collectModules(moduleFolder);
  const files: Record<string, Uint8Array> = {
    vmlinuz: await readFile(join(root, 'boot', image)),
    'initrd.cpio': writeCpio(guestRoot(busybox, kernelVersion, modules)),
  };
  const sha256: Record<string, string> = {};
  for (const [name, content] of Object.entries(files)) {
    sha256[name] = createHash('sha256').update(content).digest('hex');
    await writeFile(join(made, name), content);
  }
  const manifest: AssetManifest = { layout: LAYOUT, architecture, kernelVersion, packages, sha256 };
  await writeFile(join(made, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  return made;
}

async function firstFile(paths: readonly string[]): Promise<Uint8Array> {
  for (const path of paths) {
    try {
      return await readFile(path);
    } catch {
      continue;
    }
  }
  throw new UserError(`package ${BUSYBOX_PACKAGE} holds no busybox`);
}

async function firstFolder(parents: readonly string[], name: string): Promise<string> {
  for (const parent of parents) {
    const folder = join(parent, name);
    if (await stat(join(folder, 'kernel')).catch(() => undefined)) return folder;
  }
  throw new UserError(`the kernel's package holds no modules for ${name}`);
}
