/** Looking at a running Linux: statistics, call stacks with the kernel's own names, and a profile that changes nothing. */
import { describe, expect, it } from 'vitest';
import { Machine, type MachineConfig, type MachineStatistics, type Profile } from '../../src/node.ts';
import { guest, withScript, type Guest } from './guest.ts';

const WORK =
  'dd if=/dev/zero bs=1M count=10 2>/dev/null | sha256sum; i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done';

async function profiled(
  { kernel, initrd }: Guest,
  options: { script?: string; profile?: boolean; config?: MachineConfig } = {},
): Promise<{ profile: Profile | undefined; statistics: MachineStatistics; log: string[] }> {
  const log: string[] = [];
  const machine = await Machine.create({
    kernel,
    initrd: withScript(initrd, options.script ?? WORK),
    commandLine: 'console=ttyS0 quiet cryptomgr.notests',
    noReboot: true,
    startTimeMs: Date.UTC(2026, 0, 1),
    log: { categories: ['jit'], write: (line) => log.push(line) },
    ...options.config,
  });
  const profile = options.profile === false ? undefined : machine.profile();
  machine.start();
  expect(await machine.exited).toEqual({ reason: 'poweroff', status: 0 });
  return { profile: profile?.stop(), statistics: machine.statistics(), log };
}

const amd64 = await guest('amd64');
const i386 = await guest('i386');

describe.skipIf(amd64 === undefined)('a profile of amd64 Linux', () => {
  // INVARIANT: the suite is skipped where there is no guest.
  const image = amd64!;

  it('names the kernel, wherever it moved itself, and the programs', async () => {
    const { profile, statistics, log } = await profiled(image);
    const folded = profile?.toFolded() ?? '';
    // The kernel's call stacks, from its entries on.
    expect(folded).toMatch(/^kernel;entry_SYSCALL_64_after_hwframe;do_syscall_64;/m);
    expect(folded).toMatch(/^kernel;asm_exc_page_fault;exc_page_fault;do_user_addr_fault;handle_mm_fault;/m);
    expect(folded).toMatch(/^kernel;start_kernel;/m);
    const owners = new Set(profile?.hottest(1000).map(({ owner }) => owner));
    expect([...owners].filter((owner) => owner.startsWith('user: /'))).not.toEqual([]);
    // Nearly all of the kernel's time has a name.
    const kernel = profile?.hottest(Infinity).filter(({ owner }) => owner === 'kernel') ?? [];
    const named = kernel.filter(({ name }) => !name.startsWith('0x')).reduce((sum, { share }) => sum + share, 0);
    expect(named / kernel.reduce((sum, { share }) => sum + share, 0)).toBeGreaterThan(0.8);

    const { tiers, time, code, tlb, interrupts, devices } = statistics;
    const { stringIterations } = statistics;
    expect(tiers.interp.instructions + tiers.jit.instructions + stringIterations).toBe(statistics.instructions);
    expect(tiers.jit.instructions).toBeGreaterThan(tiers.interp.instructions);
    expect(tiers.interp.timeNs + tiers.jit.timeNs).toBeCloseTo(time.runNs - time.codeNs, -6);
    expect(code.translations).toBe(log.filter((line) => /^(re)?translate /.test(line)).length);
    expect(code.evictions).toBe(log.filter((line) => line.startsWith('evict ')).length);
    expect(code.liveTranslations).toBe(code.translations - code.evictions);
    expect(code.wasmBytesGenerated).toBeGreaterThan(code.liveWasmBytes);
    expect(tlb.fills).toBeGreaterThan(10_000);
    expect(interrupts[0]?.count).toBeGreaterThan(100);
    expect(devices.map(({ name }) => name)).toContain('isa-serial');
  });

  it('does not change a run that counts instructions', async () => {
    const options = { script: 'uname -r', config: { nsPerInstruction: 4 } };
    const without = await profiled(image, { ...options, profile: false });
    const first = await profiled(image, options);
    expect(first.statistics.instructions).toBe(without.statistics.instructions);
    expect(first.statistics.virtualTimeNs).toBe(without.statistics.virtualTimeNs);
    expect(first.profile?.samples.length).toBeGreaterThan(100);
  });
});

describe.skipIf(i386 === undefined)('a profile of i386 Linux', () => {
  it('names the kernel and the programs', async () => {
    // INVARIANT: the suite is skipped where there is no guest.
    const { profile } = await profiled(i386!, { script: WORK.replace('count=10', 'count=2') });
    const folded = profile?.toFolded() ?? '';
    expect(folded).toMatch(/^kernel;handle_exception;exc_page_fault;do_user_addr_fault;handle_mm_fault;/m);
    expect(folded).toMatch(/^user: \//m);
  });
});
