/** `orrery img --help`. */
import { DRIVERS } from '../../block/drivers.ts';

const USAGE = `usage: orrery img [--help | --version] COMMAND [options]

Commands, with qemu-img's options, output and exit statuses:
  amend [-f FMT] [-t CACHE] [--force] [-p] [-q] -o OPTIONS FILE
  bench [-f FMT] [-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] [-o OFFSET] [-w [--pattern=BYTE] [--flush-interval=COUNT [--no-drain]]]
        [-t CACHE] [-q] [-U] FILE
  bitmap (--add [-g SIZE] | --remove | --clear | --enable | --disable | --merge BITMAP [-b FILE [-F FMT]])… [-f FMT] FILE BITMAP
  check [-f FMT] [--output=human|json] [-r leaks|all] [-T CACHE] [-q] [-U] FILE
  commit [-f FMT] [-b BASE] [-d] [-r RATE] [-t CACHE] [-p] [-q] FILE
  compare [-f FMT] [-F FMT] [-T CACHE] [-p] [-q] [-s] [-U] FILE1 FILE2
  convert [-f FMT] [-O FMT] [-o OPTIONS] [-B BACKING [-F FMT]] [-c] [-l SNAPSHOT] [-S SIZE] [-m NUM] [-W] [-n] [-r RATE]
          [-t CACHE] [-T CACHE] [-p] [-q] [-U] [--bitmaps [--skip-broken-bitmaps]] [--salvage] [--target-is-zero]
          [--target-image-opts] FILE [FILE2 …] OUTPUT
  create [-f FMT] [-b BACKING [-F FMT]] [-u] [-o OPTIONS] [-q] FILE [SIZE]
  dd [-f FMT] [-O FMT] [-U] [bs=SIZE] [count=BLOCKS] [skip=BLOCKS] if=FILE of=FILE
  info [-f FMT] [--output=human|json] [--backing-chain] [-U] FILE
  map [-f FMT] [--start-offset=BYTES] [--max-length=BYTES] [--output=human|json] [-U] FILE
  measure [-O FMT] [-o OPTIONS] [--output=human|json] [--size SIZE | [-f FMT] [-l SNAPSHOT] [-U] FILE]
  rebase [-f FMT] [-t CACHE] [-T CACHE] [-u] [-p] [-q] [-U] -b BACKING [-F FMT] FILE
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
