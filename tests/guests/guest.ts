/** Guests for tests: the distribution's kernel and initial file system, a script to run in it, and what came of it. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { guestAssets, type GuestArchitecture } from '../../src/host/node/assets/assets.ts';
import { SCRIPT_END_MARK, SCRIPT_START_MARK } from '../../src/host/node/assets/guest-root.ts';
import { writeCpio } from '../../src/machine/cpio.ts';
import type { MachineConfig, MachineExit } from '../../src/machine/config.ts';
import { Machine, type MachineStatistics } from '../../src/node.ts';

export interface Guest {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly kernelVersion: string;
}

/** The guest of an architecture; undefined, with the reason on the console, where it cannot be had. */
export async function guest(architecture: GuestArchitecture = 'amd64'): Promise<Guest | undefined> {
  try {
    const assets = await guestAssets({ architecture });
    const [kernel, initrd] = await Promise.all([readFile(assets.kernel), readFile(assets.initrd)]);
    return { kernel, initrd, kernelVersion: assets.manifest.kernelVersion };
  } catch (error) {
    console.warn(`no ${architecture} guest to test with: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** A second initial file system whose script /init runs instead of a shell. */
export function scriptArchive(script: string): Uint8Array {
  return writeCpio([{ path: 'orrery-script', type: 'file', mode: 0o755, content: `#!/bin/sh\n${script}\n` }]);
}

export function withScript(initrd: Uint8Array, script: string): Uint8Array {
  const padded = (initrd.length + 3) & ~3;
  const archive = scriptArchive(script);
  const whole = new Uint8Array(padded + archive.length);
  whole.set(initrd);
  whole.set(archive, padded);
  return whole;
}

export interface ScriptRun {
  /** What the script printed. */
  readonly output: string;
  readonly status: number | undefined;
  /** Everything on the console. */
  readonly console: string;
  readonly exit: MachineExit;
  readonly statistics: MachineStatistics;
  readonly seconds: number;
  /** A hash of the guest's memory. */
  memory(): string;
}

/** Boots `guest`, runs `script` in it, and waits for the power-off. */
export async function runScript(guest: Guest, script: string, config: MachineConfig = {}): Promise<ScriptRun> {
  const start = performance.now();
  const machine = await Machine.create({
    kernel: guest.kernel,
    initrd: withScript(guest.initrd, script),
    commandLine: 'console=ttyS0 quiet',
    noReboot: true,
    startTimeMs: Date.UTC(2026, 0, 1),
    ...config,
  });
  const decoder = new TextDecoder();
  let text = '';
  machine.serial[0]?.onOutput((bytes) => {
    text += decoder.decode(bytes, { stream: true });
  });
  machine.start();
  const exit = await machine.exited;
  const console = text.replaceAll('\r', '');
  const [, rest = ''] = console.split(SCRIPT_START_MARK);
  const [output = '', status = ''] = rest.split(SCRIPT_END_MARK);
  return {
    output,
    status: status === '' ? undefined : Number.parseInt(status, 10),
    console,
    exit,
    statistics: machine.statistics(),
    seconds: (performance.now() - start) / 1000,
    memory: () => {
      const hash = createHash('sha256');
      const page = new Uint8Array(1 << 20);
      for (let at = 0; at < (config.memoryBytes ?? 512 << 20); at += page.length) {
        machine.board.space.readBytes(at, page);
        hash.update(page);
      }
      return hash.digest('hex');
    },
  };
}
