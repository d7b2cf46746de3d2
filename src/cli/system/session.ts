/**
 * One run of `orrery system`: opens what the request names, makes the machine, connects its ports with the host and waits for
 * its end. Whatever happens, the terminal is given back and output is flushed.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { UserError } from '../../base/errors.ts';
import type { QueuedChardev } from '../../chardev/chardev.ts';
import { MuxChardev } from '../../chardev/mux.ts';
import { StdioChardev } from '../../host/node/chardev/stdio.ts';
import { onEndingSignal } from '../../host/node/terminal.ts';
import type { DriveConfig, MachineConfig } from '../../machine/config.ts';
import { missingFeatures } from '../../machine/cpu-option.ts';
import { openLog } from '../observe/log-option.ts';
import { observe } from '../observe/observe.ts';
import { withGlobals } from './board-options.ts';
import { expandCharText, openChardev } from './chardev-spec.ts';
import type { OpenedChardev } from './chardev-spec.ts';
import { checkDevice } from './listing.ts';
import type { CreateMachine, MachineHandle } from './machine-door.ts';
import { machineMonitor } from './machine-monitor.ts';
import { pumpSerial } from './serial-pump.ts';
import type { SystemRequest } from './request.ts';
import type { MachineStorage } from './storage/machine-storage.ts';

/** How long the guest's last words may take to leave. */
const LAST_OUTPUT_MS = 1000;

