/**
 * Builds the C programs of the benchmark: static, `gcc -O2`, into a folder of the cache that is named after everything they are made
 * of. Needs gcc and, for some of them, packages of the distribution; what cannot be built is left out and told in one sentence.
 *
 * In a guest they lie in /bench (64 bits) and /bench/32. One of them: `/bench/sha256 [PERCENT]` (programs/frame.h tells what it
 * prints). All of them, from a script in the guest: `for p in /bench/*; do [ -f $p ] && $p 100; done`.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../src/base/errors.ts';
import { cacheFolder } from '../src/host/node/assets/assets.ts';
import { openPackageClient } from '../src/host/node/assets/package-client.ts';
import { writeCpio, type CpioEntry } from '../src/machine/cpio.ts';
import { PROGRAMS, type Program } from './program-list.ts';
import { guestPath, type Step } from './program-results.ts';

const SOURCES = fileURLToPath(new URL('programs/', import.meta.url));
const COMMON = ['-O2', '-static', '-s', '-w'];
/** A processor with SSE2, as every one that runs 64 bits: else doubles would all be x87. */
const COMMON_32 = ['-m32', '-march=pentium4', '-mfpmath=sse'];
/** Raised when this file builds differently. */
const BUILD = 1;

/** Builds older than this go when another is made. */
const KEPT_MS = 24 * 3600 * 1000;

export interface BuiltPrograms {
  /** By name: path of the program; `tiny` is what `exec` starts. */
  readonly bits64: ReadonlyMap<string, string>;
  readonly bits32: ReadonlyMap<string, string>;
  /** Sentences about what could not be built. */
  readonly missing: readonly string[];
}

interface Manifest {
  readonly bits64: readonly string[];
  readonly bits32: readonly string[];
  readonly missing: readonly string[];
}

function gcc(args: readonly string[]): string | undefined {
  const { status, error, stderr } = spawnSync('gcc', args, { encoding: 'utf8' });
  if (error !== undefined) return error.message;
  return status === 0 ? undefined : stderr;
}

/** Everything that decides what comes out. */
async function contentKey(compiler: string): Promise<string> {
  const recipes = PROGRAMS.map(({ name, source, flags, library, bits }) => [name, source, flags, library, bits]);
  const hash = createHash('sha256').update(JSON.stringify([BUILD, compiler, COMMON, COMMON_32, recipes]));
  for (const file of (await readdir(SOURCES)).toSorted()) {
    hash.update(file).update(await readFile(join(SOURCES, file)));
  }
  // A library that comes, goes or changes with an upgrade of the distribution.
  for (const library of ['libz.a', 'liblua5.4.a', 'libsqlite3.a']) {
    const path = spawnSync('gcc', [`-print-file-name=${library}`], { encoding: 'utf8' }).stdout.trim();
    const size = await stat(path).then(
      (found) => `${found.size} ${found.mtimeMs}`,
      () => 'none',
    );
    hash.update(`${library} ${size}`);
  }
  hash.update(gcc(['-m32', '-E', '-x', 'c', '-include', 'gnu/stubs.h', '/dev/null']) === undefined ? '32' : 'no 32');
  return hash.digest('hex').slice(0, 16);
}

/** Programs of both widths, from the cache or built now. @throws {UserError} without gcc. */
export async function buildPrograms(progress: (line: string) => void): Promise<BuiltPrograms> {
  const { stdout, error } = spawnSync('gcc', ['--version'], { encoding: 'utf8' });
  if (error !== undefined) throw new UserError('the programs need a C compiler: apt-get install gcc');
  const folder = join(cacheFolder(), `bench-${await contentKey(stdout.split('\n')[0] ?? '')}`);
  const manifest = (await readManifest(folder)) ?? (await buildInto(folder, progress));
  const paths = (names: readonly string[], below: string): Map<string, string> =>
    new Map(names.map((name) => [name, join(folder, below, name)]));
  return { bits64: paths(manifest.bits64, '64'), bits32: paths(manifest.bits32, '32'), missing: manifest.missing };
}

async function readManifest(folder: string): Promise<Manifest | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as Manifest;
  } catch {
    return undefined;
  }
}

/** Removes what was built of other programs long ago. */
async function removeOld(): Promise<void> {
  for (const name of await readdir(cacheFolder())) {
    const folder = join(cacheFolder(), name);
    if (!/^bench-[0-9a-f]{16}$/.test(name)) continue;
    const made = await stat(folder);
    if (Date.now() - made.mtimeMs > KEPT_MS) await rm(folder, { recursive: true, force: true });
  }
}

