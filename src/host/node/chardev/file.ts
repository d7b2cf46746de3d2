/** Files and named pipes as character backends. */
import { createReadStream, createWriteStream, existsSync, openSync } from 'node:fs';
import { UserError } from '../../../base/errors.ts';
import { StreamBackend } from './host-chardev.ts';
import type { HostChardev } from './host-chardev.ts';

/** Output goes to a file; there is no input. */
export class FileChardev extends StreamBackend implements HostChardev {
  readonly ready: Promise<void> = Promise.resolve();

  /** Throws UserError when the file cannot be opened. */
  constructor(path: string, append: boolean) {
    super();
    let fd: number;
    try {
      fd = openSync(path, append ? 'a' : 'w');
    } catch (error) {
      throw new UserError(`${path} cannot be written: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
    }
    this.connectOutput(createWriteStream(path, { fd }), () => {});
  }

  close(): Promise<void> {
    return this.flush();
  }
}

/** `path.in` and `path.out` if those exist, else one FIFO both ways. */
export class PipeChardev extends StreamBackend implements HostChardev {
  readonly ready: Promise<void> = Promise.resolve();

  constructor(path: string) {
    super();
    const pair = existsSync(`${path}.in`) && existsSync(`${path}.out`);
    if (!pair && !existsSync(path))
      throw new UserError(`pipe ${path} does not exist, nor do ${path}.in and ${path}.out`);
    // Opened for reading and writing, a FIFO opens at once and does not end when one of its users leaves.
    this.connectInput(createReadStream(pair ? `${path}.in` : path, { flags: 'r+' }));
    this.connectOutput(createWriteStream(pair ? `${path}.out` : path, { flags: 'r+' }), () => {});
  }

  close(): Promise<void> {
    return this.flush();
  }
}
