/**
 * The machine's own package client (apt, of Debian and its relatives) as a source of guest kernels: downloads packages and
 * unpacks them, installs nothing and needs no root.
 *
 * The system's package lists serve when it has any for the wanted architecture. Otherwise the lists go to a folder of ours,
 * through apt's own options, so that neither the system's state nor its architectures change.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../../base/errors.ts';

export interface PackageClient {
  /** Does it use the system's package lists, which may be older than the archive? */
  readonly usesSystemLists: boolean;
  /** Names and versions of what `name` depends on directly, alternatives included. */
  dependencies(name: string): Promise<string[]>;
  /** Is there a package of that name to download? */
  has(name: string): Promise<boolean>;
  /** Downloads one package; returns its file and version. */
  download(name: string, folder: string): Promise<{ file: string; version: string }>;
  /** Unpacks a package's files below `folder`. */
  unpack(file: string, folder: string): Promise<void>;
}

interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[], cwd?: string): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status: status ?? 1, stdout, stderr }));
  });
}

function exists(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined;
}

async function hasPackageLists(folder: string): Promise<boolean> {
  return (await readdir(folder)).some((name) => name.includes('_Packages'));
}

/** What a program complained about, for a message of one sentence. */
function complaint(result: Result): string {
  const lines = result.stderr.split('\n').filter((line) => line.startsWith('E:'));
  return (lines[0] ?? result.stderr.trim().split('\n').at(-1) ?? '').replace(/^E:\s*/, '');
}

/** Options that give apt a state of its own for one architecture; it keeps the system's sources and keys. */
async function privateState(folder: string, architecture: string): Promise<string[]> {
  const state = join(folder, `apt-${architecture}`);
  await mkdir(join(state, 'lists', 'partial'), { recursive: true });
  await mkdir(join(state, 'archives', 'partial'), { recursive: true });
  await writeFile(join(state, 'status'), '', { flag: 'a' });
  const options = {
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'Dir::State': state,
    'Dir::State::lists': join(state, 'lists'),
    'Dir::State::status': join(state, 'status'),
    'Dir::Cache': state,
    'Dir::Cache::archives': join(state, 'archives'),
    'Acquire::Languages': 'none',
    'Debug::NoLocking': 'true',
  };
  return Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/**
 * Opens apt for packages of `architecture` (Debian's name: amd64, i386). `folder` keeps its private lists if it needs any, as
 * it always does with `freshLists`; `progress` is told what takes long. Throws UserError where there is no such client.
 */
export async function openPackageClient(
  architecture: string,
  folder: string,
  progress: (line: string) => void,
  freshLists = false,
): Promise<PackageClient> {
  for (const program of ['apt-get', 'apt-cache', 'dpkg-deb']) {
    if (!exists(program)) {
      throw new UserError(
        `this machine has no ${program}, with which guest assets are fetched: give a kernel with --kernel and --initrd`,
      );
    }
  }
  // Root or not, the download is ours to write: apt would otherwise give it to its own user, who may not enter the folder.
  const common = ['-q', '-o', 'APT::Sandbox::User='];
  const native = (await run('dpkg', ['--print-architecture'])).stdout.trim();
  const systemLists =
    native === architecture && !freshLists ? await run('apt-cache', ['policy', 'busybox-static']) : undefined;
  const options = systemLists?.stdout.includes('Candidate: ')
    ? common
    : [...common, ...(await privateState(folder, architecture))];

  if (options !== common) {
    const lists = join(folder, `apt-${architecture}`, 'lists');
    if (!(await hasPackageLists(lists))) {
      progress(`fetching package lists for ${architecture}`);
      const update = await run('apt-get', [...options, 'update']);
      // One archive of several may be unreachable; what the others hold is enough more often than not.
      if (!(await hasPackageLists(lists))) {
        throw new UserError(`apt-get update for ${architecture} brought no package lists: ${complaint(update)}`);
      }
    }
  }

  const client: PackageClient = {
    usesSystemLists: options === common,
    async dependencies(name) {
      const { stdout } = await run('apt-cache', [...options, 'depends', '--no-recommends', '--no-suggests', name]);
      return [...stdout.matchAll(/^\s*\|?(?:Pre)?Depends: ([^\s<>]+)$/gm)].map((match) => match[1] ?? '');
    },
    async has(name) {
      const { stdout } = await run('apt-cache', [...options, 'policy', name]);
      return /Candidate: (?!\(none\))/.test(stdout);
    },
    async download(name, target) {
      progress(`downloading ${name}`);
      const before = new Set(await readdir(target));
      const result = await run('apt-get', [...options, 'download', name], target);
      if (result.status !== 0) throw new UserError(`apt-get download ${name} failed: ${complaint(result)}`);
      const file = (await readdir(target)).find((entry) => entry.endsWith('.deb') && !before.has(entry));
      if (file === undefined) throw new UserError(`apt-get download ${name} left no file`);
      const version = (await run('dpkg-deb', ['--field', join(target, file), 'Version'])).stdout.trim();
      return { file: join(target, file), version };
    },
    async unpack(file, target) {
      const result = await run('dpkg-deb', ['--extract', file, target]);
      if (result.status !== 0) throw new UserError(`${file} cannot be unpacked: ${result.stderr.trim()}`);
    },
  };
  return client;
}
