/** The platform of a machine that runs in a page or a worker: clocks, sleep and turns of the event loop. */
import type { HostServices } from '../../machine/host-services.ts';

/** A message to oneself comes back after whatever else waits for a turn, without the 4 ms that nested timers cost. */
class TurnTaker {
  private readonly channel = new MessageChannel();
  private readonly waiting: (() => void)[] = [];

  constructor() {
    this.channel.port1.onmessage = (): void => this.waiting.shift()?.();
  }

  next(): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      this.channel.port2.postMessage(null);
    });
  }
}

const turns = new TurnTaker();

export const browserHostServices: HostServices = {
  monotonicNs: () => performance.now() * 1e6,
  wallClockMs: () => Date.now(),
  random32: () => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0,
  yield: () => turns.next(),
  sleep(ms, wake) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      void wake.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  },
};
