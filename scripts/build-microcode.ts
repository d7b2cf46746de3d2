/**
 * Compiles the microcode (src/cpu/microcode, AssemblyScript) to src/cpu/generated/microcode.ts, which exports the module as
 * base64 so that every bundler and both hosts load it alike. Skipped when the sources, the flags and the compiler are those
 * of the last build: their hash stands in the generated file.
 *
 * `node scripts/build-microcode.ts [--force]`
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dataSegments } from './wasm-data-segments.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const sources = join(root, 'src/cpu/microcode');
const entry = 'src/cpu/microcode/index.ts';
const output = join(root, 'src/cpu/generated/microcode.ts');

/** Static tables of the microcode live in this part of the shared memory (layout.ts). */
const STATIC_DATA_START = 0x1000;
const STATIC_DATA_END = 0xe000;

const FLAGS = [
  ...[
    '--runtime',
    'stub',
    '--importMemory',
    '--importTable',
    '--sharedMemory',
    '--initialMemory',
    '16',
    '--maximumMemory',
    '65536',
  ],
  ...['--enable', 'simd,threads,bulk-memory', '--memoryBase', String(STATIC_DATA_START)],
  ...['-O3', '--noAssert', '--uncheckedBehavior', 'always'],
];

function sourceFiles(folder: string): string[] {
  const found: string[] = [];
  for (const file of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, file.name);
    if (file.isDirectory()) found.push(...sourceFiles(path));
    else if (file.name.endsWith('.ts') && !file.name.endsWith('.test.ts')) found.push(path);
  }
  return found;
}

function hashSources(): string {
  const compiler = readFileSync(join(root, 'node_modules/assemblyscript/package.json'), 'utf8');
  const hash = createHash('sha256').update(compiler).update(FLAGS.join(' '));
  for (const path of [...sourceFiles(sources).sort(), join(root, 'src/cpu/layout.ts')]) {
    hash.update(relative(root, path)).update('\0').update(readFileSync(path)).update('\0');
  }
  return hash.digest('hex');
}

/** Builds when needed. Throws with the compiler's own messages when the sources do not compile. */
export async function buildMicrocode(force = false): Promise<void> {
  if (!existsSync(join(root, entry))) return;
  const stamp = `// sources ${hashSources()}\n`;
  if (!force && existsSync(output) && readFileSync(output, 'utf8').startsWith(stamp)) return;

  const binary = await compile();
  for (const segment of dataSegments(binary)) {
    const end = segment.address + segment.bytes;
    if (segment.address < STATIC_DATA_START || end > STATIC_DATA_END) {
      throw new Error(
        `microcode tables reach 0x${end.toString(16)}, and layout.ts leaves them 0x${STATIC_DATA_START.toString(16)} to 0x${STATIC_DATA_END.toString(16)}`,
      );
    }
  }
  mkdirSync(dirname(output), { recursive: true });
  const temporary = `${output}.${process.pid}`;
  writeFileSync(
    temporary,
    `${stamp}/** The microcode as a WebAssembly module, ${binary.length} bytes. Written by scripts/build-microcode.ts. */\n` +
      `export const microcodeBase64: string =\n  '${Buffer.from(binary).toString('base64')}';\n`,
  );
  renameSync(temporary, output);
}

/** What is used of `assemblyscript/asc`. Its own declarations define a global `console`, which collides with Node's. */
interface AssemblyScriptCompiler {
  createMemoryStream(): { toString(): string };
  main(
    args: readonly string[],
    host: { stdout: unknown; stderr: unknown; writeFile(name: string, contents: Uint8Array | string): void },
  ): Promise<{ error: Error | null }>;
}

async function compile(): Promise<Uint8Array> {
  const compiler = 'assemblyscript/asc';
  const { default: asc } = (await import(compiler)) as { default: AssemblyScriptCompiler };
  const stdout = asc.createMemoryStream();
  const stderr = asc.createMemoryStream();
  let binary: Uint8Array | undefined;
  const { error } = await asc.main([entry, '--outFile', 'microcode.wasm', '--baseDir', root, ...FLAGS], {
    stdout,
    stderr,
    writeFile(name: string, contents: Uint8Array | string): void {
      if (name.endsWith('.wasm') && typeof contents !== 'string') binary = contents;
    },
  });
  if (error !== null || binary === undefined)
    throw new Error(`microcode does not compile:\n${stderr.toString()}${error?.message ?? ''}`);
  return binary;
}

if (import.meta.main) {
  try {
    await buildMicrocode(process.argv.includes('--force'));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
