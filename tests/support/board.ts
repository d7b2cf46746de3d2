/** A pc board with a mock clock and no CPU: for tests that play the guest themselves. */
import { MockClock } from '../../src/base/clock.ts';
import { Log } from '../../src/base/log.ts';
import { MemoryChardev } from '../../src/chardev/chardev.ts';
import { Pc, type PcVcpuBus } from '../../src/machine/pc.ts';
import { Tracer } from '../../src/trace/trace.ts';

export interface BoardOptions {
  readonly memoryBytes?: number;
  readonly devices?: readonly { driver: string; properties: Record<string, string> }[];
  readonly cpus?: number;
}

export interface BoardRig {
  readonly pc: Pc;
  readonly bus: PcVcpuBus;
  readonly clock: MockClock;
  readonly serial: MemoryChardev;
  /** Events of the board and of its CPUs, in order. */
  readonly events: string[];
  readonly requests: boolean[];
}

export function makeBoard(options: BoardOptions = {}): BoardRig {
  const memoryBytes = options.memoryBytes ?? 2 << 20;
  const clock = new MockClock();
  const serial = new MemoryChardev();
  const events: string[] = [];
  const requests: boolean[] = [];
  let next = 0;
  const pc = new Pc({
    clock,
    tracer: new Tracer(),
    log: new Log(),
    memory: { buffer: new ArrayBuffer(memoryBytes) },
    allocate: (sizeBytes) => {
      const at = next;
      next += sizeBytes;
      return at;
    },
    memoryBytes,
    cpus: Array.from({ length: options.cpus ?? 1 }, (_, cpu) => ({
      setInterruptRequest: (active: boolean): void => void (requests[cpu] = active),
      nmi: (): void => void events.push(`${cpu}:nmi`),
      init: (): void => void events.push(`${cpu}:init`),
      startup: (vector: number): void => void events.push(`${cpu}:startup ${vector}`),
    })),
    tsc: { read: () => clock.now() * 2, hz: 2e9 },
    wallClockNs: () => Date.UTC(2025, 0, 1) * 1e6 + clock.now(),
    serial: [serial, new MemoryChardev(64)],
    devices: options.devices ?? [],
    setA20: (enabled) => void events.push(`a20 ${enabled}`),
  });
  pc.reset();
  events.length = 0;
  pc.events.on('poweroff', () => void events.push('poweroff'));
  pc.events.on('reset', () => void events.push('reset'));
  pc.events.on('debug-exit', (status) => void events.push(`exit ${status}`));
  return { pc, bus: pc.vcpuBus(0), clock, serial, events, requests };
}
