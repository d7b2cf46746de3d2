/**
 * Virtio over PCI (Virtio 1.2, 4.1): the modern interface in a memory BAR that capabilities describe, and for drivers of before 1.0 the
 * legacy registers in a port BAR (4.1.4.10). Interrupts are MSI-X vectors, or INTx with the ISR register.
 */
import { ByteBuilder } from '../../base/bytes.ts';
import type { Log } from '../../base/log.ts';
import type { DmaMemory } from '../../memory/address-space.ts';
import { MemoryRegion, type MmioHandler } from '../../memory/region.ts';
import type { PortHandler } from '../../memory/port-space.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import { Msix, MSIX_MAX_VECTORS } from '../pci/msix.ts';
import { PciDevice } from '../pci/pci-device.ts';
import { CAPABILITY_VENDOR } from '../pci/pci-registers.ts';
import { VirtioCore, type VirtioModel, type VirtioOptions } from './virtio-core.ts';
import type { QueueElement } from './virtqueue.ts';

const VENDOR = 0x1af4;
const MODERN_DEVICE_ID = 0x1040; // plus the virtio device ID
const LEGACY_IDS: Readonly<Record<number, number>> = {
  1: 0x1000,
  2: 0x1001,
  5: 0x1002,
  3: 0x1003,
  8: 0x1004,
  4: 0x1005,
};

const LEGACY_BAR = 0;
const MSIX_BAR = 1;
const MODERN_BAR = 4;

// Parts of the modern BAR
const COMMON = 0x0000;
const ISR = 0x1000;
const DEVICE = 0x2000;
const NOTIFY = 0x3000;
const PART_SIZE = 0x1000;
const MODERN_BAR_SIZE = 0x4000;
const NOTIFY_MULTIPLIER = 4;

// Capability types (4.1.4)
const CFG_COMMON = 1;
const CFG_NOTIFY = 2;
const CFG_ISR = 3;
const CFG_DEVICE = 4;
const CFG_PCI = 5;

const NO_VECTOR = 0xffff;
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;

/** Legacy queues are addressed by page and laid out on pages (2.7.2). */
const LEGACY_PAGE = 4096;
const LEGACY_CONFIG = 20;
const LEGACY_CONFIG_MSIX = 24;

export interface VirtioPciOptions extends VirtioOptions {
  readonly memory: DmaMemory;
  readonly log: Log;
  readonly classCode: number;
  readonly legacy: boolean;
  readonly modern: boolean;
  /** MSI-X vectors; 0 for INTx alone. */
  readonly vectors: number;
  /** Does a buffer again that was under way when the state was saved. */
  readonly redo: (queue: number, element: QueueElement) => void;
}

export class VirtioPci implements Device {
  readonly kind: string;
  readonly pci: PciDevice;
  readonly core: VirtioCore;
  private readonly model: VirtioModel;
  private readonly options: VirtioPciOptions;
  private readonly msix: Msix | undefined;
  private readonly vectors: number[];
  private configVector = NO_VECTOR;
  private isr = 0;
  private offeredSelect = 0;
  private acceptedSelect = 0;
  private queueSelect = 0;
  private pciCapability = 0;