async function readImage(option: string, path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new UserError(
      `-${option}: ${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
    );
  }
}

/** Where each serial port goes, by QEMU's rules: the terminal gets the first one unless something else was said. */
export function serialTexts(request: SystemRequest): string[] {
  if (request.serials.length > 0) {
    const last = request.serials.findLastIndex((text) => text !== 'none');
    return request.serials.slice(0, last + 1).map((text) => (text === 'none' ? 'null' : text));
  }
  // With -nodefaults there is only what was asked for, and -nographic asks for the terminal.
  if (request.nographic) return ['mon:stdio'];
  if (request.nodefaults) return [];
  return [request.display === 'none' ? 'null' : 'mon:stdio'];
}

/** The machine's own description: everything of the request that is not the host's business. */
export async function machineConfig(
  request: SystemRequest,
  serialPorts: number,
  log: (line: string) => void,
): Promise<MachineConfig> {
  const devices = withGlobals(request.devices, request.globals);
  for (const { driver, properties } of devices) checkDevice(driver, properties);
  if (request.initrd !== undefined && request.kernel === undefined) {
    throw new UserError('-initrd: an initial file system is for a kernel, and -kernel names none');
  }
  if (request.append !== undefined && request.kernel === undefined) {
    throw new UserError('-append: a command line is for a kernel, and -kernel names none');
  }
  const missing = missingFeatures(request.cpu ?? '').map(
    (name) => `-cpu: this engine does not have the feature ${name}`,
  );
  for (const warning of [...request.warnings, ...missing]) process.stderr.write(`orrery: warning: ${warning}\n`);
  const { kernel, initrd } = request;
  // The machine reads them when it is switched on; a wrong name is told before anything else happens.
  if (kernel !== undefined) await readImage('kernel', kernel);
  if (initrd !== undefined) await readImage('initrd', initrd);
  return {
    accel: request.accel,
    ...(request.verify && { verify: true }),
    smp: request.vcpus,
    serialPorts,
    devices,
    nodefaults: request.nodefaults,
    noReboot: request.noReboot,
    log: { categories: request.logCategories, write: log },
    ...(request.memoryBytes !== undefined && { memoryBytes: request.memoryBytes }),
    ...(request.cpu !== undefined && { cpu: request.cpu }),
    ...(kernel !== undefined && { kernel: () => readImage('kernel', kernel), kernelName: kernel }),
    ...(initrd !== undefined && { initrd: () => readImage('initrd', initrd), initrdName: initrd }),
    ...(request.append !== undefined && { commandLine: request.append }),
    ...(request.nsPerInstruction !== undefined && { nsPerInstruction: request.nsPerInstruction }),
    ...(request.startTimeMs !== undefined && { startTimeMs: request.startTimeMs }),
    ...(request.trace.length > 0 && { trace: request.trace }),
  };
}

/** Opens the disks; undefined where there are none. What opens them is loaded only then. */
async function openStorage(
  { storage }: SystemRequest,
  report: (line: string) => void,
): Promise<MachineStorage | undefined> {
  const { drives, blockdevs, objects } = storage;
  if (drives.length + blockdevs.length + objects.length === 0) return undefined;
  const { MachineStorage: Storage } = await import('./storage/machine-storage.ts');
  return Storage.open(storage, (sentence) => report(`warning: ${sentence}`));
}

/** The process's one terminal: who has it, and whether the monitor shares it. */
class TerminalShare {
  private stdio: StdioChardev | undefined;
  mux: MuxChardev | undefined;
  /** Set once there is something to end or to show. */
  onQuit: () => void = () => {};
  onMonitor: () => void = () => {};

  open(mux: boolean, signal: boolean): QueuedChardev {
    if (this.stdio !== undefined) {
      if (mux && this.mux !== undefined) return this.mux.console;
      throw new UserError('stdio is used twice; mon:stdio shares it between a serial port and the monitor');
    }
    this.stdio = new StdioChardev({
      ...(signal && !mux && { onInterrupt: () => this.onQuit() }),
      onBrokenPipe: () => this.onQuit(),
    });
    if (!mux) return this.stdio;
    this.mux = new MuxChardev(
      this.stdio,
      () => {
        process.stderr.write('\norrery: terminated\n');
        this.onQuit();
      },
      (toMonitor) => {
        if (toMonitor) this.onMonitor();
      },
    );
    return this.mux.console;
  }

  async close(): Promise<void> {
    await this.stdio?.close();
  }
}

/** The chardev that the monitor is on, if any. */
function monitorChardev(request: SystemRequest, terminal: TerminalShare): QueuedChardev | undefined {
  switch (request.monitor) {
    case undefined:
      return terminal.mux?.monitor;
    case 'none':
    case 'null':
      return undefined;
    case 'stdio':
      return terminal.mux?.monitor ?? terminal.open(false, true);
    default:
      throw new UserError(`-monitor: '${request.monitor}' is neither stdio nor none`);
  }
}

function startMonitor(
  chardev: QueuedChardev,
  terminal: TerminalShare,
  machine: MachineHandle,
  run: { started: boolean },
  report: () => string,
): void {
  const monitor = machineMonitor(chardev, machine, run, report, () => terminal.onQuit());
  if (terminal.mux === undefined) monitor.show();
  terminal.onMonitor = () => monitor.show();
}

function atMost(ms: number, promise: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    void promise.finally(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Runs the machine that `request` describes; returns the exit status for the shell. */
export async function runSystem(request: SystemRequest, create: CreateMachine): Promise<number> {
  const log = openLog(request.logFile);
  const terminal = new TerminalShare();
  const opened: OpenedChardev[] = [];
  const report = (line: string): void => void process.stderr.write(`orrery: ${line}\n`);
  try {
    const texts = serialTexts(request);
    // What is wrong with the request is found before the terminal or a socket is touched.
    const config = await machineConfig(request, texts.length, log.write);
    for (const text of texts) {
      const id = text.startsWith('chardev:') ? text.slice('chardev:'.length) : undefined;
      const list = id === undefined ? expandCharText('serial', text) : request.chardevs.get(id);
      if (list === undefined) throw new UserError(`-serial ${text}: there is no -chardev with id=${id ?? ''}`);
      try {
        opened.push(openChardev(list, (mux, signal) => terminal.open(mux, signal), report));
      } catch (error) {
        throw error instanceof UserError ? new UserError(`-serial ${text}: ${error.message}`) : error;
      }
    }
    const monitor = monitorChardev(request, terminal);
    if (request.paused && monitor === undefined) throw new UserError('-S: there is no monitor to say cont to');
    await Promise.all(opened.map(({ ready }) => ready));

    const storage = await openStorage(request, report);
    try {
      const drives: readonly DriveConfig[] = storage?.drives ?? [];
      const machine = await create({ ...config, ...(drives.length > 0 && { drives }) });
      return await runMachine(request, machine, { terminal, opened, monitor });
    } finally {
      await storage?.close();
    }
  } finally {
    await Promise.all(opened.map((chardev) => chardev.close()));
    await terminal.close();
    log.close();
  }
}

async function runMachine(
  request: SystemRequest,
  machine: MachineHandle,
  host: { terminal: TerminalShare; opened: readonly OpenedChardev[]; monitor: QueuedChardev | undefined },
): Promise<number> {
  let forcedStatus: number | undefined;
  const quit = (status: number): void => {
    forcedStatus ??= status;
    void machine.stop();
  };
  host.terminal.onQuit = () => quit(0);
  const signals = onEndingSignal((status, signal) => {
    process.stderr.write(`orrery: terminated by ${signal}\n`);
    quit(status);
  });
  if (request.pidFile !== undefined) writeFileSync(request.pidFile, `${process.pid}\n`);
  try {
    const run = { started: !request.paused };
    const observation = observe(request.observe, machine, request.kernel ?? 'guest');
    if (host.monitor !== undefined) {
      startMonitor(host.monitor, host.terminal, machine, run, () => observation.report());
    }
    const pumps = host.opened.map(({ chardev }, index) => {
      const port = machine.serial[index];
      return port === undefined ? Promise.resolve() : pumpSerial(port, chardev);
    });
    machine.onIoError((message) => process.stderr.write(`\norrery: ${message}\n`));
    if (run.started) await machine.start();
    const exit = await machine.exited;
    // What the guest said last is still on its way; a socket that nobody reads may keep it.
    await atMost(LAST_OUTPUT_MS, Promise.all(pumps));
    observation.finish();
    if (exit.message !== undefined) process.stderr.write(`orrery: ${exit.message}\n`);
    return forcedStatus ?? exit.status;
  } finally {
    signals.dispose();
    if (request.pidFile !== undefined) rmSync(request.pidFile, { force: true });
  }
}
