/**
 * The board `pc`: an Intel 440FX machine with PIIX3 and PIIX4 function, as QEMU's machine of that name has them. Wiring
 * only: every part is a device of its own. The CPU is not part of it; it connects through `vcpuBus` and `PcCpu`.
 *
 *     const pc = new Pc({ memory: vm.memory, allocate: (n) => vm.allocate(n), memoryBytes, clock, ... });
 *     pc.space.connect(vm, MAX_SLOTS);
 *     pc.space.onDeviceWrite = (address, size) => vm.memoryWritten(address, size);
 *     const state = pc.bootKernel({ kernel, commandLine: "console=ttyS0" });
 */
import { Emitter } from '../base/events.ts';
import { UserError } from '../base/errors.ts';
import type { CharBackend } from '../chardev/chardev.ts';
import { createDevice } from '../devices/catalogue.ts';
import type { Device, DeviceContext } from '../devices/device.ts';
import type { DeviceSockets } from '../devices/device-kind.ts';
import { DmaControllers } from '../devices/dma/i8237.ts';
import { FwCfg } from '../devices/firmware/fw-cfg.ts';
import { I8042 } from '../devices/input/i8042.ts';
import { Port92 } from '../devices/input/port92.ts';
import { Ps2Keyboard } from '../devices/input/ps2-keyboard.ts';
import type { GuestTsc } from '../devices/irq/apic-timer.ts';
import { IOAPIC_DEFAULT_BASE, IOAPIC_SIZE } from '../devices/irq/ioapic.ts';
import { MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_FIRST, MSR_X2APIC_LAST } from '../devices/irq/lapic-registers.ts';
import { PciConfigMechanism } from '../devices/pci/config-mechanism.ts';
import { I440fx } from '../devices/pci/i440fx.ts';
import { PciBus } from '../devices/pci/pci-bus.ts';
import { Piix3 } from '../devices/pci/piix3.ts';
import { SLEEP_TYPE_S5 } from '../devices/power/acpi-pm.ts';
import { Piix4Pm } from '../devices/power/piix4-pm.ts';
import { attachIsaSerial, COM_PORTS } from '../devices/serial/isa-serial.ts';
import type { ScsiBus } from '../devices/storage/scsi/scsi-bus.ts';
import { Uart16550 } from '../devices/serial/uart16550.ts';
import { I8254 } from '../devices/timer/i8254.ts';
import { Mc146818 } from '../devices/timer/mc146818.ts';
import { Port61 } from '../devices/timer/port61.ts';
import { AddressSpace, type HostMemory } from '../memory/address-space.ts';
import { PortSpace } from '../memory/port-space.ts';
import { MemoryRegion } from '../memory/region.ts';
import type { BootImage } from './boot/boot-image.ts';
import type { Drives } from './drives.ts';
import { hypercall } from './hypercalls.ts';
import { type KernelBoot, offerFirmwareTables, startAsFirmware, writeCmosMemory } from './pc-firmware.ts';
import { type PcCpu, PcInterrupts } from './pc-interrupts.ts';
import { checkRamSize, mapBios, mapRam, VIRTIO_MMIO_PLACES } from './pc-memory.ts';
import { ParavirtClock } from './paravirt-clock.ts';

export interface PcOptions extends DeviceContext {
  /** The memory that guest RAM lies in, and how to get some of it. */
  readonly memory: HostMemory;
  readonly allocate: (sizeBytes: number) => number;
  readonly memoryBytes: number;
  /** One entry a vCPU; the first is the boot processor. */
  readonly cpus: readonly PcCpu[];
  readonly tsc: GuestTsc;
  /** Nanoseconds since 1970. */
  readonly wallClockNs: () => number;
  /** Backends of COM1 to COM4; undefined where there is no port. */
  readonly serial?: readonly (CharBackend | undefined)[];
  /** Backends by ID, for devices that ask for one. */
  readonly chardevs?: Readonly<Record<string, CharBackend>>;
  readonly drives?: Drives;
  readonly devices?: readonly { readonly driver: string; readonly properties: Readonly<Record<string, string>> }[];
  /** A BIOS image, a multiple of 64 KiB long; not needed to start a kernel directly. */
  readonly bios?: Uint8Array;
  /** The A20 gate. */
  readonly setA20?: (enabled: boolean) => void;
}