  constructor(model: VirtioModel, options: VirtioPciOptions) {
    this.kind = `${model.name}-pci`;
    this.model = model;
    this.options = options;
    this.core = new VirtioCore(model, options.memory, options.log, options);
    this.core.interrupts = { queue: (index) => this.raise(ISR_QUEUE, index), config: () => this.raise(ISR_CONFIG) };
    this.vectors = this.core.queues.map(() => NO_VECTOR);
    this.pci = new PciDevice({
      name: this.kind,
      vendorId: VENDOR,
      deviceId: (options.legacy ? LEGACY_IDS[model.deviceId] : undefined) ?? MODERN_DEVICE_ID + model.deviceId,
      revision: options.legacy ? 0 : 1,
      classCode: options.classCode,
      subsystemVendorId: VENDOR,
      subsystemId: options.legacy ? model.deviceId : 0x1100,
      interruptPin: 1,
    });
    if (options.legacy) {
      const handler: PortHandler = {
        read: (o, size) => this.legacyRead(o, size),
        write: (o, size, v) => this.legacyWrite(o, size, v),
      };
      let sizeBytes = 32;
      while (sizeBytes < LEGACY_CONFIG_MSIX + model.configBytes) sizeBytes *= 2;
      this.pci.addBar(LEGACY_BAR, { kind: 'io', sizeBytes, handler });
    }
    if (options.vectors > 0) this.msix = new Msix(this.pci, Math.min(options.vectors, MSIX_MAX_VECTORS), MSIX_BAR);
    if (options.modern) this.addModernBar();
    this.pci.onConfigWrite = (offset, size): void => {
      this.msix?.configChanged();
      this.indirectAccess(offset, size, true);
    };
    this.pci.onConfigRead = (offset, size): void => this.indirectAccess(offset, size, false);
  }

  reset(): void {
    this.resetDevice();
    this.msix?.reset();
    this.pci.reset();
    this.core.reset();
  }

