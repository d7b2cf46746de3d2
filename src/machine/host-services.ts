/** What a running machine needs of the platform it runs on: time, sleep, and turns for other work. Implemented in src/host. */
export interface HostServices {
  /** Monotonic time, nanoseconds. */
  monotonicNs(): number;
  /** Wall clock, milliseconds since 1970. */
  wallClockMs(): number;
  /** 32 random bits fit for keys: what the guest's RDRAND gives. */
  random32(): number;
  /** Lets timers, sockets and streams of the host have a turn. */
  yield(): Promise<void>;
  /** Resolves after `ms`, or as soon as the promise `wake` does. */
  sleep(ms: number, wake: Promise<void>): Promise<void>;
  /**
   * Blocks the thread for `ms`, a millisecond or so: what is left of a wait when timers of the event loop cannot count it. Absent
   * where a thread must not block.
   */
  block?(ms: number): void;
}
