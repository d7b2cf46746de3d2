/**
 * A machine: accelerator, board, kernel and run loop put together, with the lifecycle that programs drive it by.
 *
 *     create → start ⇄ pause/resume → (guest powers off, resets, fails | stop) → exited
 */
import type { Vcpu, Vm } from '../accel/contract.ts';
import { verifyAccelerator } from '../accel/verify/verify-vm.ts';
import { wasmAccelerator } from '../accel/wasm-vm.ts';
import { InstructionTime, VirtualClock } from '../base/clock.ts';
import { UserError } from '../base/errors.ts';
import { Log } from '../base/log.ts';
import { didYouMean } from '../base/nearest.ts';
import { StreamChardev } from '../chardev/stream-chardev.ts';
import { Cpuid } from '../cpu/x86/cpuid.ts';
import { LogTraceBackend, Tracer } from '../trace/trace.ts';
import type { ImageSource, MachineConfig, MachineExit } from './config.ts';
import { cpuModel } from './cpu-option.ts';
import { driveDevices, type DriveFacts, Drives } from './drives.ts';
import { featuredMsrs } from './featured-msrs.ts';
import type { HostServices } from './host-services.ts';
import { checkRamSize } from './pc-memory.ts';
import { Pc } from './pc.ts';
import { readElfSymbols } from './profile/elf-symbols.ts';
import { GuestSymbols, readSymbolFile } from './profile/guest-symbols.ts';
import type { Profile } from './profile/profile.ts';
import { Profiler } from './profile/profiler.ts';
import { type SymbolFile, SymbolTable } from './profile/symbol-table.ts';
import { RunLoop } from './run-loop.ts';
import { machineStatistics, type MachineStatistics } from './statistics.ts';
import { observeVcpu } from './vcpu-log.ts';

const DEFAULT_MEMORY_BYTES = 512 << 20;
const MAX_SERIAL_PORTS = 4;
/** Memory slots the board may use at once. */
const MEMORY_SLOTS = 64;
/** Room beside RAM for ROMs and device memory. */
const DEVICE_MEMORY_BYTES = 32 << 20;
/** The guest's time stamp counter counts nanoseconds of virtual time. */
const TSC_HZ = 1_000_000_000;
const DEFAULT_RATE_HZ = 1000;
const MAX_RATE_HZ = 20_000;

export interface ProfileOptions {
  /** Samples a second of the time the guest runs, default 1000. */
  readonly rateHz?: number;
  /** Look for the callers of what runs. Default true. */
  readonly stacks?: boolean;
  /** Where names of guest code come from, beside the kernel that the machine loads and a running Linux's own table. */
  readonly symbols?: readonly SymbolFile[];
}

/** A profile under way. */
export interface MachineProfile {
  /** What was seen so far. */
  snapshot(): Profile;
  /** Ends it; gives what was seen. Works after the machine has ended, too. */
  stop(): Profile;
}

function imageBytes(source: ImageSource | undefined): Promise<Uint8Array> | Uint8Array | undefined {
  return typeof source === 'function' ? source() : source;
}

/** The same numbers in every run, for deterministic machines: xorshift32 (Marsaglia, "Xorshift RNGs"). */
function repeatableRandom(): () => number {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
}

/** Refuses a pattern that switches nothing on: a typing mistake would look like a machine that does nothing. */
function checkTracePattern(tracer: Tracer, pattern: string): void {
  if (tracer.matches(pattern)) return;
  const names = tracer.list().map(({ name }) => name);
  const families = [...new Set(names.map((name) => `${name.split('_')[0]}_*`))].sort();
  const hint = didYouMean(pattern, names) || `; there are ${families.join(', ')}`;
  throw new UserError(`-trace ${pattern}: no event of this machine has that name${hint}`);
}

