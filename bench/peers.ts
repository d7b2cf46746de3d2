/** How each peer is started with the same guest. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { COMMAND_LINE, GUEST_RAM_BYTES } from './guest-images.ts';
import type { Peer } from './samples.ts';
import { WatchedProcess } from './watched-process.ts';

const QEMU = 'qemu-system-x86_64';
const GUEST_PROCESS = fileURLToPath(new URL('guest-process.ts', import.meta.url));

export type GuestPeer = Exclude<Peer, 'native'>;

/** Starts the guest; its console is the process's standard output. */
export function startGuest(peer: GuestPeer, kernel: string, initrd: string): WatchedProcess {
  if (peer !== 'qemu') {
    const args = [GUEST_PROCESS, peer, String(GUEST_RAM_BYTES), kernel, initrd, COMMAND_LINE];
    return new WatchedProcess(process.execPath, args, true);
  }
  const machine = [
    '-accel',
    'tcg',
    '-cpu',
    'max',
    '-m',
    String(GUEST_RAM_BYTES >> 20),
    '-nographic',
    '-nic',
    'none',
    '-no-reboot',
  ];
  return new WatchedProcess(QEMU, [...machine, '-kernel', kernel, '-initrd', initrd, '-append', COMMAND_LINE], false);
}

/** First line of what QEMU says about itself; undefined where it is not installed. */
export function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0] : undefined;
}
