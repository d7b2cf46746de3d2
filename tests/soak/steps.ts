/** What the guest of the soak does, one shell script a step, and in which order. */
import { spawnSync } from 'node:child_process';
import { UserError } from '../../src/base/errors.ts';

export const KINDS = ['cpu', 'vm', 'other', 'build'] as const;
export type Kind = (typeof KINDS)[number];

export interface Step {
  readonly kind: Kind;
  readonly name: string;
  /** Run by sh, in the folder of the sources; $OUT is a folder to write to. */
  readonly script: string;
  /** What it must print, character by character; undefined: what it prints is a stressor's. */
  readonly expected?: string;
}

/** Stressors of stress-ng's classes cpu, vm and interrupt that check what they do or bring out what emulators get wrong. */
const OTHERS: readonly string[] = [
  ...['atomic', 'branch', 'bsearch', 'context', 'crypt', 'fp', 'fp-error', 'funccall', 'funcret', 'goto', 'hash'],
  ...['heapsort', 'hsearch', 'jpeg', 'judy', 'list', 'longjmp', 'lsearch', 'matrix', 'matrix-3d', 'mergesort', 'nop'],
  ...['opcode', 'priv-instr', 'qsort', 'radixsort', 'regs', 'rotate', 'shellsort', 'skiplist', 'sparsematrix', 'str'],
  ...['stream', 'tree', 'tsearch', 'vecfp', 'vecmath', 'vecshuf', 'vecwide', 'wcs', 'x86cpuid', 'zlib'],
  ...['brk', 'malloc', 'memcpy', 'mmap', 'mprotect', 'mremap', 'stack', 'vm-addr', 'vm-rw', 'fault', 'fork', 'pipe'],
  ...['sigchld', 'sigfpe', 'sigsegv', 'sigtrap', 'sigpipe', 'itimer', 'switch'],
];

/** Memory of a VM stressor: more than any cache, little enough for every method to get through it in a few seconds. */
const VM_BYTES = '48m';

/** The methods that stress-ng has for one of its stressors. */
function methods(stressor: string): string[] {
  const { stdout, stderr, error } = spawnSync('stress-ng', [`--${stressor}-method`, 'which'], { encoding: 'utf8' });
  if (error !== undefined) throw new UserError('the soak needs stress-ng: apt-get install stress-ng');
  const names =
    /must be one of:(.*)/
      .exec(stdout + stderr)?.[1]
      ?.trim()
      .split(/\s+/) ?? [];
  if (names.length < 2) throw new UserError(`stress-ng lists no methods of --${stressor}`);
  return names.filter((name) => name !== 'all');
}

function stressor(kind: Kind, name: string, words: string, seconds: number): Step {
  // A step that hangs is ended by timeout, which is a failure.
  const script = `timeout -s KILL ${300 + 20 * seconds} stress-ng ${words} --verify --metrics -t ${seconds}s --temp-path $OUT`;
  return { kind, name, script };
}

/** All stressors, each for a few seconds; last for each kind the one that goes through all methods itself. */
export function stressorSteps(seconds: number): Step[] {
  const cpu = [...methods('cpu'), 'all'];
  const vm = [...methods('vm'), 'all'];
  return [
    ...cpu.map((m) => stressor('cpu', `cpu ${m}`, `--cpu 1 --cpu-method ${m}`, seconds)),
    ...vm.map((m) => stressor('vm', `vm ${m}`, `--vm 1 --vm-bytes ${VM_BYTES} --vm-method ${m}`, seconds)),
    ...OTHERS.map((name) => stressor('other', name, `--${name} 1`, seconds)),
  ];
}

/** One list that takes from all kinds in proportion, so that even a short run sees all of them. */
export function interleave(steps: readonly Step[]): Step[] {
  const place = (step: Step): number => {
    const alike = steps.filter(({ kind }) => kind === step.kind);
    return (alike.indexOf(step) + 0.5) / alike.length;
  };
  return steps
    .map((step) => ({ step, at: place(step) }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ step }) => step);
}

const MARK = '\x1e';

/** The script in the guest: mounts what programs expect in `root`, then goes through the steps again and again. */
export function guestScript(root: string, steps: number, seconds: number): string {
  return `for folder in proc sys dev tmp; do mkdir -p ${root}/$folder; mount --bind /$folder ${root}/$folder; done
mkdir -p /tmp/soak
dmesg -c >/dev/null
read start idle </proc/uptime
while :; do
  step=0
  while [ $step -lt ${steps} ]; do
    read now idle </proc/uptime
    [ $((\${now%.*} - \${start%.*})) -ge ${seconds} ] && exit 0
    rm -rf /tmp/soak/*
    printf '\\036step %s\\n' $step
    chroot ${root} /bin/sh -c "cd /src && OUT=/tmp/soak . /steps/$step" 2>&1
    status=$?
    read then idle </proc/uptime
    printf '\\036end %s %s %s\\n' $status \${now%.*}\${now#*.} \${then%.*}\${then#*.}
    dmesg -c | while IFS= read -r line; do printf '\\036kernel %s\\n' "$line"; done
    step=$((step + 1))
  done
done
`;
}

export interface StepRun {
  readonly step: number;
  readonly status: number;
  /** Of the guest's clock. */
  readonly seconds: number;
  readonly output: string;
}

/** Follows what the script prints, line by line. */
export class Progress {
  readonly runs: StepRun[] = [];
  readonly kernelLines: string[] = [];
  /** The step that is under way. */
  current: number | undefined;
  private lines: string[] = [];
  private rest = '';

  feed(text: string): void {
    const lines = (this.rest + text.replaceAll('\r', '')).split('\n');
    this.rest = lines.pop() ?? '';
    for (const line of lines) this.line(line);
  }

  private line(line: string): void {
    // A program may end without a line feed.
    const mark = line.indexOf(MARK);
    const [, word, rest = ''] = mark < 0 ? [] : (/^(step|end|kernel) (.*)$/.exec(line.slice(mark + 1)) ?? []);
    if (word === undefined) {
      this.lines.push(line);
      return;
    }
    if (mark > 0) this.lines.push(line.slice(0, mark));
    if (word === 'kernel') this.kernelLines.push(rest);
    if (word === 'step') {
      this.current = Number(rest);
      this.lines = [];
    }
    if (word !== 'end' || this.current === undefined) return;
    const [status = 255, from = 0, to = 0] = rest.split(' ').map(Number);
    this.runs.push({ step: this.current, status, seconds: (to - from) / 100, output: this.lines.join('\n') });
    this.current = undefined;
    this.lines = [];
  }
}
