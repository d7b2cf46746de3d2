/** Unmodified Linux: boots, works and powers off, on every tier. */
import { describe, expect, it } from 'vitest';
import { guest, runScript, type ScriptRun } from './guest.ts';

/** dmesg lines of these kinds are defects of the machine. */
const COMPLAINTS = /WARNING|BUG|unchecked MSR|invalid opcode|Oops|soft lockup|rcu.*stall|unstable/;

const work = (megabytes: number): string => `
uname -srm
grep -c ^processor /proc/cpuinfo
grep -m1 '^flags' /proc/cpuinfo
dmesg | grep -E '${COMPLAINTS.source}' | sed 's/^/complaint: /'
dd if=/dev/zero bs=1M count=${megabytes} 2>/dev/null | md5sum
i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done; echo forked $i
`;

/** md5sum of that many MiB of zeros, as any machine computes it. */
const ZEROS_MD5: Readonly<Record<number, string>> = {
  10: 'f1c9645dbc14efddc7d8a322685f26eb',
  100: '2f282b84e7e608d5852449ed940bfc51',
};

const amd64 = await guest('amd64');
const i386 = await guest('i386');

function expectWork(run: ScriptRun, machine: string, kernelVersion: string, megabytes: number): void {
  console.log(
    `${machine}: ${run.seconds.toFixed(1)} s, ${(run.statistics.instructions / 1e9).toFixed(2)} G instructions, ` +
      `${(run.statistics.instructions / run.seconds / 1e6).toFixed(0)} MIPS`,
  );
  expect(run.console).not.toMatch(/Kernel panic/);
  expect(run.output).toContain(`Linux ${kernelVersion} ${machine}`);
  expect(run.output).not.toContain('complaint:');
  expect(run.output).toContain(ZEROS_MD5[megabytes]);
  expect(run.output).toContain('forked 1000');
  expect(run.status).toBe(0);
  expect(run.exit).toEqual({ reason: 'poweroff', status: 0 });
}

describe.skipIf(amd64 === undefined)('amd64 Linux', () => {
  // INVARIANT: the suite is skipped where there is no guest.
  const image = amd64!;

  it.each(['jit', 'interp'] as const)('boots, works and powers off (%s)', async (accel) => {
    const run = await runScript(image, work(100), { accel });
    expectWork(run, 'x86_64', image.kernelVersion, 100);
    expect(run.output).toMatch(/sse4_2.*aes/);
  });

  it('does the same to the instruction on every tier when time is counted in instructions', async () => {
    const script = 'uname -r; date +%s.%N; cat /proc/uptime; dmesg | tail -n 3';
    const config = { nsPerInstruction: 4 } as const;
    const first = await runScript(image, script, { ...config, accel: 'interp' });
    const second = await runScript(image, script, { ...config, accel: 'jit' });
    // The console with its time stamps, and all of memory.
    expect(second.console).toBe(first.console);
    expect(second.statistics.instructions).toBe(first.statistics.instructions);
    expect(second.statistics.virtualTimeNs).toBe(first.statistics.virtualTimeNs);
    expect(second.memory()).toBe(first.memory());
  });

  it('runs two machines in one process', async () => {
    const runs = await Promise.all([runScript(image, 'echo one; uname -m'), runScript(image, 'echo two; uname -m')]);
    expect(runs.map((run) => run.output)).toEqual(['one\nx86_64\n', 'two\nx86_64\n']);
  });
});

describe.skipIf(i386 === undefined)('i386 Linux', () => {
  it('boots, works and powers off', async () => {
    // INVARIANT: the suite is skipped where there is no guest.
    const image = i386!;
    expectWork(await runScript(image, work(10)), 'i686', image.kernelVersion, 10);
  });
});
