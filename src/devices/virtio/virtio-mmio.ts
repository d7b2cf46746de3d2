/**
 * Virtio over memory-mapped registers (Virtio 1.2, 4.2), the interface of version 2. One interrupt line; no legacy interface and no shared
 * memory regions.
 */
import { MemoryRegion } from '../../memory/region.ts';
import type { DmaMemory } from '../../memory/address-space.ts';
import type { Log } from '../../base/log.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import type { IrqLine } from '../irq/irq-line.ts';
import { VirtioCore, type VirtioModel, type VirtioOptions } from './virtio-core.ts';
import type { QueueElement } from './virtqueue.ts';

/** What a device takes of the address space. */
export const VIRTIO_MMIO_BYTES = 0x200;
const MAGIC = 0x74726976;
const VERSION = 2;
const VENDOR = 0x1af4;
const CONFIG = 0x100;
const NO_SHARED_MEMORY = 0xffffffff;
const INTERRUPT_QUEUE = 1;
const INTERRUPT_CONFIG = 2;

export interface VirtioMmioOptions extends VirtioOptions {
  readonly memory: DmaMemory;
  readonly log: Log;
  readonly irq: IrqLine;
  /** Does a buffer again that was under way when the state was saved. */
  readonly redo: (queue: number, element: QueueElement) => void;
}

export class VirtioMmio implements Device {
  readonly kind: string = 'virtio-mmio';
  readonly core: VirtioCore;
  readonly region: MemoryRegion;
  private readonly model: VirtioModel;
  private readonly options: VirtioMmioOptions;
  private offeredSelect = 0;
  private acceptedSelect = 0;
  private queueSelect = 0;
  private pending = 0;

  constructor(model: VirtioModel, options: VirtioMmioOptions) {
    this.model = model;
    this.options = options;
    this.core = new VirtioCore(model, options.memory, options.log, options);
    this.core.interrupts = { queue: () => this.raise(INTERRUPT_QUEUE), config: () => this.raise(INTERRUPT_CONFIG) };
    this.region = MemoryRegion.mmio(`${model.name}-mmio`, VIRTIO_MMIO_BYTES, this);
  }

  reset(): void {
    this.core.reset();
    this.select(0, 0, 0);
    this.acknowledge(INTERRUPT_QUEUE | INTERRUPT_CONFIG);
  }

  save(): SavedState {
    return {
      kind: this.kind,
      version: 1,
      fields: {
        virtio: nested(this.core.save()),
        pending: this.pending,
        selectors: [this.offeredSelect, this.acceptedSelect, this.queueSelect],
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    const [offered = 0, accepted = 0, queue = 0] = reader.numbers('selectors', 0xffffffff, 3);
    this.select(offered, accepted, queue);
    this.pending = reader.integer('pending', INTERRUPT_QUEUE | INTERRUPT_CONFIG);
    this.options.irq.set(this.pending !== 0);
    for (const { queue: index, element } of this.core.load(reader.state('virtio'))) this.options.redo(index, element);
  }

  read(offset: number, size: number): number {
    if (offset >= CONFIG) {
      const at = offset - CONFIG;
      return at + size <= this.model.configBytes ? this.model.readConfig(at, size) : 0;
    }
    // Registers are 32 bits wide and read as a whole.
    if (size !== 4) return 0;
    const { core } = this;
    const queue = core.queues[this.queueSelect];
    switch (offset) {
      case 0x00:
        return MAGIC;
      case 0x04:
        return VERSION;
      case 0x08:
        return this.model.deviceId;
      case 0x0c:
        return VENDOR;
      case 0x10:
        return core.offeredFeatures(this.offeredSelect);
      case 0x34:
        return queue === undefined ? 0 : this.model.queueSize;
      case 0x44:
        return Number(queue?.enabled ?? false);
      case 0x60:
        return this.pending;
      case 0x70:
        return core.status;
      case 0xb0:
      case 0xb4:
      case 0xb8:
      case 0xbc:
        return NO_SHARED_MEMORY;
      case 0xfc:
        return core.configGeneration;
      default:
        return 0;
    }
  }

  write(offset: number, size: number, value: number): void {
    if (offset >= CONFIG) {
      const at = offset - CONFIG;
      if (at + size <= this.model.configBytes) this.model.writeConfig(at, size, value);
      return;
    }
    if (size !== 4) return;
    const { core } = this;
    const queue = core.queues[this.queueSelect];
    switch (offset) {
      case 0x14:
        this.offeredSelect = value;
        return;
      case 0x20:
        core.acceptFeatures(this.acceptedSelect, value);
        return;
      case 0x24:
        this.acceptedSelect = value;
        return;
      case 0x30:
        this.queueSelect = value;
        return;
      case 0x38:
        // GUEST: a power of two up to what was offered, else it stays.
        if (queue && !queue.enabled && value > 0 && value <= this.model.queueSize && (value & (value - 1)) === 0)
          queue.size = value;
        return;
      case 0x44:
        if (value === 1) core.enableQueue(this.queueSelect);
        else if (value === 0) core.disableQueue(this.queueSelect);
        return;
      case 0x50:
        core.kick(value);
        return;
      case 0x64:
        this.acknowledge(value);
        return;
      case 0x70:
        if (value === 0) this.acknowledge(INTERRUPT_QUEUE | INTERRUPT_CONFIG);
        core.setStatus(value, false);
        return;
      default:
        // Low and high half of descriptors (0x80), driver area (0x90), device area (0xa0).
        if (queue && !queue.enabled && offset >= 0x80 && offset < 0xa8 && (offset & 0x08) === 0)
          queue.addresses[((offset - 0x80) >> 4) * 2 + ((offset >> 2) & 1)] = value;
    }
  }

  private select(offered: number, accepted: number, queue: number): void {
    [this.offeredSelect, this.acceptedSelect, this.queueSelect] = [offered, accepted, queue];
  }

  private raise(bit: number): void {
    this.pending |= bit;
    this.options.irq.set(true);
  }

  private acknowledge(bits: number): void {
    this.pending &= ~bits;
    if (this.pending === 0) this.options.irq.set(false);
  }
}