/** What a machine reports to whoever runs it. */
export interface PcEvents {
  poweroff: undefined;
  reset: undefined;
  /** Exit status for the command. */
  'debug-exit': number;
}

/** One vCPU's way to the board, with the shape that accelerators call. */
export interface PcVcpuBus {
  ioIn(port: number, bytes: number): number;
  ioOut(port: number, bytes: number, value: number): void;
  mmioRead(guestPhysical: number, bytes: number): number;
  mmioWrite(guestPhysical: number, bytes: number, value: number): void;
  readMsr(msr: number): { low: number; high: number } | undefined;
  writeMsr(msr: number, low: number, high: number): boolean;
  acknowledgeInterrupt(): number;
  hypercall(number: number, args: Uint32Array, long: boolean): number;
  readTpr(): number;
  writeTpr(value: number): void;
  /** Whether IA32_APIC_BASE has the local APIC on: CPUID shows it. */
  apicEnabled(): boolean;
}

const LAPIC_SIZE = 0x1000;
/** Interrupt controllers win over everything that the guest may map on top of them. */
const APIC_PRIORITY = 10;
const PIIX_SLOT = 1;
const PM_FUNCTION = 3;

export class Pc {
  readonly events: Emitter<PcEvents> = new Emitter();
  readonly space: AddressSpace;
  readonly ports: PortSpace;
  readonly interrupts: PcInterrupts;
  readonly pci: PciBus;
  readonly hostBridge: I440fx;
  readonly isaBridge: Piix3;
  readonly pm: Piix4Pm;
  readonly pit: I8254;
  readonly rtc: Mc146818;
  readonly keyboard: Ps2Keyboard;
  readonly uarts: readonly Uart16550[];
  readonly fwCfg: FwCfg;
  readonly paravirtClock: ParavirtClock;
  /** All devices, in the order in which they are reset and saved. */
  readonly devices: readonly Device[];
  readonly memoryBytes: number;

  /** How many of VIRTIO_MMIO_PLACES are taken. */
  virtioMmioCount: number = 0;

  private readonly scsiBuses: ScsiBus[] = [];
  private readonly options: PcOptions;
  /** The vCPU whose access is under way: each sees its own local APIC at the same address. */
  private activeCpu: number = 0;
  private lapicPlacement: { dispose(): void } | undefined;
  private readonly lapicRegion: MemoryRegion;

