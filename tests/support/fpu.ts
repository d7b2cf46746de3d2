/**
 * The FPU part of the microcode on its own, without the engine: compiled from source and run over FXSAVE images.
 *
 * Used to compare 80-bit arithmetic with the host's x87 instruction by instruction.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CPU_MODE, FIRST_VCPU, MODE_64 } from '../../src/cpu/layout.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const FLAGS =
  '--runtime stub --importMemory --sharedMemory --initialMemory 16 --maximumMemory 65536 --enable simd,threads,bulk-memory --memoryBase 4096 -O3 --noAssert --uncheckedBehavior always';
/** Where FXSAVE images are exchanged. */
const IMAGE = 0x90000;

export type MicrocodeFunction = (...args: (number | bigint)[]) => number | bigint | undefined;

export interface FpuMicrocode {
  readonly memory: DataView;
  readonly bytes: Uint8Array;
  readonly call: (name: string, ...args: (number | bigint)[]) => number | bigint | undefined;
  /** Loads all registers from a 64-bit FXSAVE image. */
  readonly load: (fx: Uint8Array) => void;
  readonly save: (fx: Uint8Array) => void;
}

/** Compiles one AssemblyScript room (by its path from the repository's root) and instantiates it with a vCPU of its own. */
export function compileMicrocode(entry: string): FpuMicrocode {
  const folder = mkdtempSync(join(tmpdir(), 'orrery-fpu-'));
  const out = join(folder, 'out.wasm');
  execFileSync(
    process.execPath,
    [join(ROOT, 'node_modules/assemblyscript/bin/asc.js'), entry, '-o', out, ...FLAGS.split(' ')],
    { cwd: ROOT },
  );
  const binary = readFileSync(out);
  rmSync(folder, { recursive: true });
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: true });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(binary), { env: { memory } });
  const bytes = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  view.setUint32(FIRST_VCPU + CPU_MODE, MODE_64, true);
  const call = (name: string, ...args: (number | bigint)[]): number | bigint | undefined => {
    const f = instance.exports[name];
    if (typeof f !== 'function') throw new Error(`no microcode function ${name}`);
    return (f as MicrocodeFunction)(FIRST_VCPU, ...args);
  };
  return {
    memory: view,
    bytes,
    call,
    load: (fx) => {
      bytes.set(fx, IMAGE);
      call('fxrstorImage', IMAGE, 1);
    },
    save: (fx) => {
      call('fxsaveImage', IMAGE, 1);
      fx.set(bytes.subarray(IMAGE, IMAGE + 416));
    },
  };
}
