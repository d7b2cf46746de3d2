/** What counts as a failure of the soak. */
import type { Progress, Step, StepRun } from './steps.ts';

/** Lines of stress-ng that tell of a failure. */
const STRESSOR_FAILURE = /^stress-ng: (fail|error):/m;
/** Lines of the guest's kernel that no healthy machine brings forth. That a clock is found unstable only shows a host too busy to let the emulator run. */
const KERNEL_FAILURE =
  /WARNING|BUG|Oops|Call Trace|general protection|segfault|invalid opcode|soft lockup|rcu.*stall|hung task|Machine check|mce:|unchecked MSR|bad page|Out of memory/i;
/** Stressors whose children die of what they do, which the kernel tells. */
const DYING = new Set(['opcode', 'priv-instr', 'sigsegv', 'sigfpe', 'sigtrap', 'x86cpuid', 'fault']);
const DYING_LINES = /segfault|general protection|invalid opcode|trap /;

/** Why this run of a step failed; undefined: it did not. */
export function verdict(step: Step, run: StepRun): string | undefined {
  const told = run.output.trim().split('\n').slice(-12).join('\n');
  if (run.status !== 0) return `${step.name}: status ${run.status}\n${told}`;
  if (step.expected !== undefined) {
    return run.output.trim() === step.expected.trim()
      ? undefined
      : `${step.name}: printed other than on the host\n${difference(step.expected, run.output)}`;
  }
  if (STRESSOR_FAILURE.test(run.output)) return `${step.name}: told a failure\n${told}`;
  return run.output.includes('successful run completed') ? undefined : `${step.name}: told no success\n${told}`;
}

function difference(expected: string, got: string): string {
  const wanted = expected.trim().split('\n');
  const lines = got.trim().split('\n');
  const at = wanted.findIndex((line, i) => line !== lines[i]);
  return at < 0 ? `more lines: ${lines[wanted.length]}` : `expected ${wanted[at]}\ngot      ${lines[at] ?? 'nothing'}`;
}

/** Lines of the kernel's log that tell of a failure; `names` are the steps that ran. */
export function kernelComplaints(lines: readonly string[], names: ReadonlySet<string>): string[] {
  const dying = [...names].some((name) => DYING.has(name));
  return lines.filter((line) => KERNEL_FAILURE.test(line) && !(dying && DYING_LINES.test(line)));
}

export interface Sample {
  /** Since the start. */
  readonly seconds: number;
  readonly residentMib: number;
  /** Without the mapping that holds guest memory. */
  readonly hostMib: number;
}

export interface MemoryVerdict {
  readonly warmMib: number;
  readonly endMib: number;
  readonly residentWarmMib: number;
  readonly residentEndMib: number;
  readonly flat: boolean;
}

/** Growth that is no leak: what a garbage collector leaves lying about. */
const SLACK_MIB = 32;

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

/**
 * Compares the last fifth of a run with the fifth behind its middle third's start: everything was translated and every page touched
 * by then. Medians, since collections come and go.
 */
export function judgeMemory(samples: readonly Sample[]): MemoryVerdict {
  const part = (from: number, to: number): readonly Sample[] =>
    samples.slice(Math.floor(samples.length * from), Math.ceil(samples.length * to));
  const warm = part(0.35, 0.55);
  const end = part(0.8, 1);
  const warmMib = median(warm.map(({ hostMib }) => hostMib));
  const endMib = median(end.map(({ hostMib }) => hostMib));
  return {
    warmMib,
    endMib,
    residentWarmMib: median(warm.map(({ residentMib }) => residentMib)),
    residentEndMib: median(end.map(({ residentMib }) => residentMib)),
    flat: endMib <= warmMib + SLACK_MIB,
  };
}

/** A row a kind of step. */
export function table(steps: readonly Step[], progress: Progress): string {
  const rows = [['kind', 'steps', 'of', 'runs', 'guest seconds', 'failed']];
  for (const kind of new Set(steps.map((step) => step.kind))) {
    const runs = progress.runs.filter(({ step }) => steps[step]?.kind === kind);
    const failed = runs.filter((run) => {
      const step = steps[run.step];
      return step === undefined || verdict(step, run) !== undefined;
    });
    const seconds = runs.reduce((sum, run) => sum + run.seconds, 0);
    const distinct = new Set(runs.map(({ step }) => step)).size;
    const all = steps.filter((step) => step.kind === kind).length;
    rows.push([kind, `${distinct}`, `${all}`, `${runs.length}`, seconds.toFixed(0), `${failed.length}`]);
  }
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '),
    )
    .join('\n');
}
