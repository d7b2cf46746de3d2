import { describe, expect, it } from 'vitest';
import type { Vcpu } from '../accel/contract.ts';
import { VirtualClock } from '../base/clock.ts';
import type { HostServices } from './host-services.ts';
import { RunLoop } from './run-loop.ts';

/** A halted vCPU and a timer due after `dueNs`, on a host whose time passes only while somebody waits. */
function waitFor(
  dueNs: number,
  options: { readonly inputInTurn?: boolean; readonly canBlock: boolean; readonly pending?: number },
): Promise<string[]> {
  let nowNs = 0;
  const waits: string[] = [];
  const wait = (what: string, ns: number): void => {
    waits.push(`${what} ${ns / 1e6}`);
    nowNs += ns;
  };
  const host: HostServices = {
    monotonicNs: () => nowNs,
    wallClockMs: () => 0,
    random32: () => 0,
    yield: () => {
      wait('turn', 100_000);
      if (options.inputInTurn === true && waits.length === 1) loop.wake();
      return Promise.resolve();
    },
    sleep: (ms) => {
      wait('sleep', ms * 1e6);
      return Promise.resolve();
    },
    ...(options.canBlock && { block: (ms: number) => wait('block', ms * 1e6) }),
  };
  // INVARIANT: these are all that the loop uses of a vCPU that is always halted.
  const vcpu = {
    instructionCount: 0,
    interpretedCount: 0,
    codeNs: 0,
    run: () => ({ reason: 'halted' }),
    requestAttention: () => undefined,
  } as unknown as Vcpu;
  const clock = new VirtualClock(() => nowNs);
  clock.start();
  const loop = new RunLoop(vcpu, clock, host, undefined, { pending: options.pending ?? 0 });
  clock.createTimer(() => loop.requestStop()).arm(dueNs);
  return loop.run().then(() => waits);
}

describe('a halted guest', () => {
  it('sleeps while timers of the event loop can count the wait, then blocks after a turn for others', async () => {
    expect(await waitFor(4_000_000, { canBlock: true })).toEqual(['sleep 3', 'turn 0.1', 'block 0.9']);
  });

  it('does not block when something came in the turn', async () => {
    const waits = await waitFor(500_000, { canBlock: true, inputInTurn: true });
    expect(waits).toEqual(['turn 0.1', 'turn 0.1', 'block 0.3']);
  });

  it('gives requests that are under way some turns before it sleeps', async () => {
    const waits = await waitFor(4_000_000, { canBlock: true, pending: 1 });
    expect(waits.slice(0, 3)).toEqual(['turn 0.1', 'turn 0.1', 'sleep 2.8']);
  });

  it('waits by turns where a thread must not block', async () => {
    expect(await waitFor(300_000, { canBlock: false })).toEqual(['turn 0.1', 'turn 0.1', 'turn 0.1']);
  });
});
