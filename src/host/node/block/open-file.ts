/** An open file with promises, of the functions of node:fs that take callbacks. */
import type { Stats } from 'node:fs';
import { fs } from './builtin.ts';

type Done<Result> = (error: Error | null, result: Result) => void;

function promised<Result>(start: (done: Done<Result>) => void): Promise<Result> {
  return new Promise((resolve, reject) => {
    start((error, result) => {
      if (error === null) resolve(result);
      else reject(error);
    });
  });
}

export class OpenFile {
  readonly fd: number;

  private constructor(fd: number) {
    this.fd = fd;
  }

  static async open(path: string, flags: number, mode: number): Promise<OpenFile> {
    return new OpenFile(await promised<number>((done) => fs.open(path, flags, mode, done)));
  }

  stat(): Promise<Stats> {
    return promised((done) => fs.fstat(this.fd, done));
  }

  truncate(size: number): Promise<void> {
    return promised((done) => fs.ftruncate(this.fd, size, (error) => done(error, undefined)));
  }

  datasync(): Promise<void> {
    return promised((done) => fs.fdatasync(this.fd, (error) => done(error, undefined)));
  }

  close(): Promise<void> {
    return promised((done) => fs.close(this.fd, (error) => done(error ?? null, undefined)));
  }
}
