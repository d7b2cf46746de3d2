/**
 * A process that boots a guest under Orrery, for the benchmark to watch as it watches QEMU's:
 *
 *     node bench/guest-process.ts ACCEL MEMORY_BYTES KERNEL INITRD COMMAND_LINE [BUNDLE]
 *
 * The guest's console goes to standard output. At the shell prompt the figures that only the inside knows go to the parent.
 * It runs the bundle that users run (`npm run build` makes it), or another tree's at the path BUNDLE.
 */
import { readFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import type { Vm } from '../src/accel/contract.ts';
import type { Machine as MachineType, MachineConfig } from '../src/node.ts';
import * as L from '../src/cpu/layout.ts';
import { PROMPT } from './guest-images.ts';

/** What the process tells about itself at the prompt. */
export interface PromptReport {
  readonly instructions: number;
  /** Seconds of CPU time since the machine was started. */
  readonly cpuSeconds: number;
  /** Size of the memory that holds everything the guest and the engine share, and where guest RAM begins in it. */
  readonly memoryBytes: number;
  readonly ramOffset: number;
}

const [accel = '', memoryBytes = '', kernel = '', initrd = '', commandLine = '', path] = process.argv.slice(2);
const bundle = (path === undefined ? new URL('../dist/node.js', import.meta.url) : pathToFileURL(path)).href;
const { Machine } = (await import(bundle)) as { Machine: { create(config: MachineConfig): Promise<MachineType> } };

const machine = await Machine.create({
  accel: accel === 'interp' ? 'interp' : 'jit',
  memoryBytes: Number(memoryBytes),
  kernel: await readFile(kernel),
  initrd: await readFile(initrd),
  commandLine,
  noReboot: true,
});

const start = process.cpuUsage();
const decoder = new TextDecoder();
let tail = '';
let reported = false;
machine.serial[0]?.onOutput((bytes) => {
  process.stdout.write(bytes);
  if (reported || process.send === undefined) return;
  tail = (tail + decoder.decode(bytes, { stream: true })).slice(-PROMPT.length - bytes.length);
  if (!tail.includes(PROMPT)) return;
  reported = true;
  process.send(report());
});

function report(): PromptReport {
  // INVARIANT: Machine keeps its VM under this name; what lies in its memory is no business of those who use machines.
  const { buffer } = (machine as unknown as { readonly vm: Vm }).vm.memory;
  const words = new Uint32Array(buffer);
  const slots = Array.from({ length: L.MAX_SLOTS }, (_, i) => (L.MACHINE_SLOTS + i * L.SLOT_SIZE) >> 2);
  // RAM begins at guest physical address 0.
  const low = slots.find((at) => words[at + L.SLOT_FIRST_PAGE / 4] === 0 && words[at + L.SLOT_PAGES / 4] !== 0) ?? 0;
  const used = process.cpuUsage(start);
  return {
    instructions: machine.statistics().instructions,
    cpuSeconds: (used.user + used.system) / 1e6,
    memoryBytes: buffer.byteLength,
    ramOffset: words[low + L.SLOT_HOST / 4] ?? 0,
  };
}

machine.start();
await machine.exited;
process.disconnect?.();
