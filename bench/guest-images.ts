/** What the guests of the benchmark boot: the kernel and initial file system of `orrery run`, and scripts to run in them. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { guestAssets } from '../src/host/node/assets/assets.ts';
import { SCRIPT_END_MARK, SCRIPT_START_MARK } from '../src/host/node/assets/guest-root.ts';
import { writeCpio } from '../src/machine/cpio.ts';

/** How the guest's first shell prompt begins. */
export const PROMPT = 'root@orrery:';
export { SCRIPT_END_MARK, SCRIPT_START_MARK };

export const GUEST_RAM_BYTES: number = 512 << 20;
/** A console that shows nothing but what programs write to it. */
export const COMMAND_LINE = 'console=ttyS0 quiet';

export interface GuestImages {
  /** Paths. */
  readonly kernel: string;
  readonly initrd: string;
  /** The same initial file system with the script of programs.ts, which runs instead of a shell. */
  readonly scriptInitrd: string;
  /** The guest's BusyBox, for the host to run. */
  readonly busybox: string;
  readonly kernelVersion: string;
}

/** Puts what is made for the benchmark into `folder`. */
export async function guestImages(folder: string, script: string): Promise<GuestImages> {
  const assets = await guestAssets({ progress: (line) => console.error(`bench: ${line}`) });
  const initrd = await readFile(assets.initrd);
  const scriptInitrd = join(folder, 'script-initrd.cpio');
  const archive = writeCpio([{ path: 'orrery-script', type: 'file', mode: 0o755, content: script }]);
  await writeFile(scriptInitrd, withArchive(initrd, archive));
  await mkdir(join(folder, 'native'), { recursive: true });
  const busybox = join(folder, 'native', 'busybox');
  await writeFile(busybox, cpioMember(initrd, 'bin/busybox'), { mode: 0o755 });
  const { kernelVersion } = assets.manifest;
  return { kernel: assets.kernel, initrd: assets.initrd, scriptInitrd, busybox, kernelVersion };
}

/** An initial file system with another archive behind it, which the kernel unpacks over the first. */
export function withArchive(initrd: Uint8Array, archive: Uint8Array): Uint8Array {
  return Buffer.concat([initrd, new Uint8Array(-initrd.length & 3), archive]);
}

const HEADER_BYTES = 110;

/** Content of a member of a newc archive: 13 hexadecimal fields of 8 digits behind the magic, name and content aligned to 4. */
export function cpioMember(archive: Buffer, path: string): Buffer {
  for (let at = 0; ;) {
    const field = (n: number): number =>
      Number.parseInt(archive.toString('latin1', at + 6 + n * 8, at + 14 + n * 8), 16);
    const size = field(6);
    const nameBytes = field(11);
    const name = archive.toString('latin1', at + HEADER_BYTES, at + HEADER_BYTES + nameBytes - 1);
    const content = (at + HEADER_BYTES + nameBytes + 3) & ~3;
    if (name === path) return archive.subarray(content, content + size);
    if (name === 'TRAILER!!!' || Number.isNaN(size)) throw new Error(`the initial file system has no ${path}`);
    at = (content + size + 3) & ~3;
  }
}
