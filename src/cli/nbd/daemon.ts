/** What a server does to the process around it: going to the background, its number in a file, sockets that were handed over. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { UserError } from '../../base/errors.ts';
import { commandOfLink, programName } from '../called-as.ts';

/** First of the sockets that a service manager hands over (sd_listen_fds(3)). */
const FIRST_HANDED_FD = 3;

/** Number of the listening socket that was handed over, if one was. Throws UserError for several. */
export function handedSocket(): number | undefined {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = process.env;
  // The launcher may have put another Node between.
  if (pid !== String(process.pid) && pid !== String(process.ppid)) return undefined;
  if (count === undefined || count === '0') return undefined;
  if (count !== '1') throw new UserError('orrery nbd does not support socket activation with more than one socket');
  return FIRST_HANDED_FD;
}

export function writePidFile(path: string): void {
  try {
    writeFileSync(path, `${process.pid}\n`);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UserError(`Could not create '${path}': ${code === 'ENOENT' ? 'No such file or directory' : message}`);
  }
}

/** Set for the process that serves. */
const FORKED = 'ORRERY_NBD_FORKED';

/** Whether this is the process that `runInBackground` started. */
export function inBackground(): boolean {
  return process.env[FORKED] !== undefined;
}

/**
 * Runs the same command again as a process of its own; returns its status when it ends before it serves, 0 as soon as it
 * does. Until then its sentences come out here.
 */
export function runInBackground(args: readonly string[]): Promise<number> {
  const [script = ''] = process.argv.slice(1);
  const command = commandOfLink() === undefined ? ['nbd'] : [];
  const child = spawn(process.execPath, [...process.execArgv, script, ...command, ...args], {
    detached: true,
    env: { ...process.env, [FORKED]: '1' },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  return new Promise((resolve) => {
    child.stderr?.on('data', (text: Uint8Array) => process.stderr.write(text));
    child.on('error', (error) => {
      process.stderr.write(`${programName()}: the server cannot be started: ${error.message}\n`);
      resolve(1);
    });
    child.on('exit', (status) => resolve(status ?? 1));
    child.once('message', () => {
      child.removeAllListeners('exit');
      child.unref();
      resolve(0);
    });
  });
}

/** In a process that `runInBackground` started: tells that it serves, and lets go of who started it. */
export function tellServing(): void {
  if (process.send === undefined) return;
  // Who reads standard error is gone after this.
  process.stderr.on('error', () => {});
  process.send('serving', () => process.disconnect?.());
}
