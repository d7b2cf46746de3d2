/**
 * What the soak builds: Lua, whose source comes as the distribution's source package, and the C programs of the benchmark. The host
 * runs the same scripts with the same compilers first; the guest must print what the host did, checksums of all objects among it.
 */
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../../src/base/errors.ts';
import { cacheFolder } from '../../src/host/node/assets/assets.ts';
import { PROGRAMS } from '../../bench/program-list.ts';
import type { Step } from './steps.ts';
import { filesOfGcc, filesOfTcc } from './toolchain.ts';

const PROGRAM_SOURCES = fileURLToPath(new URL('../../bench/programs/', import.meta.url));
const PACKAGE = 'lua5.4';
/** Percent of its rounds that a built program runs. */
const PERCENT = 4;
const PROGRAM_FLAGS = ['-O2', '-static', '-s', '-w'];
/** Files of Lua that gcc compiles too: the largest and a few that differ from them. */
const LUA_BY_GCC: ReadonlySet<string> = new Set([
  'lapi.c',
  'lcode.c',
  'lgc.c',
  'lmathlib.c',
  'lparser.c',
  'lstrlib.c',
  'ltable.c',
  'lvm.c',
]);
const LUA_FLAGS = ['-DLUA_COMPAT_5_3', '-DLUA_USE_POSIX'];

/** Exercises what was built: sorting, strings, closures, numbers in both forms; nothing that depends on a table's order. */
const LUA_CHECK = `local n, x = 20000, 42
local t = {}
for i = 1, n do x = (x * 1103515245 + 12345) & 0x7fffffff; t[i] = x end
table.sort(t, function(a, b) return a > b end)
local sum = 0
for i, v in ipairs(t) do sum = (sum * 31 + v * i) & 0xffffffff end
local words = {}
for i = 1, 2000 do words[i] = string.format("%x-%g", t[i], math.sin(i) * t[i] / 7) end
local text = table.concat(words, ";"):gsub("(%x+)%-", "<%1>"):rep(3):reverse()
for byte in text:gmatch(".") do sum = (sum ~ byte:byte()) * 16777619 & 0xffffffff end
local function fib(k) return k < 2 and k or fib(k - 1) + fib(k - 2) end
local co = coroutine.wrap(function() for i = 1, 1000 do coroutine.yield(i ^ 0.5) end end)
local float = 0
for _ = 1, 1000 do float = float + co() end
print(sum, fib(22), string.format("%.14g %a", float, float), pcall(error, "caught"))
`;

export interface Builds {
  readonly steps: readonly Step[];
  /** Sources, by their paths in the root. */
  readonly files: ReadonlyMap<string, Uint8Array | string>;
  /** Files of the host that the builds read. */
  readonly hostFiles: ReadonlySet<string>;
  /** Sentences about what is left out. */
  readonly missing: readonly string[];
}

/** Unpacks the source package into the cache, by a package client with lists of its own; gives the folder with the C files. */
async function luaSource(progress: (line: string) => void): Promise<string> {
  const kept = join(cacheFolder(), `source-${PACKAGE}`);
  const found = async (): Promise<string | undefined> => {
    const files = await readdir(kept, { recursive: true }).catch(() => []);
    const main = files.find((file) => /(^|\/)lvm\.c$/.test(file));
    return main === undefined ? undefined : join(kept, dirname(main));
  };
  const before = await found();
  if (before !== undefined) return before;
  progress(`fetching the source of ${PACKAGE}`);
  await mkdir(cacheFolder(), { recursive: true });
  const work = await mkdtemp(join(cacheFolder(), '.source-'));
  try {
    const suite = /^VERSION_CODENAME=(.*)$/m.exec(await readFile('/etc/os-release', 'utf8'))?.[1];
    await mkdir(join(work, 'lists', 'partial'), { recursive: true });
    await writeFile(join(work, 'list'), `deb-src http://deb.debian.org/debian ${suite ?? 'stable'} main\n`);
    const options = {
      'APT::Sandbox::User': '',
      'Dir::State': work,
      'Dir::State::lists': join(work, 'lists'),
      'Dir::Cache': work,
      'Dir::Etc::sourcelist': join(work, 'list'),
      'Dir::Etc::sourceparts': '-',
    };
    const common = ['-q', ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])];
    for (const words of [['update'], ['source', '--download-only', PACKAGE]]) {
      const { status, stderr } = spawnSync('apt-get', [...common, ...words], { cwd: work, encoding: 'utf8' });
      if (status !== 0) throw new UserError(`apt-get ${words.join(' ')} failed: ${stderr?.trim().split('\n').at(-1)}`);
    }
    const archive = (await readdir(work)).find((name) => name.includes('.orig.tar.'));
    await mkdir(join(work, 'source'));
    const tar = spawnSync('tar', ['-xf', archive ?? '', '-C', 'source'], { cwd: work, encoding: 'utf8' });
    if (tar.status !== 0) throw new UserError(`the source of ${PACKAGE} cannot be unpacked: ${tar.stderr}`);
    await rm(kept, { recursive: true, force: true });
    await rename(join(work, 'source'), kept);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const folder = await found();
  if (folder === undefined) throw new UserError(`the source of ${PACKAGE} has no lvm.c`);
  return folder;
}