async function buildInto(folder: string, progress: (line: string) => void): Promise<Manifest> {
  progress('building the programs');
  await mkdir(cacheFolder(), { recursive: true });
  await removeOld();
  const work = await mkdtemp(join(cacheFolder(), '.bench-'));
  try {
    await Promise.all(['64', '32'].map((name) => mkdir(join(work, name))));
    const missing: string[] = [];
    const bits64 = buildAll(work, 64, undefined, missing);
    let bits32: string[] = [];
    if (gcc(['-m32', '-static', '-nostdlib', join(SOURCES, 'tiny.c'), '-o', join(work, '32', 'tiny')]) === undefined) {
      bits32 = buildAll(work, 32, await libraries32(work, progress), missing);
    } else {
      missing.push('the 32-bit programs are left out: they need gcc-multilib (apt-get install gcc-multilib)');
    }
    const manifest: Manifest = { bits64, bits32, missing: [...new Set(missing)] };
    await rm(join(work, 'i386'), { recursive: true, force: true });
    await writeFile(join(work, 'manifest.json'), JSON.stringify(manifest));
    // Another run may have been as fast; what it built is the same.
    await rename(work, folder).catch(() => undefined);
    return manifest;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Static libraries for 32 bits, unpacked without being installed; undefined where they cannot be had. */
async function libraries32(work: string, progress: (line: string) => void): Promise<string | undefined> {
  const root = join(work, 'i386');
  const downloads = join(root, 'packages');
  await mkdir(downloads, { recursive: true });
  const names = new Set(PROGRAMS.flatMap(({ library }) => (library === undefined ? [] : [library.package])));
  try {
    const client = await openPackageClient('i386', root, progress);
    for (const name of names) await client.unpack((await client.download(name, downloads)).file, root);
    return root;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return undefined;
  }
}

function buildAll(work: string, bits: 32 | 64, root32: string | undefined, missing: string[]): string[] {
  const folder = join(work, String(bits));
  const width = bits === 32 ? COMMON_32 : [];
  const complaint = gcc([...COMMON, ...width, '-nostdlib', join(SOURCES, 'tiny.c'), '-o', join(folder, 'tiny')]);
  if (complaint !== undefined) throw new Error(`gcc: ${complaint}`);
  const built: string[] = ['tiny'];
  for (const program of PROGRAMS) {
    if (program.bits !== 'both' && program.bits !== bits) continue;
    const why = gcc([...COMMON, ...width, ...programFlags(program, bits, root32), '-o', join(folder, program.name)]);
    if (why === undefined) built.push(program.name);
    else if (program.library === undefined) throw new Error(`gcc, ${program.name}: ${why}`);
    else missing.push(`${program.name} (${bits}-bit) is left out: it needs ${program.library.package} of that width`);
  }
  return built;
}

function programFlags(program: Program, bits: 32 | 64, root32: string | undefined): string[] {
  const { library, flags = [] } = program;
  const includes: string[] = [];
  const root = bits === 32 && root32 !== undefined ? root32 : '';
  if (root !== '') {
    for (const folder of ['usr/include', 'usr/include/i386-linux-gnu']) includes.push('-I', join(root, folder));
    includes.push('-L', join(root, 'usr/lib/i386-linux-gnu'));
  }
  if (library?.include !== undefined) includes.push('-I', join(root, '/usr/include', library.include));
  const source = join(SOURCES, `${program.source}.c`);
  return [`-DNAME="${program.name}"`, ...includes, source, ...flags, ...(library?.flags ?? [])];
}

/** An archive with programs in /bench and /bench/32, for the kernel to unpack behind another, and a script to run instead of a shell. */
export async function programArchive(
  built: BuiltPrograms,
  wanted: readonly Pick<Step, 'name' | 'bits'>[],
  script?: string,
): Promise<Uint8Array> {
  const entries: CpioEntry[] = [
    { path: 'bench', type: 'directory' },
    { path: 'bench/32', type: 'directory' },
  ];
  for (const bits of [64, 32] as const) {
    const paths = bits === 64 ? built.bits64 : built.bits32;
    const names = new Set(wanted.filter((step) => step.bits === bits).map(({ name }) => name));
    for (const name of names.size === 0 ? [] : ['tiny', ...names]) {
      const path = paths.get(name);
      if (path === undefined) continue;
      const content = await readFile(path);
      entries.push({ path: guestPath({ name, bits }).slice(1), type: 'file', mode: 0o755, content });
    }
  }
  if (script !== undefined) entries.push({ path: 'orrery-script', type: 'file', mode: 0o755, content: script });
  return writeCpio(entries);
}
