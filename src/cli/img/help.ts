/** `orrery img --help`. */
import { DRIVERS } from '../../block/drivers.ts';

const USAGE = `usage: orrery img [--help | --version] COMMAND [options]

Commands, with qemu-img's options, output and exit statuses:
  check [-f FMT] [--output=human|json] [-r leaks|all] [-T CACHE] [-q] [-U] FILE
  create [-f FMT] [-b BACKING [-F FMT]] [-u] [-o OPTIONS] [-q] FILE [SIZE]
  info [-f FMT] [--output=human|json] [--backing-chain] [-U] FILE
  map [-f FMT] [--start-offset=BYTES] [--max-length=BYTES] [--output=human|json] [-U] FILE

All take --object TYPE,id=ID,… (secrets, keys of TLS connections), and those with -f also --image-opts, with which FILE is a
list of options as -blockdev has them.

  FMT        a format; without, it is told by the content
  SIZE       bytes, or with k, M, G, T, P, E for powers of 1024
  CACHE      none, writeback, writethrough, directsync, unsafe
  OPTIONS    the format's own, name=value,…; "-o help" lists them
`;

export function helpText(): string {
  const formats = DRIVERS.map(({ name }) => name).sort();
  return `${USAGE}\nFormats and protocols: ${formats.join(' ')}\n`;
}