/** A virtual PC. */
export class Machine {
  readonly config: MachineConfig;
  /** Serial ports, COM1 first, as streams of bytes. */
  readonly serial: readonly StreamChardev[];
  /** Resolves when the machine has ended, for whatever reason; never rejects. */
  readonly exited: Promise<MachineExit>;
  /** The board, for those who look inside. */
  readonly board: Pc;
  private readonly vm: Vm;
  private readonly vcpu: Vcpu;
  private readonly clock: VirtualClock;
  private readonly loop: RunLoop;
  private finish: (exit: MachineExit) => void = () => undefined;
  private ended: MachineExit | undefined;
  /** What the guest asked for during the present slice. */
  private request: 'reset' | MachineExit | undefined;

  /**
   * Makes a machine with its kernel loaded, not yet running.
   * @throws {UserError} for a configuration that cannot be, in one sentence.
   */
  static create(config: MachineConfig, host: HostServices): Promise<Machine> {
    return Promise.resolve().then(async () => {
      const machine = new Machine(config, host);
      await machine.powerOn();
      return machine;
    });
  }

  protected constructor(config: MachineConfig, host: HostServices) {
    this.config = config;
    const memoryBytes = config.memoryBytes ?? DEFAULT_MEMORY_BYTES;
    checkRamSize(memoryBytes);
    for (const name of ['kernel', 'initrd'] as const) {
      const image = config[name];
      if (image !== undefined && typeof image !== 'function' && !(image instanceof Uint8Array)) {
        throw new UserError(
          `${name}: the image is wanted as bytes (a Uint8Array) or a function that gives them, not as ${typeof image}`,
        );
      }
    }
    if ((config.smp ?? 1) !== 1) throw new UserError(`-smp ${config.smp}: one vCPU is all there is yet`);
    const serialPorts = config.serialPorts ?? 1;
    if (!(serialPorts >= 0 && serialPorts <= MAX_SERIAL_PORTS))
      throw new UserError(`-serial: there are 0 to ${MAX_SERIAL_PORTS} serial ports, not ${serialPorts}`);

    const log = new Log(config.log?.write);
    for (const category of config.log?.categories ?? []) {
      if (!log.set(category)) throw new UserError(`-d ${category}: there is no such log category (see -d help)`);
    }
    const tracer = new Tracer();
    if (config.log !== undefined) tracer.addBackend(new LogTraceBackend(config.log.write));
    for (const pattern of config.trace ?? []) tracer.enable(pattern);

    const cpuid = new Cpuid(cpuModel(config.cpu ?? 'max'));
    this.time =
      config.nsPerInstruction === undefined
        ? undefined
        : new InstructionTime(() => this.vcpu.instructionCount, config.nsPerInstruction);
    this.clock = new VirtualClock(this.time === undefined ? () => host.monotonicNs() : () => this.time?.now() ?? 0);
    const clock = this.clock;

    if (config.verify === true && config.accel === 'interp')
      throw new UserError('verify: the interpreter is what others are held against; verify is for the accelerator jit');
    const accelerator =
      config.verify === true
        ? verifyAccelerator()
        : wasmAccelerator({ tier: config.accel ?? 'jit', exact: this.time !== undefined });
    this.vm = accelerator.createVm({
      hostMemoryBytes: memoryBytes + DEVICE_MEMORY_BYTES,
      vcpus: 1,
    });
    this.serial = Array.from({ length: serialPorts }, () => new StreamChardev());
    const startMs = config.startTimeMs ?? host.wallClockMs();
    const tsc = { hz: TSC_HZ, read: () => Math.floor(clock.now()) + this.vcpu.tscOffset };
    this.drives = new Drives(config.drives ?? []);
    this.drives.onStop = (message): void => {
      log.write('guest_errors', message);
      // Of several requests that fail together the first is told.
      if (this.stoppedBy !== undefined) return;
      this.stoppedBy = message;
      void this.pause().then(() => {
        if (this.stoppedBy !== undefined) this.ioError?.(message);
      });
    };
    this.board = new Pc({
      clock,
      tracer,
      log,
      memory: this.vm.memory,
      allocate: (bytes) => this.vm.allocate(bytes),
      memoryBytes,
      cpus: [
        {
          setInterruptRequest: (active) => {
            this.vcpu.setInterruptRequest(active);
            if (active) this.loop.wake();
          },
          nmi: () => {
            this.vcpu.raiseNmi();
            this.loop.wake();
          },
          // The boot processor starts over at the firmware, which boots the kernel again.
          init: () => this.demand('reset'),
          startup: () => undefined,
        },
      ],
      tsc,
      wallClockNs: () => startMs * 1e6 + clock.now(),
      serial: this.serial,
      drives: this.drives,
      devices: [...driveDevices(config.drives ?? []), ...(config.devices ?? [])],
      setA20: (enabled) => this.vm.setA20(enabled),
    });
    const bus = this.board.vcpuBus(0);
    this.vcpu = this.vm.createVcpu({
      ...bus,
      ...featuredMsrs(bus, cpuid),
      tsc: () => Math.floor(clock.now()),
      random32: this.time === undefined ? () => host.random32() : repeatableRandom(),
      cpuid: (leaf, subleaf, state) =>
        cpuid.query(leaf, subleaf, {
          apicId: 0,
          vcpus: 1,
          tscKhz: TSC_HZ / 1000,
          apicOff: !bus.apicEnabled(),
          ...state,
        }),
    });
    observeVcpu(this.vcpu, log, tracer);
    for (const pattern of config.trace ?? []) checkTracePattern(tracer, pattern);
    this.board.space.connect(this.vm, MEMORY_SLOTS);
    this.board.space.onDeviceWrite = (address, bytes) => this.vm.memoryWritten(address, bytes);
    this.loop = new RunLoop(this.vcpu, clock, host, this.time, this.drives);
    this.exited = new Promise((resolve) => {
      this.finish = resolve;
    });

    this.board.events.on('poweroff', () => this.demand({ reason: 'poweroff', status: 0 }));
    this.board.events.on('reset', () => this.demand('reset'));
    this.board.events.on('debug-exit', (status) => this.demand({ reason: 'debug-exit', status }));
  }

