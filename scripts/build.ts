/**
 * Builds what is missing or older than its sources: the microcode, then the bundles in dist/. `node scripts/build.ts [--force]`
 *
 * dist/ holds one bundle a public door (index, node, browser), the command line (cli) and, in dist/types, their declarations.
 * `--types` writes those as well; running from a clone needs none.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Rolldown } from 'vite';
import { buildMicrocode } from './build-microcode.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Bundle name: entry. Those that run on Node share their chunks; the browser's stands alone. */
const NODE_ENTRIES = { cli: 'src/cli/main.ts', node: 'src/node.ts', index: 'src/index.ts' };
const BROWSER_ENTRIES = { browser: 'src/browser.ts' };

/** Packages whose code the browser's bundle contains (docs/decisions/0010). */
const BUNDLED_PACKAGES: readonly string[] = ['fzstd', 'pako'];

/**
 * What tools on images load anyway is one chunk: each chunk costs as much time as a small command on an image. What is about sockets is
 * not among it, and what every command has stands alone.
 */
const NODE_CHUNKS = [
  { name: 'base', test: /src\/(?:base\/|cli\/called-as)/, priority: 2 },
  {
    name: 'block',
    test: /src\/(?:block\/|host\/(?:fetch-range|node\/block\/(?!streams))|cli\/(?:img|block-objects|nbd\/getopt|system\/option-text))/,
    priority: 1,
  },
];

type Entries = Readonly<Record<string, string>>;

function present(entries: Entries): Record<string, string> {
  return Object.fromEntries(
    Object.entries(entries)
      .map(([name, path]): [string, string] => [name, join(root, path)])
      .filter(([, path]) => existsSync(path)),
  );
}

function newestChange(folder: string): number {
  let newest = statSync(folder).mtimeMs;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestChange(path) : statSync(path).mtimeMs);
  }
  return newest;
}

/** Gives the names of the files that were written, relative to dist/. */
async function bundle(entries: Entries, side: 'node' | 'browser'): Promise<string[]> {
  const result = await build({
    root,
    configFile: false,
    logLevel: 'warn',
    publicDir: false,
    ssr: side === 'node' ? { noExternal: true, external: ['koffi'] } : {},
    build: {
      ssr: side === 'node',
      outDir: join(root, 'dist'),
      emptyOutDir: false,
      copyPublicDir: false,
      target: 'es2024',
      minify: false,
      sourcemap: true,
      modulePreload: false,
      rolldownOptions: {
        input: present(entries),
        preserveEntrySignatures: 'strict',
        output: {
          format: 'es',
          entryFileNames: '[name].js',
          chunkFileNames: `chunks/${side}-[name]-[hash].js`,
          ...(side === 'node' && {
            codeSplitting: { groups: NODE_CHUNKS },
          }),
        },
      },
    },
  });
  // INVARIANT: one output, and nothing is watched.
  const { output } = result as Rolldown.RolldownOutput;
  return output.map(({ fileName }) => fileName);
}

/** Chunks of builds before this one are nobody's. */
function removeOldChunks(written: readonly string[]): void {
  const folder = join(root, 'dist/chunks');
  for (const name of readdirSync(folder)) if (!written.includes(`chunks/${name}`)) rmSync(join(folder, name));
}

/** What their licences want to stand beside their code. */
function writeLicences(): void {
  const texts = BUNDLED_PACKAGES.map(
    (name) => `${name}\n\n${readFileSync(join(root, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`,
  );
  writeFileSync(join(root, 'dist/browser.LICENSES.txt'), texts.join('\n\n'));
}

function writeTypes(): void {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const result = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.types.json'], { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) throw new Error('the declarations of the public doors do not compile');
}

async function main(): Promise<void> {
  const force = process.argv.includes('--force');
  await buildMicrocode(force);
  const cli = join(root, 'dist/cli.js');
  const stale = !existsSync(cli) || statSync(cli).mtimeMs < newestChange(join(root, 'src'));
  if (stale || force) {
    await bundle(BROWSER_ENTRIES, 'browser');
    writeLicences();
    removeOldChunks(await bundle(NODE_ENTRIES, 'node'));
  }
  if (process.argv.includes('--types')) writeTypes();
}

try {
  await main();
} catch (error) {
  console.error(`orrery: the build failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
