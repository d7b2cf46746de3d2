/**
 * One run of `orrery run`: the guest's console on this terminal, or, for a script, its output on standard output, its input from
 * standard input and its exit status as ours.
 */
import { MuxChardev } from '../../chardev/mux.ts';
import { FunctionChardev } from '../../chardev/chardev.ts';
import type { QueuedChardev } from '../../chardev/chardev.ts';
import { StdioChardev } from '../../host/node/chardev/stdio.ts';
import { onEndingSignal } from '../../host/node/terminal.ts';
import type { MachineConfig } from '../../machine/config.ts';
import { observe, type Observation, type ObserveRequest } from '../observe/observe.ts';
import type { CreateMachine, MachineHandle } from '../system/machine-door.ts';
import { machineMonitor } from '../system/machine-monitor.ts';
import { pumpSerial } from '../system/serial-pump.ts';
import { ScriptOutput, watchForShell } from './script-output.ts';

/** What a shell ends with when what it ran cannot be told. */
const STATUS_UNKNOWN = 1;
const END_OF_FILE = 0x04; // Ctrl-D, the terminal's end of input
const LINE_FEED = 0x0a;

export interface GuestSessionOptions {
  /** The guest runs a script between /init's marks. */
  readonly scripted: boolean;
  /** Pass on what the kernel says before the script. */
  readonly verbose: boolean;
  readonly observe: ObserveRequest;
}

const toText = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
const toBytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

/** Standard input for a guest that is not ready from the start: kept until it is, and ended with the terminal's end of file. */
class PipedInput {
  private readonly console: QueuedChardev;
  private readonly waiting: Uint8Array[] = [];
  private open = false;
  private lastByte = LINE_FEED;

  constructor(console: QueuedChardev) {
    this.console = console;
    process.stdin.on('data', (bytes: Uint8Array) => this.take(bytes));
    // In the middle of a line the first Ctrl-D only hands over the line.
    const end = (): void => this.take(this.lastByte === LINE_FEED ? [END_OF_FILE] : [END_OF_FILE, END_OF_FILE]);
    process.stdin.once('end', end);
    process.stdin.on('error', () => {});
  }

  start(): void {
    this.open = true;
    for (const bytes of this.waiting.splice(0)) this.console.push(bytes);
  }

  private take(bytes: Uint8Array | readonly number[]): void {
    const copy = Uint8Array.from(bytes);
    this.lastByte = copy.at(-1) ?? this.lastByte;
    if (this.open) this.console.push(copy);
    else this.waiting.push(copy);
  }
}

/** Runs the guest to its end; returns the exit status for the shell. */
export async function runGuest(
  config: MachineConfig,
  options: GuestSessionOptions,
  create: CreateMachine,
): Promise<number> {
  const machine = await create(config);
  const observation = observe(options.observe, machine, 'orrery run');
  let forcedStatus: number | undefined;
  const quit = (status: number): void => {
    forcedStatus ??= status;
    void machine.stop();
  };
  machine.onIoError((message) => process.stderr.write(`\norrery: ${message} (Ctrl-A c, cont)\n`));
  const signals = onEndingSignal((status) => quit(status));
  try {
    const forced = (): number | undefined => forcedStatus;
    const shell = process.stdin.isTTY && !options.scripted;
    const status = shell
      ? await runShell(machine, observation, quit, forced)
      : await runPiped(machine, options, quit, forced);
    observation.finish();
    return status;
  } finally {
    signals.dispose();
    process.stdin.pause();
  }
}

async function runShell(
  machine: MachineHandle,
  observation: Observation,
  quit: (status: number) => void,
  forced: () => number | undefined,
): Promise<number> {
  const stdio = new StdioChardev({ onBrokenPipe: () => quit(0) });
  try {
    const mux = new MuxChardev(
      stdio,
      () => quit(0),
      (toMonitor) => {
        if (toMonitor) monitor.show();
      },
    );
    const monitor = machineMonitor(
      mux.monitor,
      machine,
      { started: true },
      () => observation.report(),
      () => quit(0),
    );
    const port = machine.serial[0];
    const pump = port === undefined ? Promise.resolve() : pumpSerial(port, mux.console);
    await machine.start();
    const exit = await machine.exited;
    await pump;
    if (exit.message !== undefined) process.stderr.write(`orrery: ${exit.message}\n`);
    return forced() ?? exit.status;
  } finally {
    await stdio.close();
  }
}

async function runPiped(
  machine: MachineHandle,
  { scripted, verbose }: GuestSessionOptions,
  quit: (status: number) => void,
  forced: () => number | undefined,
): Promise<number> {
  const write = (text: string): void => void process.stdout.write(toBytes(text));
  process.stdout.on('error', () => quit(0));
  const script = new ScriptOutput(write, () => input.start());
  const shell = watchForShell(() => input.start());
  const console = new FunctionChardev((bytes) => {
    const text = toText(bytes);
    if (scripted && !verbose) script.push(text);
    else {
      write(text);
      if (scripted) script.push(text);
      else shell(text);
    }
  });
  const input = new PipedInput(console);
  const port = machine.serial[0];
  const pump = port === undefined ? Promise.resolve() : pumpSerial(port, console);
  await machine.start();
  const exit = await machine.exited;
  await pump;
  script.end();
  const status = forced() ?? (scripted ? script.status : undefined);
  if (status !== undefined) return status;
  if (scripted && !verbose) process.stderr.write(toBytes(script.before));
  if (exit.message !== undefined) process.stderr.write(`orrery: ${exit.message}\n`);
  return scripted ? exit.status || STATUS_UNKNOWN : exit.status;
}
