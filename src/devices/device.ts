/**
 * What all device models have in common. A device is handed the ports it needs and never the machine; it has a kind,
 * resets, saves and loads itself, and describes its properties in a schema that `-device NAME,help`, the monitor and
 * the manual are made from.
 */
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Saveable } from '../state/state.ts';
import type { Tracer } from '../trace/trace.ts';

/** What every device is given. */
export interface DeviceContext {
  /** The guest's time. */
  readonly clock: Clock;
  readonly tracer: Tracer;
  readonly log: Log;
}

export interface Device extends Saveable {
  /** The kind of its saved state and its name in the device list: "i8254". */
  readonly kind: string;
  reset(): void;
}