  constructor(options: PcOptions) {
    checkRamSize(options.memoryBytes);
    const { clock, tracer, log } = options;
    const context: DeviceContext = { clock, tracer, log };
    this.options = options;
    this.memoryBytes = options.memoryBytes;
    this.space = new AddressSpace({ memory: options.memory, tracer, log });
    this.ports = new PortSpace({ tracer, log });
    const ram = mapRam(this.space, options.memoryBytes, options.allocate(options.memoryBytes));

    this.lapicRegion = MemoryRegion.mmio('lapic', LAPIC_SIZE, {
      read: (offset, size) => this.interrupts.lapics[this.activeCpu]?.read(offset, size) ?? 0,
      write: (offset, size, value) => this.interrupts.lapics[this.activeCpu]?.write(offset, size, value),
    });
    this.interrupts = new PcInterrupts({
      ...context,
      cpus: options.cpus,
      tsc: options.tsc,
      onApicMoved: () => this.placeLapic(),
    });
    this.space.root.add(
      MemoryRegion.mmio('ioapic', IOAPIC_SIZE, this.interrupts.ioapic),
      IOAPIC_DEFAULT_BASE,
      APIC_PRIORITY,
    );
    this.placeLapic();

    this.pci = new PciBus({
      ports: this.ports,
      memory: this.space.root,
      onPirq: (pirq, level) => this.isaBridge.setPirq(pirq, level),
      sendMsi: (low, _high, data) => void this.interrupts.apicBus.deliverMsi(low, data),
    });
    const configMechanism = new PciConfigMechanism(tracer, this.pci);
    configMechanism.attach(this.ports);
    this.hostBridge = new I440fx(this.space, ram);
    this.pci.add(this.hostBridge.pci, 0);
    const pciIrqs = Array.from({ length: 16 }, (_, irq) => this.interrupts.connect(irq));
    this.isaBridge = new Piix3({ onIrq: (irq, level) => pciIrqs[irq]?.set(level), onReset: () => this.requestReset() });
    this.pci.add(this.isaBridge.pci, PIIX_SLOT);
    this.isaBridge.attach(this.ports);
    this.pm = new Piix4Pm({
      ...context,
      ports: this.ports,
      sci: this.interrupts.connect(9),
      onSleep: (type) => this.sleep(type),
    });
    this.pci.add(this.pm.pci, PIIX_SLOT, PM_FUNCTION);
    this.pm.attach();

    this.interrupts.pic.attach(this.ports);
    this.pit = new I8254(context, this.interrupts.connect(0));
    this.ports.register(
      { name: 'pit', first: 0x40, count: 4 },
      { read: (o) => this.pit.read(o), write: (o, _s, v) => this.pit.write(o, v) },
    );
    const port61 = new Port61(clock, this.pit);
    this.ports.register({ name: 'port61', first: 0x61, count: 1 }, port61);
    this.rtc = new Mc146818({ ...context, irq: this.interrupts.connect(8), wallClockNs: options.wallClockNs });
    this.ports.register({ name: 'rtc', first: 0x70, count: 2 }, this.rtc);
    const dma = new DmaControllers();
    dma.attach(this.ports);

    const onA20 = (enabled: boolean): void => options.setA20?.(enabled);
    const onReset = (): void => this.requestReset();
    this.keyboard = new Ps2Keyboard();
    const i8042 = new I8042({
      tracer,
      keyboardIrq: this.interrupts.connect(1),
      mouseIrq: this.interrupts.connect(12),
      keyboard: this.keyboard,
      onA20,
      onReset,
    });
    i8042.attach(this.ports);
    const port92 = new Port92(onA20, onReset);
    this.ports.register({ name: 'port92', first: 0x92, count: 1 }, port92);

    this.uarts = this.makeUarts(context);
    this.fwCfg = new FwCfg({ tracer, memory: this.space });
    this.fwCfg.attach(this.ports);
    this.paravirtClock = new ParavirtClock({
      clock,
      memory: this.space,
      tsc: options.tsc,
      wallClockNs: options.wallClockNs,
    });
    const added = (options.devices ?? []).map(({ driver, properties }) =>
      createDevice(this.sockets(context), driver, properties),
    );
    if (options.bios) this.mapBios(options.bios);

    const { pic, ioapic, lapics } = this.interrupts;
    this.devices = [
      pic,
      ioapic,
      ...lapics,
      this.pit,
      port61,
      this.rtc,
      dma,
      i8042,
      this.keyboard,
      port92,
      ...this.uarts,
      configMechanism,
      this.hostBridge,
      this.isaBridge,
      this.pm,
      this.fwCfg,
      this.paravirtClock,
      ...added,
    ];
    writeCmosMemory(this);
    if (options.bios) offerFirmwareTables(this);
  }

  /** What a vCPU calls for accesses that are not plain memory. */
  vcpuBus(cpu: number): PcVcpuBus {
    const lapic = this.interrupts.lapics[cpu];
    if (!lapic) throw new UserError(`-smp: there is no vCPU ${cpu}.`);
    return {
      ioIn: (port, bytes) => this.ports.read(port, bytes),
      ioOut: (port, bytes, value) => this.ports.write(port, bytes, value),
      mmioRead: (address, bytes) => {
        this.activeCpu = cpu;
        return this.space.read(address, bytes);
      },
      mmioWrite: (address, bytes, value) => {
        this.activeCpu = cpu;
        this.space.write(address, bytes, value);
      },
      readMsr: (msr) => (isApicMsr(msr) ? lapic.readMsr(msr) : this.paravirtClock.readMsr(cpu, msr)),
      writeMsr: (msr, low, high) =>
        isApicMsr(msr) ? lapic.writeMsr(msr, low, high) : this.paravirtClock.writeMsr(cpu, msr, low, high),
      acknowledgeInterrupt: () => this.interrupts.acknowledge(cpu),
      hypercall: (number, args, long) => hypercall(number, args, this.interrupts.apicBus, long),
      apicEnabled: () => lapic.enabled,
      readTpr: () => lapic.cr8,
      writeTpr: (value) => {
        lapic.cr8 = value;
      },
    };
  }

