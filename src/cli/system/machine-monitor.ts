/** The human monitor of one machine: what its commands do to the machine, and whether that is paused. */
import type { QueuedChardev } from '../../chardev/chardev.ts';
import type { DriveFacts } from '../../machine/drives.ts';
import type { MachineHandle } from './machine-door.ts';
import { MonitorConsole } from './monitor-console.ts';

/** Whether the machine was ever started; the monitor starts one that waits for that. */
export interface MachineRun {
  started: boolean;
}

/** A monitor on `chardev`; nothing is printed until `show`. */
export function machineMonitor(
  chardev: QueuedChardev,
  machine: MachineHandle,
  run: MachineRun,
  report: () => string,
  quit: () => void,
): MonitorConsole {
  let paused = !run.started;
  return new MonitorConsole(chardev, {
    status() {
      if (machine.ioErrorMessage !== undefined) return 'paused (io-error)';
      return paused ? 'paused' : 'running';
    },
    blocks: () => machine.driveFacts().map(driveLine).join('') || 'there are no drives\n',
    report,
    async pause() {
      await machine.pause();
      paused = true;
    },
    async resume() {
      if (run.started) await machine.resume();
      else await machine.start();
      run.started = true;
      paused = false;
    },
    async reset() {
      await machine.reset();
    },
    powerDown: () => machine.pressPowerButton(),
    quit,
  });
}

function driveLine({ id, device, filename, format, readOnly }: DriveFacts): string {
  const medium = filename === undefined ? '[not inserted]' : `${filename} (${format}${readOnly ? ', read-only' : ''})`;
  return `${id}: ${medium}\n    Attached to:      ${device ?? 'nothing'}\n`;
}
