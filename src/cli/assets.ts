/** `orrery assets`: fetches the guest kernel and initial file system that `orrery run` starts. */
import { UserError } from '../base/errors.ts';
import { didYouMean } from '../base/nearest.ts';
import { cachedGuestAssets, guestAssets } from '../host/node/assets/assets.ts';
import type { GuestArchitecture, GuestAssets } from '../host/node/assets/assets.ts';
import type { Command } from './command.ts';

const USAGE = `usage: orrery assets [--arch amd64|i386] [--refresh] [--path]

Fetches a Linux kernel and BusyBox with this machine's own package client (apt), builds an initial file system of them and
keeps both in the cache folder ($XDG_CACHE_HOME/orrery or ~/.cache/orrery). Nothing is installed and no root is needed.

  --arch NAME  the guest's architecture (default amd64)
  --refresh    fetch again what the cache has
  --path       only print where the cache has them, and end with status 1 if it has not
`;

const ARCHITECTURES: readonly GuestArchitecture[] = ['amd64', 'i386'];

function architecture(name: string | undefined): GuestArchitecture {
  const known = ARCHITECTURES.find((candidate) => candidate === name);
  if (known === undefined) throw new UserError(`--arch: '${name ?? ''}' is none of ${ARCHITECTURES.join(', ')}`);
  return known;
}

function print({ kernel, initrd, manifest }: GuestAssets): void {
  process.stdout.write(`kernel ${kernel}\ninitrd ${initrd}\nversion ${manifest.kernelVersion}\n`);
}

export const assetsCommand: Command = {
  async run(args) {
    let arch: GuestArchitecture = 'amd64';
    let refresh = false;
    let onlyPath = false;
    for (let at = 0; at < args.length; at++) {
      const argument = args[at] ?? '';
      if (argument === '--arch') arch = architecture(args[++at]);
      else if (argument.startsWith('--arch=')) arch = architecture(argument.slice('--arch='.length));
      else if (argument === '--refresh') refresh = true;
      else if (argument === '--path') onlyPath = true;
      else if (argument === '--help' || argument === '-h') {
        process.stdout.write(USAGE);
        return 0;
      } else {
        throw new UserError(
          `assets: no option '${argument}'${didYouMean(argument, ['--arch', '--refresh', '--path', '--help'])}`,
        );
      }
    }
    if (onlyPath) {
      const cached = await cachedGuestAssets(arch);
      if (cached !== undefined) print(cached);
      return cached === undefined ? 1 : 0;
    }
    print(
      await guestAssets({ architecture: arch, refresh, progress: (line) => process.stderr.write(`orrery: ${line}\n`) }),
    );
    return 0;
  },
};