  private readonly time: InstructionTime | undefined;
  private readonly drives: Drives;
  /** Why the machine stands still, when a drive's error policy stopped it. */
  private stoppedBy: string | undefined;
  private ioError: ((message: string) => void) | undefined;

  /** Called with one sentence when a failed request of a drive with rerror or werror `stop` has paused the machine; `resume` tries again. */
  onIoError(callback: (message: string) => void): void {
    this.ioError = callback;
  }

  /** The sentence that `onIoError` told, until the machine goes on. */
  get ioErrorMessage(): string | undefined {
    return this.stoppedBy;
  }

  /** The drives and who has them. */
  driveFacts(): DriveFacts[] {
    return this.drives.list();
  }

  /** Runs the guest until it ends or is paused. */
  start(): void {
    if (this.ended !== undefined || this.loop.isRunning) return;
    this.clock.start();
    this.stoppedBy = undefined;
    this.drives.release(true);
    void this.drive();
  }

  /** Stops the guest and its time; resolves when it stands still. */
  async pause(): Promise<void> {
    await this.loop.stop();
    this.clock.stop();
  }

  /** Goes on after `pause`. */
  resume(): void {
    this.start();
  }

  /** Presses the reset button. */
  async reset(): Promise<void> {
    const wasRunning = this.loop.isRunning;
    await this.pause();
    if (this.ended !== undefined) return;
    await this.powerOn();
    if (wasRunning) this.start();
  }

  /** Ends the machine, as pulling the plug does. */
  async stop(): Promise<void> {
    await this.pause();
    this.end({ reason: 'stopped', status: 0 });
  }

  /** Tells the guest's operating system that the power button was pressed. */
  pressPowerButton(): void {
    this.board.pressPowerButton();
    this.loop.wake();
  }

  get running(): boolean {
    return this.loop.isRunning;
  }

  /** What the machine did so far, in figures. */
  statistics(): MachineStatistics {
    const { vm, vcpu, loop, board } = this;
    return machineStatistics({ vm, vcpu, loop, board, virtualTimeNs: this.clock.now() });
  }

