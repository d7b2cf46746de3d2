import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Profile } from '../../machine/profile/profile.ts';
import type { MachineStatistics } from '../../machine/statistics.ts';
import type { MachineHandle } from '../system/machine-door.ts';
import { addProfileFile, nothingObserved, observe, type ObserveRequest, parseRate } from './observe.ts';
import { codeReport, statisticsReport } from './report.ts';

const folder = mkdtempSync(join(tmpdir(), 'orrery-observe-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const STATISTICS: MachineStatistics = {
  instructions: 1_000_000,
  exits: { budget: 12, hlt: 0, translate: 34 },
  virtualTimeNs: 2e9,
  stringIterations: 0,
  tiers: { interp: { instructions: 250_000, timeNs: 5e6 }, jit: { instructions: 750_000, timeNs: 1e6 } },
  time: { runNs: 7e6, codeNs: 1e6, idleNs: 5e5 },
  code: {
    blocksDecoded: 100,
    insnsDecoded: 900,
    liveBlocks: 90,
    recordBytes: 32_000,
    handlers: 20,
    translations: 8,
    retranslations: 1,
    insnsTranslated: 300,
    guestBytesTranslated: 1200,
    wasmBytesGenerated: 30_000,
    modulesCompiled: 2,
    liveTranslations: 7,
    liveWasmBytes: 28_000,
    evictions: 1,
    invalidations: 3,
    flushes: 1,
    decodeMs: 0.5,
    discoverMs: 0.1,
    generateMs: 0.3,
    compileMs: 0.1,
  },
  tlb: { fills: 5000, flushes: 60 },
  interrupts: [{ vector: 0xec, count: 40 }],
  devices: [{ kind: 'port', name: 'isa-serial', reads: 3, writes: 70 }],
};
const kernel = { name: 'kernel', kind: 'root', address: 0n } as const;
const PROFILE = new Profile({
  rateHz: 1000,
  samples: [{ stack: [kernel, { name: 'clear_page', kind: 'kernel', address: 0n }], weightNs: 4e6 }],
});

function machine(seen: unknown[] = []): MachineHandle {
  const parts = {
    statistics: () => STATISTICS,
    profile(options: unknown) {
      seen.push(options);
      return { snapshot: () => PROFILE, stop: () => PROFILE };
    },
  };
  // INVARIANT: an observation uses no more of a machine.
  return parts as unknown as MachineHandle;
}

const request = (changes: Partial<ObserveRequest>): ObserveRequest => ({ ...nothingObserved(), ...changes });

describe('the report', () => {
  it('tells instructions, time and code by tier, and what the guest used', () => {
    const report = statisticsReport(STATISTICS, PROFILE.hottest());
    expect(report).toMatch(/interp +250,000 +25\.0 % +5\.0 ms +50 MIPS/);
    expect(report).toMatch(/jit +750,000 +75\.0 % +1\.0 ms +750 MIPS/);
    expect(report).toContain('8 translations (1 again) in 2 modules');
    expect(report).toContain('exits        translate 34, budget 12\n');
    expect(report).toContain('vector 0xec 40');
    expect(report).toMatch(/port +isa-serial +3 reads, 70 writes/);
    expect(report).toMatch(/100\.0 % +4\.0 ms {2}clear_page {2}\[kernel\]/);
    expect(codeReport(STATISTICS)).not.toContain('isa-serial');
  });
});

describe('the options that look at a guest', () => {
  it('take samples only when somebody wants them', () => {
    const seen: unknown[] = [];
    expect(observe(request({}), machine(seen), 'guest').report()).toContain('TLB');
    expect(seen).toEqual([]);
    const quiet = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    observe(request({ stats: true }), machine(seen), 'guest').finish();
    quiet.mockRestore();
    observe(request({ profiles: [join(folder, 'a.svg')], rateHz: 99 }), machine(seen), 'guest');
    expect(seen).toEqual([
      { stacks: false, symbols: [] },
      { stacks: true, symbols: [], rateHz: 99 },
    ]);
  });

  it('write each profile in the format of its name, and report at the end and at the signal', () => {
    const names = ['p.svg', 'p.speedscope.json', 'p.folded'];
    const written: string[] = [];
    const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0);
    const options = { stats: true, profiles: names.map((name) => join(folder, name)) };
    const observation = observe(request(options), machine(), 'guest');
    process.emit('SIGUSR1', 'SIGUSR1');
    observation.finish();
    process.emit('SIGUSR1', 'SIGUSR1');
    write.mockRestore();
    expect(written.filter((text) => text.includes('clear_page'))).toHaveLength(2);
    const [svg = '', speedscope = '', folded = ''] = names.map((name) => readFileSync(join(folder, name), 'utf8'));
    expect(svg).toContain('<title>clear_page (kernel)');
    expect(JSON.parse(speedscope)).toMatchObject({ exporter: 'orrery' });
    expect(folded).toBe('kernel;clear_page 4000\n');
  });

  it('refuse what cannot be, in one sentence', () => {
    expect(() => addProfileFile(request({}), '--profile', 'p.png')).toThrow(
      '--profile p.png: the name ends in none of .svg',
    );
    expect(() => parseRate('--profile-rate', 'fast')).toThrow(
      "--profile-rate: 'fast' is not a number of samples a second",
    );
    const lost = request({ profiles: ['/nowhere/p.svg'] });
    expect(() => observe(lost, machine(), 'guest')).toThrow('--profile: /nowhere/p.svg cannot be written: ENOENT');
    const unread = request({ stats: true, symbols: ['/nowhere/map'] });
    expect(() => observe(unread, machine(), 'guest')).toThrow('--symbols: /nowhere/map cannot be read: ENOENT');
  });
});
