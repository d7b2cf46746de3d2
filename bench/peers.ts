/** How each peer is started with a guest, and whether it is there. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { COMMAND_LINE, GUEST_RAM_BYTES } from './guest-images.ts';
import type { Peer } from './samples.ts';
import { WatchedProcess } from './watched-process.ts';

const QEMU = 'qemu-system-x86_64';
const GUEST_PROCESS = fileURLToPath(new URL('guest-process.ts', import.meta.url));
const V86_PROCESS = fileURLToPath(new URL('v86-process.ts', import.meta.url));

/** Of the distribution's package seabios. */
export const BIOS = '/usr/share/seabios/bios.bin';
export const VGA_BIOS = '/usr/share/seabios/vgabios-stdvga.bin';

export type GuestPeer = Exclude<Peer, 'native'>;

/** What a guest is started with: paths, and words for the kernel. */
export interface GuestStart {
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine?: string;
  /** Orrery's bundle, to measure another than this tree's. */
  readonly bundle?: string;
}

/** Starts the guest; its console is the process's standard output. */
export function startGuest(
  peer: GuestPeer,
  { kernel, initrd, commandLine = COMMAND_LINE, bundle }: GuestStart,
): WatchedProcess {
  const memory = String(GUEST_RAM_BYTES);
  if (peer === 'v86') {
    return new WatchedProcess(process.execPath, [V86_PROCESS, memory, kernel, initrd, commandLine], false);
  }
  if (peer !== 'qemu') {
    const args = [GUEST_PROCESS, peer, memory, kernel, initrd, commandLine, ...(bundle === undefined ? [] : [bundle])];
    return new WatchedProcess(process.execPath, args, bundle === undefined);
  }
  const machine = ['-accel', 'tcg', '-cpu', 'max', '-m', String(GUEST_RAM_BYTES >> 20)];
  const rest = ['-nographic', '-nic', 'none', '-no-reboot'];
  const boot = ['-kernel', kernel, '-initrd', initrd, '-append', commandLine];
  return new WatchedProcess(QEMU, [...machine, ...rest, ...boot], false);
}

/** Why v86 cannot be measured; undefined where it can. */
export function v86Absence(): string | undefined {
  try {
    import.meta.resolve('v86');
  } catch {
    return 'the npm package v86 is not installed';
  }
  return existsSync(BIOS) && existsSync(VGA_BIOS) ? undefined : 'its BIOS is missing (apt-get install seabios)';
}

/** v86 and its version. */
export function v86Version(): string {
  if (v86Absence() !== undefined) return 'no v86';
  const file = readFileSync(new URL('../package.json', import.meta.resolve('v86')), 'utf8');
  return `v86 ${(JSON.parse(file) as { version: string }).version}`;
}

/** The program that runs Linux programs of `bits` without a machine; undefined where it is not installed. */
export function qemuUser(bits: 32 | 64): string | undefined {
  const command = bits === 64 ? 'qemu-x86_64' : 'qemu-i386';
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0 ? command : undefined;
}

/** First line of what QEMU says about itself; undefined where it is not installed. */
export function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0] : undefined;
}
