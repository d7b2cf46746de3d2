/**
 * The rooms of the source tree and their order: a room imports rooms with a lower number, and its own files; rooms of the same
 * number do not import each other. ARCHITECTURE.md tells what each holds.
 */
export const ROOMS: Readonly<Record<string, number>> = {
  base: 0,
  trace: 1,
  state: 1,
  wasm: 1,
  memory: 2,
  cpu: 3,
  block: 3,
  net: 3,
  chardev: 3,
  display: 3,
  devices: 4,
  accel: 5,
  machine: 6, // boards are built around an accelerator
  monitor: 7,
  migration: 7,
  'user-mode': 7,
  host: 8,
  cli: 10,
};

/** Files directly in src/: the public doors stand above every room but the command line. */
export const DOOR_LEVEL = 9;

/** Rooms that may name Node's modules or the DOM. */
export const HOST_ROOMS: readonly string[] = ['host', 'cli'];