  save(): SavedState {
    return {
      kind: this.kind,
      version: 1,
      fields: {
        pci: nested(this.pci.save()),
        msix: this.msix ? nested(this.msix.save()) : null,
        virtio: nested(this.core.save()),
        vectors: [...this.vectors],
        configVector: this.configVector,
        isr: this.isr,
        selectors: [this.offeredSelect, this.acceptedSelect, this.queueSelect],
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    reader.numbers('vectors', NO_VECTOR, this.vectors.length).forEach((vector, i) => (this.vectors[i] = vector));
    this.configVector = reader.u16('configVector');
    this.isr = reader.integer('isr', ISR_QUEUE | ISR_CONFIG);
    const [offered = 0, accepted = 0, queue = 0] = reader.numbers('selectors', 0xffffffff, 3);
    [this.offeredSelect, this.acceptedSelect, this.queueSelect] = [offered, accepted, queue];
    this.pci.load(reader.state('pci'));
    this.msix?.load(reader.state('msix'));
    for (const { queue: index, element } of this.core.load(reader.state('virtio'))) this.options.redo(index, element);
  }

  // ---- interrupts ----

  private raise(bit: number, queue?: number): void {
    if (this.msix?.enabled) {
      this.msix.notify(queue === undefined ? this.configVector : (this.vectors[queue] ?? NO_VECTOR));
      return;
    }
    this.isr |= bit;
    this.pci.intx.set(true);
  }

  /** Reading tells and clears. */
  private readIsr(): number {
    const value = this.isr;
    this.isr = 0;
    this.pci.intx.set(false);
    return value;
  }

  /** A vector that does not exist is refused by reading back as none. */
  private vector(value: number): number {
    return value < Math.min(this.options.vectors, MSIX_MAX_VECTORS) ? value : NO_VECTOR;
  }

  /** What a reset by the driver clears beside the core. */
  private resetDevice(): void {
    this.vectors.fill(NO_VECTOR);
    this.configVector = NO_VECTOR;
    this.isr = 0;
    this.pci.intx.set(false);
  }

  private setStatus(value: number, legacy: boolean): void {
    if (value === 0) this.resetDevice();
    this.core.setStatus(value, legacy);
  }

  // ---- modern ----

  private addModernBar(): void {
    const handler: MmioHandler = {
      read: (offset, size) => this.modernRead(offset, size),
      write: (offset, size, value) => this.modernWrite(offset, size, value),
    };
    const region = MemoryRegion.mmio(this.kind, MODERN_BAR_SIZE, handler);
    this.pci.addBar(MODERN_BAR, { kind: 'memory', region, is64: true, prefetchable: true });
    this.describe(CFG_COMMON, COMMON, PART_SIZE);
    this.describe(CFG_ISR, ISR, PART_SIZE);
    this.describe(CFG_DEVICE, DEVICE, PART_SIZE);
    this.describe(CFG_NOTIFY, NOTIFY, PART_SIZE, NOTIFY_MULTIPLIER);
    // The window into the BAR through configuration space: BAR, offset, length and data are the driver's to write.
    const writable = new ByteBuilder().zeros(2).u8(0xff).zeros(3).u32(0xffffffff).u32(0xffffffff).u32(0xffffffff);
    const body = new ByteBuilder().u8(20).u8(CFG_PCI).zeros(16);
    this.pciCapability = this.pci.addCapability(CAPABILITY_VENDOR, body.build(), writable.build());
  }

  private describe(type: number, offset: number, length: number, multiplier?: number): void {
    const body = new ByteBuilder()
      .u8(multiplier === undefined ? 16 : 20)
      .u8(type)
      .u8(MODERN_BAR)
      .zeros(3)
      .u32(offset)
      .u32(length);
    if (multiplier !== undefined) body.u32(multiplier);
    this.pci.addCapability(CAPABILITY_VENDOR, body.build());
  }

  /** 4.1.4.9: an access to the capability's data is one to the BAR. */
  private indirectAccess(offset: number, size: number, write: boolean): void {
    const data = this.pciCapability + 16;
    if (this.pciCapability === 0 || offset !== data || size > 4) return;
    const bar = this.pci.readConfigRaw(this.pciCapability + 4, 1);
    const at = this.pci.readConfigRaw(this.pciCapability + 8, 4);
    const length = this.pci.readConfigRaw(this.pciCapability + 12, 4);
    // GUEST: the three are any numbers; only 1, 2 or 4 aligned bytes within the BAR are accessed.
    if (bar !== MODERN_BAR || (length !== 1 && length !== 2 && length !== 4)) return;
    if (at % length !== 0 || at + length > MODERN_BAR_SIZE) return;
    if (write) this.modernWrite(at, length, this.pci.readConfigRaw(data, length));
    else this.pci.setConfig(data, 4, this.modernRead(at, length));
  }

  private modernRead(offset: number, size: number): number {
    if (offset >= NOTIFY) return 0;
    if (offset >= DEVICE) return this.readDeviceConfig(offset - DEVICE, size);
    if (offset >= ISR) return offset === ISR ? this.readIsr() : 0;
    return this.commonRead(offset);
  }

  private modernWrite(offset: number, size: number, value: number): void {
    if (offset >= NOTIFY) this.core.kick((offset - NOTIFY) / NOTIFY_MULTIPLIER);
    else if (offset >= DEVICE) this.writeDeviceConfig(offset - DEVICE, size, value);
    else if (offset < ISR) this.commonWrite(offset, value);
  }

  private commonRead(offset: number): number {
    const { core } = this;
    const queue = core.queues[this.queueSelect];
    switch (offset) {
      case 0x00:
        return this.offeredSelect;
      case 0x04:
        return core.offeredFeatures(this.offeredSelect);
      case 0x08:
        return this.acceptedSelect;
      case 0x0c:
        return core.acceptedFeatures(this.acceptedSelect);
      case 0x10:
        return this.configVector;
      case 0x12:
        return core.queues.length;
      case 0x14:
        return core.status;
      case 0x15:
        return core.configGeneration;
      case 0x16:
        return this.queueSelect;
      case 0x18:
        return queue?.size ?? 0;
      case 0x1a:
        return this.vectors[this.queueSelect] ?? NO_VECTOR;
      case 0x1c:
        return Number(queue?.enabled ?? false);
      case 0x1e:
        return queue === undefined ? 0 : this.queueSelect;
      default:
        return offset >= 0x20 && offset < 0x38 ? (queue?.addresses[(offset - 0x20) >> 2] ?? 0) : 0;
    }
  }

  private commonWrite(offset: number, value: number): void {
    const { core } = this;
    const queue = core.queues[this.queueSelect];
    switch (offset) {
      case 0x00:
        this.offeredSelect = value;
        return;
      case 0x08:
        this.acceptedSelect = value;
        return;
      case 0x0c:
        core.acceptFeatures(this.acceptedSelect, value);
        return;
      case 0x10:
        this.configVector = this.vector(value);
        return;
      case 0x14:
        this.setStatus(value, false);
        return;
      case 0x16:
        this.queueSelect = value & 0xffff;
        return;
      case 0x18:
        // GUEST: a power of two up to what was offered, else it stays.
        if (queue && !queue.enabled && value > 0 && value <= this.model.queueSize && (value & (value - 1)) === 0)
          queue.size = value;
        return;
      case 0x1a:
        if (queue) this.vectors[this.queueSelect] = this.vector(value);
        return;
      case 0x1c:
        if (value === 1) core.enableQueue(this.queueSelect);
        return;
      default:
        if (queue && !queue.enabled && offset >= 0x20 && offset < 0x38 && offset % 4 === 0)
          queue.addresses[(offset - 0x20) >> 2] = value;
    }
  }

  private readDeviceConfig(offset: number, size: number): number {
    return offset + size <= this.model.configBytes ? this.model.readConfig(offset, size) : 0;
  }

  private writeDeviceConfig(offset: number, size: number, value: number): void {
    if (offset + size <= this.model.configBytes) this.model.writeConfig(offset, size, value);
  }

  // ---- legacy ----

  private get legacyConfig(): number {
    return this.msix?.enabled ? LEGACY_CONFIG_MSIX : LEGACY_CONFIG;
  }

  private legacyRead(offset: number, size: number): number {
    const { core, legacyConfig } = this;
    if (offset >= legacyConfig) return this.readDeviceConfig(offset - legacyConfig, size);
    const queue = core.queues[this.queueSelect];
    switch (offset) {
      case 0:
        return core.offeredFeatures(0);
      case 4:
        return core.acceptedFeatures(0);
      case 8:
        return queue?.enabled ? queue.address(0) / LEGACY_PAGE : 0;
      case 12:
        return queue?.size ?? 0;
      case 14:
        return this.queueSelect;
      case 18:
        return core.status;
      case 19:
        return this.readIsr();
      case 20:
        return this.configVector;
      case 22:
        return this.vectors[this.queueSelect] ?? NO_VECTOR;
      default:
        return 0;
    }
  }

  private legacyWrite(offset: number, size: number, value: number): void {
    const { core, legacyConfig } = this;
    if (offset >= legacyConfig) {
      this.writeDeviceConfig(offset - legacyConfig, size, value);
      return;
    }
    switch (offset) {
      case 4:
        core.acceptFeatures(0, value);
        return;
      case 8:
        this.setLegacyQueue(value);
        return;
      case 14:
        this.queueSelect = value & 0xffff;
        return;
      case 16:
        core.kick(value);
        return;
      case 18:
        this.setStatus(value, true);
        return;
      case 20:
        this.configVector = this.vector(value);
        return;
      case 22:
        if (this.queueSelect < this.vectors.length) this.vectors[this.queueSelect] = this.vector(value);
        return;
      default:
    }
  }

  /** The page of a queue puts it into service; page 0 takes it out. */
  private setLegacyQueue(page: number): void {
    const queue = this.core.queues[this.queueSelect];
    if (queue === undefined) return;
    if (page === 0) {
      this.core.disableQueue(this.queueSelect);
      return;
    }
    const { size } = queue;
    const descriptors = page * LEGACY_PAGE;
    const driver = descriptors + size * 16;
    const device = Math.ceil((driver + 4 + size * 2 + 2) / LEGACY_PAGE) * LEGACY_PAGE;
    [descriptors, driver, device].forEach((address, part) => {
      queue.addresses[part * 2] = address % 0x1_0000_0000;
      queue.addresses[part * 2 + 1] = Math.floor(address / 0x1_0000_0000);
    });
    this.core.enableQueue(this.queueSelect);
  }
}
