// Makes a clone ready and goes on under the pinned Node: `node scripts/bootstrap.mjs COMMAND [arguments]`.
// Uses nothing but built-in modules and runs on any Node from 18, because it is what runs before anything is installed.
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const windows = process.platform === 'win32';
const modules = join(root, 'node_modules');
const pinnedNode = join(modules, 'node', 'bin', windows ? 'node.exe' : 'node');

/** Command: what is run after the build, with the pinned Node. `null`: nothing more. */
const COMMANDS = {
  install: { build: false, run: null },
  build: { build: true, run: null },
  start: { build: true, run: ['bin/orrery.js'], defaultArguments: ['run'] },
  test: { build: true, run: ['scripts/test.ts'] },
  bench: { build: true, run: ['bench/bench.ts'] },
  soak: { build: true, run: ['tests/soak/soak.ts'] },
};

function fail(message) {
  console.error(`orrery: ${message}`);
  process.exit(1);
}

/** True when every package that the lock file names (those of other platforms aside) is installed in that version. */
function installed() {
  if (!existsSync(pinnedNode)) return false;
  let wanted;
  let present;
  try {
    wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
    present = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8')).packages;
  } catch {
    return false;
  }
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || (entry.optional && !(path in present))) continue;
    if (present[path]?.version !== entry.version) return false;
  }
  return true;
}

function install() {
  // npm tells its scripts where it is itself; without that (run by hand) the shell finds it.
  const npm = process.env.npm_execpath;
  const verb = existsSync(modules) ? 'install' : 'ci';
  const args = [verb, '--no-audit', '--no-fund', '--loglevel=error'];
  console.error(`orrery: installing what package-lock.json names (npm ${verb})`);
  const viaNode = npm !== undefined && /\.[cm]?js$/.test(npm);
  const result = viaNode
    ? spawnSync(process.execPath, [npm, ...args], { cwd: root, stdio: ['ignore', 2, 2] })
    : spawnSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2], shell: windows });
  if (result.error) fail(`npm cannot be run: ${result.error.message}`);
  if (result.status !== 0) fail(`npm ${verb} failed (status ${result.status}); its own message is above`);
  if (!existsSync(pinnedNode)) {
    fail(`npm ${verb} left no ${pinnedNode}: are install scripts switched off (npm config get ignore-scripts)?`);
  }
}

/** Lets `npx orrery` work inside the clone: npm links a package's commands only where it is a dependency. */
function linkCommand() {
  if (windows) return;
  const link = join(modules, '.bin', 'orrery');
  try {
    lstatSync(link);
  } catch {
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync('../../bin/orrery.js', link);
  }
}

function runPinned(args) {
  const path = [dirname(pinnedNode), join(modules, '.bin'), process.env.PATH].join(delimiter);
  const result = spawnSync(pinnedNode, args, { cwd: root, stdio: 'inherit', env: { ...process.env, PATH: path } });
  if (result.error) fail(`${pinnedNode} cannot be run: ${result.error.message}`);
  return result.signal ? 1 : (result.status ?? 1);
}

const [name = '', ...rest] = process.argv.slice(2);
const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
if (command === undefined) fail(`bootstrap knows ${Object.keys(COMMANDS).join(', ')}, not '${name}'`);
// Ctrl-C belongs to whatever runs; this process then ends with its status.
process.on('SIGINT', () => {});
if (!installed()) install();
linkCommand();
if (command.build) {
  const status = runPinned(['scripts/build.ts', ...(command.run === null ? rest : [])]);
  if (status !== 0) process.exit(status);
}
if (command.run !== null) {
  const args = rest.length === 0 ? (command.defaultArguments ?? []) : rest;
  process.exit(runPinned([...command.run, ...args]));
}
