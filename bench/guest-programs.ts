/** The guest programs that are timed, as one shell script that every peer runs with the same BusyBox. */

export interface GuestProgram {
  readonly name: string;
  /** Shell commands; $BB is the path of BusyBox, $DATA a file of DATA_MIB MiB of program text. */
  readonly commands: string;
}

const DATA_MIB = 20;

export const GUEST_PROGRAMS: readonly GuestProgram[] = [
  { name: 'md5sum of 100 MiB', commands: '$BB dd if=/dev/zero bs=1M count=100 2>/dev/null | $BB md5sum >/dev/null' },
  {
    name: 'sha256sum of 50 MiB',
    commands: '$BB dd if=/dev/zero bs=1M count=50 2>/dev/null | $BB sha256sum >/dev/null',
  },
  { name: `gzip of ${DATA_MIB} MiB`, commands: '$BB gzip -c <$DATA >/dev/null' },
  { name: '1000 processes', commands: 'i=0; while [ $i -lt 1000 ]; do $BB true; i=$((i+1)); done' },
  {
    name: 'sort and awk',
    commands:
      "$BB seq 1 50000 | $BB awk '{ print ($1 * 7919) % 100003 }' | $BB sort -n | $BB awk '{ s += $1 * NR } END { print s }' >/dev/null",
  },
];

const MARK = 'bench-time';

/** Times each program by /proc/uptime, whose hundredths of a second every Linux has. `busybox`: its path where the script runs. */
export function programsScript(busybox: string, temporary: string): string {
  const lines = [
    '#!/bin/sh',
    `BB=${busybox}`,
    `DATA=${temporary}/bench-data`,
    'now() { read up idle </proc/uptime; now=${up%.*}${up#*.}; }',
    `while $BB cat $BB; do :; done | $BB dd of=$DATA bs=64k count=${DATA_MIB * 16} iflag=fullblock 2>/dev/null`,
  ];
  GUEST_PROGRAMS.forEach(({ commands }, i) => {
    lines.push(`now; start=$now; ${commands}; now; echo "${MARK} ${i} $((now - start))"`);
  });
  return `${[...lines, '$BB rm -f $DATA'].join('\n')}\n`;
}

/** Seconds of each program by its place in GUEST_PROGRAMS, from what the script printed. */
export function programTimes(output: string): Map<number, number> {
  const times = new Map<number, number>();
  for (const [, program, hundredths] of output.matchAll(new RegExp(`${MARK} (\\d+) (\\d+)`, 'g'))) {
    times.set(Number(program), Number(hundredths) / 100);
  }
  return times;
}
