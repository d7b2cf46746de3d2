/** The PC's two 8259As: the slave on the master's input 2, ports 0x20/0x21, 0xA0/0xA1 and ELCRs at 0x4D0/0x4D1. */
import type { Disposable } from '../../base/events.ts';
import { DisposableStore } from '../../base/events.ts';
import type { PortSpace } from '../../memory/port-space.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints } from '../../trace/trace.ts';
import type { Device, DeviceContext } from '../device.ts';
import { I8259 } from './i8259.ts';
import { type IrqLine, WiredLine } from './irq-line.ts';

const EVENTS = defineEvents({
  pic_set_irq: ['irq', 'level'],
  pic_acknowledge: ['irq', 'vector'],
  pic_write: ['chip', 'offset', 'value'],
});

const CASCADE_INPUT = 2;
/** ELCR bits that can be set: not the timer, the keyboard, the cascade, the RTC and the coprocessor. */
const ELCR_MASK = [0xf8, 0xde] as const;

export class I8259Pair implements Device {
  readonly kind: string = 'i8259-pair';
  readonly master: I8259;
  readonly slave: I8259;
  private readonly intr: IrqLine;
  private readonly trace: TracePoints<typeof EVENTS>;

  /** @param intr the INTR output */
  constructor(context: Pick<DeviceContext, 'tracer'>, intr: IrqLine) {
    this.intr = intr;
    this.trace = context.tracer.attach(EVENTS);
    this.master = new I8259(1 << CASCADE_INPUT, () => this.intr.set(this.master.pending() >= 0));
    this.slave = new I8259(0, () => this.cascade.set(this.slave.pending() >= 0));
  }

  private readonly cascade: WiredLine = new WiredLine((level) => this.master.setLine(CASCADE_INPUT, level));

  reset(): void {
    this.slave.reset();
    this.master.reset();
  }

  /** @param irq 0 to 15 */
  setIrq(irq: number, level: boolean): void {
    if (this.trace.pic_set_irq.on) this.trace.pic_set_irq.emit(irq, level);
    if (irq >= 8) this.slave.setLine(irq - 8, level);
    else if (irq !== CASCADE_INPUT) this.master.setLine(irq, level);
  }

  /** Whether INTR is high. */
  get interruptPending(): boolean {
    return this.master.pending() >= 0;
  }

  /** The CPU's INTA cycles: the vector; a spurious one when the request went away. */
  acknowledge(): number {
    let irq = this.master.acknowledge();
    let vector = this.master.vectorBase + irq;
    if (irq === CASCADE_INPUT) {
      const input = this.slave.acknowledge();
      irq = 8 + input;
      vector = this.slave.vectorBase + input;
      // The slave's output is a level to the master's edge input: give it the edge of a further request.
      this.cascade.set(false);
      this.cascade.set(this.slave.pending() >= 0);
    }
    if (this.trace.pic_acknowledge.on) this.trace.pic_acknowledge.emit(irq, vector);
    return vector;
  }

  attach(ports: PortSpace): Disposable {
    const registrations = new DisposableStore();
    [this.master, this.slave].forEach((chip, i) => {
      registrations.add(
        ports.register(
          { name: chip === this.master ? 'pic1' : 'pic2', first: chip === this.master ? 0x20 : 0xa0, count: 2 },
          {
            read: (offset) => chip.read(offset),
            write: (offset, _size, value) => {
              if (this.trace.pic_write.on) this.trace.pic_write.emit(i, offset, value);
              chip.write(offset, value);
            },
          },
        ),
      );
    });
    const chips = [this.master, this.slave] as const;
    registrations.add(
      ports.register(
        { name: 'elcr', first: 0x4d0, count: 2 },
        {
          read: (offset) => chips[offset === 0 ? 0 : 1].elcr,
          write: (offset, _size, value) => {
            const i = offset === 0 ? 0 : 1;
            chips[i].setElcr(value & ELCR_MASK[i]);
          },
        },
      ),
    );
    return registrations;
  }

  save(): SavedState {
    return {
      kind: this.kind,
      version: 1,
      fields: { master: nested(this.master.save()), slave: nested(this.slave.save()) },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.slave.load(reader.state('slave'));
    this.master.load(reader.state('master'));
    this.cascade.set(this.slave.pending() >= 0);
  }
}
