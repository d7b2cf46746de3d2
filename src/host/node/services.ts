/** The platform of a machine that runs in this process on Node: clocks, sleep and turns of the event loop. */
import { performance } from 'node:perf_hooks'; // the global of this name is a getter
import type { HostServices } from '../../machine/host-services.ts';

/** Nobody ever notifies this: a wait for it lasts as long as it is told to. */
const nothing = new Int32Array(new SharedArrayBuffer(4));

export const nodeHostServices: HostServices = {
  monotonicNs: () => performance.now() * 1e6,
  wallClockMs: () => Date.now(),
  random32: () => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0,
  yield: () => new Promise((resolve) => setImmediate(resolve)),
  sleep(ms, wake) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      void wake.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  },
  block(ms) {
    Atomics.wait(nothing, 0, 0, ms);
  },
};