  /**
   * Begins to take samples of where the guest is, at all times or until `stop`. A guest that is looked at runs a little slower; what it does
   * stays the same where time counts instructions.
   * @throws {UserError} for a rate that cannot be, or a symbol file without symbols.
   */
  profile(options: ProfileOptions = {}): MachineProfile {
    const { rateHz = DEFAULT_RATE_HZ, stacks = true, symbols = [] } = options;
    if (!(rateHz >= 1 && rateHz <= MAX_RATE_HZ)) {
      throw new UserError(`--profile-rate: ${rateHz} is not between 1 and ${MAX_RATE_HZ} samples a second`);
    }
    const tables = symbols.map(readSymbolFile);
    if (this.kernelSymbols !== undefined) tables.push(this.kernelSymbols);
    const names = new GuestSymbols(this.vcpu, tables);
    const profiler = new Profiler(this.vcpu, this.loop, names, { rateHz, stacks });
    const entry = { profiler, names };
    this.profiles.add(entry);
    return {
      snapshot: () => profiler.snapshot(),
      stop: () => {
        this.profiles.delete(entry);
        return profiler.stop();
      },
    };
  }

  /** Symbols of the kernel's file, if it has any. */
  private kernelSymbols: SymbolTable | undefined;
  private readonly profiles = new Set<{ readonly profiler: Profiler; readonly names: GuestSymbols }>();

  /** Resets everything and puts the kernel where it starts. */
  private async powerOn(): Promise<void> {
    const { kernelName, initrdName, commandLine } = this.config;
    const [kernel, initrd] = await Promise.all([imageBytes(this.config.kernel), imageBytes(this.config.initrd)]);
    // Nothing that the guest asked for before may write into what it finds afterwards.
    await this.drives.drain();
    for (const { profiler, names } of this.profiles) {
      profiler.beforeReset();
      names.forget();
    }
    this.board.reset();
    this.vcpu.reset();
    if (kernel === undefined) {
      throw new UserError('-kernel: there is nothing to start; name a kernel image (firmware is not there yet)');
    }
    const elfSymbols = readElfSymbols(kernel);
    this.kernelSymbols = elfSymbols.length > 0 ? new SymbolTable(elfSymbols) : undefined;
    const image = this.board.bootKernel({
      kernel: { name: kernelName ?? 'kernel', bytes: kernel },
      ...(initrd !== undefined && { initrd: { name: initrdName ?? 'initrd', bytes: initrd } }),
      commandLine: commandLine ?? '',
    });
    this.vcpu.setInitialState(image.state);
  }

  private demand(what: 'reset' | MachineExit): void {
    this.request = what;
    this.loop.requestStop();
  }

  /** Runs until paused or ended; resets on the way. */
  private async drive(): Promise<void> {
    try {
      for (;;) {
        const exit = await this.loop.run();
        const request = this.request;
        this.request = undefined;
        if (request !== undefined && request !== 'reset') {
          this.end(request);
          return;
        }
        if (request === 'reset' || exit?.reason === 'shutdown') {
          if (this.config.noReboot === true) {
            const message = request === 'reset' ? 'the guest reset the machine' : 'the guest caused a triple fault';
            this.end({ reason: request === 'reset' ? 'reset' : 'shutdown', status: 0, message });
            return;
          }
          await this.powerOn();
          continue;
        }
        if (exit === undefined) return; // paused
        const message = exit.reason === 'internal-error' ? exit.message : `the vCPU stopped: ${exit.reason}`;
        this.end({ reason: 'error', status: 1, message });
        return;
      }
    } catch (error) {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.end({ reason: 'error', status: 1, message: `Orrery failed at ${this.place()}: ${message}` });
    }
  }

  private place(): string {
    return `rip 0x${this.vcpu.registers.get('rip').toString(16)}, instruction ${this.vcpu.instructionCount}`;
  }

  private end(exit: MachineExit): void {
    if (this.ended !== undefined) return;
    this.ended = exit;
    this.clock.stop();
    for (const port of this.serial) port.end();
    this.vm.close();
    if (this.drives.any) void this.drives.drain().then(() => this.finish(exit));
    else this.finish(exit);
  }
}
