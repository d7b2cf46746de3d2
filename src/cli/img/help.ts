/** `orrery img --help`. */
import { DRIVERS } from '../../block/drivers.ts';

const USAGE = `usage: orrery img [--help | --version] COMMAND [options]

Commands, with qemu-img's options, output and exit statuses:
  check [-f FMT] [--output=human|json] [-r leaks|all] [-T CACHE] [-q] [-U] FILE
  compare [-f FMT] [-F FMT] [-T CACHE] [-p] [-q] [-s] [-U] FILE1 FILE2
  convert [-f FMT] [-O FMT] [-o OPTIONS] [-B BACKING [-F FMT]] [-c] [-l SNAPSHOT] [-S SIZE] [-m NUM] [-W] [-n] [-r RATE]
          [-t CACHE] [-T CACHE] [-p] [-q] [-U] [--bitmaps [--skip-broken-bitmaps]] [--salvage] [--target-is-zero]
          [--target-image-opts] FILE [FILE2 …] OUTPUT
  create [-f FMT] [-b BACKING [-F FMT]] [-u] [-o OPTIONS] [-q] FILE [SIZE]
  info [-f FMT] [--output=human|json] [--backing-chain] [-U] FILE
  map [-f FMT] [--start-offset=BYTES] [--max-length=BYTES] [--output=human|json] [-U] FILE
  resize [-f FMT] [--preallocation=off|metadata|falloc|full] [--shrink] [-q] FILE [+|-]SIZE
  snapshot [-l | -a NAME | -c NAME | -d NAME] [-q] [-U] FILE

All take --object TYPE,id=ID,… (secrets, keys of TLS connections), and those with -f also --image-opts, with which FILE is a
list of options as -blockdev has them.

  FMT        a format; without, it is told by the content
  SNAPSHOT   an internal snapshot's id or name, or snapshot.id=ID,snapshot.name=NAME
  SIZE       bytes, or with k, M, G, T, P, E for powers of 1024
  CACHE      none, writeback, writethrough, directsync, unsafe
  OPTIONS    the format's own, name=value,…; "-o help" lists them
`;

export function helpText(): string {
  const formats = DRIVERS.map(({ name }) => name).sort();
  return `${USAGE}\nFormats and protocols: ${formats.join(' ')}\n`;
}
