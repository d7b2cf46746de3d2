/**
 * The root that the soak's guest changes to: stress-ng, gcc and tcc as the host has them, with what they load, and of headers and libraries
 * those that the builds touch. Paths are the host's, so that gcc makes the same of the same source.
 */
import { spawnSync } from 'node:child_process';
import { readFile, realpath } from 'node:fs/promises';
import { normalize } from 'node:path';
import { UserError } from '../../src/base/errors.ts';
import { type CpioEntry, parentDirectories } from '../../src/machine/cpio.ts';

function told(program: string, args: readonly string[], cwd?: string): string {
  const { stdout, stderr, status, error } = spawnSync(program, args, { encoding: 'utf8', cwd, maxBuffer: 1 << 26 });
  if (error !== undefined) throw new UserError(`the soak needs ${program}: ${error.message}`);
  if (status !== 0) throw new UserError(`${program} ${args.join(' ')}: ${stderr.trim().split('\n').at(-1)}`);
  return stdout + stderr;
}

const which = (program: string): string => told('sh', ['-c', `command -v ${program}`]).trim();
const partOfGcc = (name: string): string => {
  const path = told('gcc', [`-print-prog-name=${name}`]).trim();
  return path.startsWith('/') ? path : which(path);
};

/** Programs and plugins of a build, and the stressor. */
function programs(): string[] {
  return [
    ...['stress-ng', 'gcc', 'tcc'].map(which),
    ...['cc1', 'collect2', 'as', 'ld'].map(partOfGcc),
    told('gcc', ['-print-file-name=liblto_plugin.so']).trim(),
  ];
}

/** Shared libraries of a program, the loader among them. */
function sharedLibraries(program: string): string[] {
  return [...told('ldd', [program]).matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
}

/** Headers that compilations by gcc read, and, unless they stop at an object (-c), what is linked. */
export function filesOfGcc(args: readonly string[], cwd: string): string[] {
  const headers = [...told('gcc', [...args, '-M'], cwd).matchAll(/(\/\S+\.h)\b/g)];
  const linked = args.includes('-c')
    ? []
    : told('gcc', [...args, '-o', '/dev/null', '-Wl,-t'], cwd).matchAll(/^(\/usr\/\S+)$/gm);
  return [...headers, ...linked].map(([, path = '']) => path);
}

/** Headers, objects and libraries that tcc opens. */
export function filesOfTcc(args: readonly string[], cwd: string): string[] {
  return [...told('tcc', ['-vv', ...args], cwd).matchAll(/^-> +(\/\S+)$/gm)].map(([, path = '']) => path);
}

/** Where a path of a host with /lib beside /usr/lib is in the root, which has one of them. */
const merged = (path: string): string => normalize(path).replace(/^\/(lib\d*|bin|sbin)\//, '/usr/$1/');

export interface RootOptions {
  /** Folder of the guest, with a leading slash. */
  readonly root: string;
  readonly shell: Uint8Array;
  /** Files of the host that the builds read. */
  readonly hostFiles: Iterable<string>;
  /** More files, by their paths in the root. */
  readonly files: ReadonlyMap<string, Uint8Array | string>;
}

/** Entries of an archive that the kernel unpacks behind the guest's own. */
export async function rootEntries({ root, shell, hostFiles, files }: RootOptions): Promise<CpioEntry[]> {
  const paths = new Set<string>();
  for (const program of programs()) {
    for (const path of [program, ...sharedLibraries(program)]) paths.add(merged(path));
  }
  // libm.a is a linker script, which the linker does not name when it tells what it opened.
  for (const path of [...hostFiles, told('gcc', ['-print-file-name=libm.a']).trim()]) paths.add(merged(path));

  const base = root.slice(1);
  const entries = new Map<string, CpioEntry>();
  const add = (entry: CpioEntry): void => {
    for (const path of parentDirectories(entry.path))
      if (!entries.has(path)) entries.set(path, { path, type: 'directory' });
    if (!entries.has(entry.path)) entries.set(entry.path, entry);
  };
  for (const name of ['bin', 'lib', 'lib64', 'sbin']) {
    add({ path: `${base}/usr/${name}`, type: 'directory' });
    add({ path: `${base}/${name}`, type: 'symlink', content: `usr/${name}` });
  }
  for (const name of ['proc', 'sys', 'dev', 'tmp']) add({ path: `${base}/${name}`, type: 'directory' });
  for (const path of paths) {
    const content = await readFile(await realpath(path));
    add({ path: base + path, type: 'file', mode: 0o755, content });
  }
  add({ path: `${base}/usr/bin/busybox`, type: 'file', mode: 0o755, content: shell });
  for (const applet of ['sh', 'md5sum', 'sed', 'timeout', 'mkdir', 'printf', 'rm']) {
    add({ path: `${base}/usr/bin/${applet}`, type: 'symlink', content: 'busybox' });
  }
  for (const [path, content] of files) add({ path: base + path, type: 'file', content });
  return [...entries.values()];
}
