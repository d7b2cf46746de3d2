/**
 * How the PC's interrupts are wired: a global interrupt 0–23 is a wire that several devices may pull; 0–15 reach the
 * 8259 pair and the I/O APIC alike, 0 on pin 2 of the latter. The 8259's INTR goes to the boot processor's LINT0.
 */
import { ApicBus } from '../devices/irq/apic-bus.ts';
import type { GuestTsc } from '../devices/irq/apic-timer.ts';
import { I8259Pair } from '../devices/irq/i8259-pair.ts';
import { Ioapic } from '../devices/irq/ioapic.ts';
import { type IrqLine, SharedWire, WiredLine } from '../devices/irq/irq-line.ts';
import { Lapic, type LapicCpu } from '../devices/irq/lapic.ts';
import type { DeviceContext } from '../devices/device.ts';

/** What the interrupt controllers do to a vCPU. */
export interface PcCpu {
  /** Level of the interrupt request; acknowledge() takes the vector. */
  setInterruptRequest(active: boolean): void;
  nmi(): void;
  /** INIT message. */
  init(): void;
  /** Startup message with the page number of the entry. */
  startup(vector: number): void;
}

export interface PcInterruptsOptions extends DeviceContext {
  readonly cpus: readonly PcCpu[];
  readonly tsc: GuestTsc;
  /** A local APIC's registers moved or switched between memory, MSRs and nothing. */
  readonly onApicMoved: (cpu: number) => void;
}

const ISA_IRQS = 16;
const GSI_COUNT = 24;
const TIMER_PIN = 2;

export class PcInterrupts {
  readonly pic: I8259Pair;
  readonly ioapic: Ioapic;
  readonly lapics: readonly Lapic[];
  readonly apicBus: ApicBus = new ApicBus();
  private readonly wires: readonly SharedWire[];
  private readonly outputs: readonly IrqLine[];
  private readonly lapicRequests: boolean[];

  constructor(options: PcInterruptsOptions) {
    this.outputs = options.cpus.map((cpu) => new WiredLine((level) => cpu.setInterruptRequest(level)));
    this.lapicRequests = options.cpus.map(() => false);
    this.pic = new I8259Pair(options, new WiredLine((level) => this.picChanged(level)));
    this.lapics = options.cpus.map((cpu, index) => this.makeLapic(options, cpu, index));
    this.ioapic = new Ioapic(options, this.apicBus);
    this.wires = Array.from({ length: GSI_COUNT }, (_, gsi) => new SharedWire((level) => this.driveGsi(gsi, level)));
  }

  /** A new connection to a global interrupt. */
  connect(gsi: number): IrqLine {
    const wire = this.wires[gsi];
    // A number past the last pin is not connected to anything.
    return wire ? wire.connect() : { set: (): void => {} };
  }

  reset(): void {
    this.pic.reset();
    this.ioapic.reset();
    for (const lapic of this.lapics) lapic.reset();
  }

  /** The vector for a CPU that takes an interrupt, -1 when the request went away. */
  acknowledge(cpu: number): number {
    const lapic = this.lapics[cpu];
    if (!lapic) return -1;
    if (cpu === 0 && this.pic.interruptPending && lapic.acceptsExtInt) {
      const vector = this.pic.acknowledge();
      this.updateOutput(0);
      return vector;
    }
    return lapic.acknowledge();
  }

  /** A non-maskable interrupt from the board or the user. */
  raiseNmi(): void {
    for (const lapic of this.lapics) {
      lapic.setLint(1, true);
      lapic.setLint(1, false);
    }
  }

  private makeLapic(options: PcInterruptsOptions, cpu: PcCpu, index: number): Lapic {
    const ports: LapicCpu = {
      setInterruptRequest: (active) => {
        this.lapicRequests[index] = active;
        this.updateOutput(index);
      },
      nmi: () => cpu.nmi(),
      smi: () => options.log.unimplemented('apic: SMI message; there is no system management mode'),
      init: () => cpu.init(),
      startup: (vector) => cpu.startup(vector),
    };
    return new Lapic({
      clock: options.clock,
      tracer: options.tracer,
      tsc: options.tsc,
      bus: this.apicBus,
      cpu: ports,
      id: index,
      bootProcessor: index === 0,
      onWiringChange: () => {
        this.updateOutput(index);
        options.onApicMoved(index);
      },
    });
  }

  private driveGsi(gsi: number, level: boolean): void {
    if (gsi < ISA_IRQS) this.pic.setIrq(gsi, level);
    this.ioapic.setLine(gsi === 0 ? TIMER_PIN : gsi, level);
  }

  private picChanged(level: boolean): void {
    this.lapics[0]?.setLint(0, level);
    this.updateOutput(0);
  }

  private updateOutput(cpu: number): void {
    const external = cpu === 0 && this.pic.interruptPending && (this.lapics?.[0]?.acceptsExtInt ?? false);
    this.outputs[cpu]?.set(external || (this.lapicRequests[cpu] ?? false));
  }
}
