/** The same words to `orrery img` and to the distribution's tool, each with its own copy of the same images. */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { imgCommand } from '../../../src/cli/img.ts';
import { qemuImg } from './qemu-tools.ts';

export interface Said {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

export class Both {
  private readonly folder: string = mkdtempSync(join(tmpdir(), 'orrery-img-'));
  /** What both start from. */
  readonly start: string = join(this.folder, 's');
  readonly peers: string = join(this.folder, 'a');
  readonly own: string = join(this.folder, 'b');

  constructor() {
    mkdirSync(this.start);
  }

  /** Gives both what there is in `start`. */
  reset(): void {
    for (const place of [this.peers, this.own]) {
      rmSync(place, { recursive: true, force: true });
      cpSync(this.start, place, { recursive: true });
    }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Output, errors and exit status of both must be the same; in the words `@` is the folder. */
  async say(words: string): Promise<void> {
    const [expected, found] = await Promise.all([this.theirs(words), this.ours(words)]);
    expect(found, words).toEqual(expected);
  }

  /** The image that we made checks clean, and has the same content as theirs. */
  alike(name: string, format: string): void {
    const made = join(this.own, name);
    const check = qemuImg('check', '-q', '-f', format, made);
    expect(check.status === 0 || check.status === 63, check.text).toBe(true);
    const compared = qemuImg('compare', '-f', format, '-F', format, join(this.peers, name), made).text;
    expect(compared).toContain('identical');
  }

  private theirs(words: string): Promise<Said> {
    const args = words.split(' ').map((word) => word.replaceAll('@', this.peers));
    return new Promise((resolve) => {
      execFile('/usr/bin/qemu-img', args, (error, out, err) => {
        resolve({ status: Number(error?.code ?? 0), out: this.neutral(out), err: this.neutral(err) });
      });
    });
  }

  /** What we say; not compared with anything. */
  async ours(words: string): Promise<Said> {
    const said = { out: '', err: '' };
    const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((said.out += String(text)), true));
    const err = vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((said.err += String(text)), true));
    try {
      const status = await imgCommand.run(words.split(' ').map((word) => word.replaceAll('@', this.own)));
      return { status, out: this.neutral(said.out), err: this.neutral(said.err) };
    } finally {
      out.mockRestore();
      err.mockRestore();
    }
  }

  private neutral(text: string): string {
    return text
      .replaceAll(this.peers, '@')
      .replaceAll(this.own, '@')
      .replaceAll('orrery img', 'qemu-img')
      .replace(/(\r? +\(\d+\.\d\d\/100%\))+\r/g, 'progress')
      .replace(/completed in \d+\.\d{3} seconds/g, 'completed in … seconds')
      .replace(/#block\d+/g, '#block…')
      .replace(/disk size: .*/g, 'disk size: …')
      .replace(/"actual-size": \d+/g, '"actual-size": …');
  }
}
