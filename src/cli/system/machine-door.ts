/**
 * The library as the command line uses it. Types only of what is needed, so that sessions are tested with a machine made of
 * nothing.
 */
import type { MachineConfig, MachineExit } from '../../machine/config.ts';
import type { DriveFacts } from '../../machine/drives.ts';
import type { MachineProfile, ProfileOptions } from '../../machine/machine.ts';
import type { MachineStatistics } from '../../machine/statistics.ts';

export interface MachineSerialPort {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

export interface MachineHandle {
  readonly serial: readonly MachineSerialPort[];
  readonly exited: Promise<MachineExit>;
  start(): void | Promise<void>;
  pause(): void | Promise<void>;
  resume(): void | Promise<void>;
  reset(): void | Promise<void>;
  pressPowerButton(): void;
  stop(): void | Promise<void>;
  /** `Machine.onIoError`. */
  onIoError(callback: (message: string) => void): void;
  /** What paused the machine, if a failed request of a drive did. */
  readonly ioErrorMessage: string | undefined;
  driveFacts(): readonly DriveFacts[];
  statistics(): MachineStatistics;
  profile(options: ProfileOptions): MachineProfile;
}

export type CreateMachine = (config: MachineConfig) => Promise<MachineHandle>;

/** The real thing; loaded only when a machine is really wanted, so that listings and mistakes answer at once. */
export const createMachine: CreateMachine = async (config) => {
  const { Machine } = await import('../../node.ts');
  return Machine.create(config);
};