  /** Resets all devices, as power-on does. Memory keeps what it has. */
  reset(): void {
    for (const device of this.devices) device.reset();
  }

  /**
   * Does what a firmware would and puts a kernel into memory; returns how the boot processor starts. Call it after
   * `reset`, again after each one.
   */
  bootKernel(boot: KernelBoot): BootImage {
    return startAsFirmware(this, boot);
  }

  /** Whether COM1 (0) to COM4 (3) is there. */
  hasSerialPort(index: number): boolean {
    return this.options.serial?.[index] !== undefined;
  }

  /** The power button: the guest decides what happens. */
  pressPowerButton(): void {
    this.pm.acpi.pressPowerButton();
  }

  private requestReset(): void {
    this.events.emit('reset', undefined);
  }

  private sleep(type: number): void {
    if (type === SLEEP_TYPE_S5) this.events.emit('poweroff', undefined);
    else this.options.log.unimplemented(`acpi: sleep type ${type} is not supported`);
  }

  /** The boot processor's APIC decides where all of them are; software never splits them. */
  private placeLapic(): void {
    const base = this.interrupts?.lapics[0]?.mmioBase;
    this.space.transaction(() => {
      this.lapicPlacement?.dispose();
      this.lapicPlacement = base === undefined ? undefined : this.space.root.add(this.lapicRegion, base, APIC_PRIORITY);
    });
  }

  private makeUarts(context: DeviceContext): Uart16550[] {
    return (this.options.serial ?? []).slice(0, COM_PORTS.length).flatMap((backend, i) => {
      const place = COM_PORTS[i];
      if (!backend || !place) return [];
      const uart = new Uart16550({ ...context, backend, irq: this.interrupts.connect(place.irq) });
      attachIsaSerial(this.ports, place.iobase, uart);
      return [uart];
    });
  }

  private sockets(context: DeviceContext): DeviceSockets {
    return {
      ...context,
      ports: this.ports,
      space: this.space,
      pci: this.pci,
      allocate: this.options.allocate,
      gsi: (number) => this.interrupts.connect(number),
      chardev: (id) => {
        const backend = this.options.chardevs?.[id];
        if (!backend) throw new UserError(`-device: there is no chardev '${id}'.`);
        return backend;
      },
      scsiBuses: this.scsiBuses,
      drive: (device, id, overrides) => {
        if (!this.options.drives) throw new UserError(`-device ${device}: there is no drive '${id}'`);
        return this.options.drives.claim(device, id, overrides);
      },
      virtioMmio: (device) => {
        const place = VIRTIO_MMIO_PLACES[this.virtioMmioCount];
        if (place === undefined)
          throw new UserError(`-device ${device}: the board has room for ${VIRTIO_MMIO_PLACES.length} of its kind.`);
        this.virtioMmioCount++;
        return { address: place.address, irq: this.interrupts.connect(place.gsi) };
      },
      debugExit: (status) => this.events.emit('debug-exit', status),
    };
  }

  private mapBios(bios: Uint8Array): void {
    if (bios.length === 0 || bios.length % 0x10000 !== 0)
      throw new UserError(`-bios: the image has ${bios.length} bytes, not a multiple of 64 KiB.`);
    const hostOffset = this.options.allocate(bios.length);
    new Uint8Array(this.options.memory.buffer).set(bios, hostOffset);
    mapBios(this.space, bios.length, hostOffset);
  }
}

function isApicMsr(msr: number): boolean {
  return msr === MSR_APIC_BASE || msr === MSR_TSC_DEADLINE || (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}
