#!/usr/bin/env node
// The launcher: plain JavaScript that any Node understands. It finds a Node new enough, then runs the bundled command line
// (dist/cli.js), or in a clone whose sources are newer than the bundle, the sources themselves.
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Node's own modules, without what importing them would load besides; an old Node cannot give them so. */
const builtin = async (name) => process.getBuiltinModule?.(name) ?? import(name);
const { existsSync, readdirSync, statSync } = await builtin('node:fs');

const OLDEST_NODE_MAJOR = 24;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The Node 26 that the npm package `node` brings, in a clone with its development dependencies. */
const pinnedNode = join(root, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');

/** In a clone this looks at each source at every start: names in one call, and nothing more than a date of each. */
function bundleIsCurrent() {
  const bundle = statSync(join(root, 'dist', 'cli.js'), { throwIfNoEntry: false });
  if (bundle === undefined) return false;
  const sources = join(root, 'src');
  if (!existsSync(sources)) return true;
  return readdirSync(sources, { recursive: true }).every(
    (name) => statSync(`${sources}/${name}`).mtimeMs <= bundle.mtimeMs,
  );
}

async function run() {
  // What V8 made of the bundle is kept for the next start, where this Node can.
  (await builtin('node:module')).enableCompileCache?.();
  if (bundleIsCurrent()) {
    await import(pathToFileURL(join(root, 'dist', 'cli.js')).href);
    return;
  }
  // Sources: they need the compiled microcode beside them.
  const { buildMicrocode } = await import(pathToFileURL(join(root, 'scripts', 'build-microcode.ts')).href);
  await buildMicrocode().catch((error) => fail(error.message));
  await import(pathToFileURL(join(root, 'src', 'cli', 'main.ts')).href);
}

/** Runs this same command under another Node and ends as it ends; signals reach both through the terminal or are passed on. */
async function runUnder(node) {
  const { spawn } = await builtin('node:child_process');
  const child = spawn(node, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(`${node} cannot be started: ${error.message}`));
  child.on('exit', (code, signal) => {
    if (signal) {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    } else process.exit(code ?? 1);
  });
}

function fail(message) {
  console.error(`orrery: ${message}`);
  process.exit(1);
}

if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE_MAJOR) await run();
else if (existsSync(pinnedNode)) await runUnder(pinnedNode);
else fail(`Node ${OLDEST_NODE_MAJOR} or newer is needed, and this is Node ${process.versions.node}`);