interface Project {
  readonly name: string;
  /** Folder on the host and below /src in the guest. */
  readonly source: string;
  readonly place: string;
  readonly script: string;
  /** Files of the host that it reads. */
  readonly reads: () => readonly string[];
}

/** All of Lua by tcc, which is quick; some of its files by gcc, which is not. */
async function luaProjects(progress: (line: string) => void): Promise<Project[]> {
  const source = await luaSource(progress);
  await writeFile(join(source, 'check.lua'), LUA_CHECK);
  const files = (await readdir(source)).filter((file) => file.endsWith('.c') && file !== 'luac.c').toSorted();
  const flags = LUA_FLAGS.join(' ');
  const whole = `for file in ${files.join(' ')}; do tcc ${flags} -c $file -o $OUT/\${file%.c}.o || exit 1; done
tcc -o $OUT/lua $OUT/*.o -lm || exit 1
for file in $OUT/*; do md5sum <$file; done
$OUT/lua check.lua`;
  const place = { source, place: 'lua' };
  const opened = (): string[] => filesOfTcc([...LUA_FLAGS, ...files, '-lm', '-o', '/dev/null'], source);
  return [
    { ...place, name: 'lua by tcc', script: whole, reads: opened },
    ...files
      .filter((file) => LUA_BY_GCC.has(file))
      .map((file): Project => {
        const gcc = ['-O2', ...LUA_FLAGS, '-c', file];
        const script = `gcc ${gcc.join(' ')} -o $OUT/object.o && md5sum <$OUT/object.o`;
        return { ...place, name: `${file} of lua by gcc`, script, reads: () => filesOfGcc(gcc, source) };
      }),
  ];
}

function programProjects(): Project[] {
  return PROGRAMS.flatMap(({ name, source, flags = [], library, bits }): Project[] => {
    // `exec` starts another program.
    if (bits === 32 || name === 'exec') return [];
    const include = library?.include === undefined ? [] : ['-I', join('/usr/include', library.include)];
    const after = [...flags, ...(library?.flags ?? [])];
    const gcc = [...PROGRAM_FLAGS, `-DNAME="${name}"`, ...include, `${source}.c`, ...after];
    const quoted = gcc.map((word) => (word.includes('"') ? `'${word}'` : word)).join(' ');
    // What it prints besides the checksum are times.
    const script = `gcc ${quoted} -o $OUT/program || exit 1
md5sum <$OUT/program
$OUT/program ${PERCENT} | sed 's/ [0-9]* [0-9]* \\([0-9a-f]*\\)$/ \\1/'`;
    return [
      { name, source: PROGRAM_SOURCES, place: 'programs', script, reads: () => filesOfGcc(gcc, PROGRAM_SOURCES) },
    ];
  });
}

/** Prepares all builds and runs each on the host. */
export async function builds(progress: (line: string) => void): Promise<Builds> {
  const steps: Step[] = [];
  const files = new Map<string, Uint8Array | string>();
  const hostFiles = new Set<string>();
  const missing: string[] = [];
  const projects = programProjects();
  try {
    projects.unshift(...(await luaProjects(progress)));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    missing.push(`lua is left out: ${error.message}`);
  }
  progress('building on the host');
  for (const { name, source, place, script, reads } of projects) {
    const out = await mkdtemp(join(cacheFolder(), '.soak-'));
    try {
      const options = { cwd: source, encoding: 'utf8', env: { ...process.env, OUT: out, LC_ALL: 'C' } } as const;
      const { status, stdout, stderr } = spawnSync('sh', ['-c', script], options);
      if (status !== 0) {
        missing.push(`${name} is left out, it does not build here: ${stderr.trim().split('\n').at(-1)}`);
        continue;
      }
      for (const file of reads()) hostFiles.add(file);
      for (const file of await readdir(source)) {
        if (/\.(c|h|lua)$/.test(file)) files.set(`/src/${place}/${file}`, await readFile(join(source, file)));
      }
      steps.push({
        kind: 'build',
        name: `build ${name}`,
        script: `(cd ${place}\n${script}) 2>/tmp/complaints || { cat /tmp/complaints; exit 1; }`,
        expected: stdout,
      });
    } finally {
      await rm(out, { recursive: true, force: true });
    }
  }
  return { steps, files, hostFiles, missing };
}
