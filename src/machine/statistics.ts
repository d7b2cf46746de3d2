/** What a machine did, in figures: the library's `statistics()`. Counters are kept at all times; keeping them costs nothing measurable. */
import type { Vcpu, Vm } from '../accel/contract.ts';
import type { CodeStatistics } from '../cpu/code-events.ts';
import type { AccessCount } from '../memory/port-space.ts';
import type { Pc } from './pc.ts';
import type { RunLoop } from './run-loop.ts';

export type { AccessCount, CodeStatistics };

/** What one way of executing guest code did. */
export interface TierStatistics {
  /** Exact. */
  readonly instructions: number;
  /** Host time, estimated: the run's time shared out by what instructions of each tier were seen to cost. */
  readonly timeNs: number;
}

/** Figures about a run, since the machine was made. */
export interface MachineStatistics {
  /** Instructions executed; exact. */
  readonly instructions: number;
  /** Exits and engine events by name. */
  readonly exits: Readonly<Record<string, number>>;
  readonly virtualTimeNs: number;
  /** Of the instructions, iterations of repeated string instructions (`rep movsb`): microcode does them for either tier. */
  readonly stringIterations: number;
  /** `interp` is the interpreter, `jit` translated code. With `stringIterations` they make up all instructions. */
  readonly tiers: { readonly interp: TierStatistics; readonly jit: TierStatistics };
  readonly time: {
    /** Host time in which the guest ran, with devices, decoding and translation. */
    readonly runNs: number;
    /** Of that, making code: decoding, generating, compiling. */
    readonly codeNs: number;
    /** Host time in which the guest was halted and waited for an interrupt. */
    readonly idleNs: number;
  };
  readonly code: CodeStatistics;
  readonly tlb: { readonly fills: number; readonly flushes: number };
  /** External interrupts delivered, the most frequent vector first. */
  readonly interrupts: readonly { readonly vector: number; readonly count: number }[];
  /** Accesses to device registers, the most frequent device first. */
  readonly devices: readonly (AccessCount & { readonly kind: 'port' | 'mmio' })[];
}

export function machineStatistics(parts: {
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  readonly loop: RunLoop;
  readonly board: Pc;
  readonly virtualTimeNs: number;
}): MachineStatistics {
  const { vm, vcpu, loop, board, virtualTimeNs } = parts;
  const exits = vcpu.exitCounts();
  const { interpNs, jitNs } = loop.tierTimes.estimate();
  const interpreted = vcpu.interpretedCount;
  const devices = [
    ...board.ports.accessCounts().map((count) => ({ kind: 'port' as const, ...count })),
    ...board.space.accessCounts().map((count) => ({ kind: 'mmio' as const, ...count })),
  ];
  return {
    instructions: vcpu.instructionCount,
    exits,
    virtualTimeNs,
    stringIterations: vcpu.stringIterations,
    tiers: {
      interp: { instructions: interpreted, timeNs: interpNs },
      jit: { instructions: vcpu.instructionCount - interpreted - vcpu.stringIterations, timeNs: jitNs },
    },
    time: { runNs: loop.runNs, codeNs: vcpu.codeNs, idleNs: loop.idleNs },
    code: vm.codeStatistics(),
    tlb: { fills: exits['tlb-fill'] ?? 0, flushes: exits['tlb-flush'] ?? 0 },
    interrupts: [...vcpu.interruptCounts()]
      .map(([vector, count]) => ({ vector, count }))
      .sort((a, b) => b.count - a.count),
    devices: devices.sort((a, b) => b.reads + b.writes - a.reads - a.writes),
  };
}
