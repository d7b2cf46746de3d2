/**
 * One PCI function: its configuration space with writable bits, base address registers that map regions and port ranges
 * as the guest moves them, capabilities, INTx. Device models own one of these and hand it their register handlers.
 */
import type { Disposable } from '../../base/events.ts';
import { InternalError } from '../../base/errors.ts';
import { viewOf } from '../../base/bytes.ts';
import type { PortHandler } from '../../memory/port-space.ts';
import type { MemoryRegion } from '../../memory/region.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import type { IrqLine } from '../irq/irq-line.ts';
import {
  BAR_IO,
  BAR_MEMORY_64,
  BAR_PREFETCHABLE,
  COMMAND_INTX_DISABLE,
  COMMAND_IO,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  COMMAND_PARITY,
  COMMAND_SERR,
  PCI_BAR0,
  PCI_CACHE_LINE_SIZE,
  PCI_CAPABILITY_POINTER,
  PCI_CLASS,
  PCI_COMMAND,
  PCI_DEVICE_ID,
  PCI_HEADER_TYPE,
  PCI_INTERRUPT_LINE,
  PCI_INTERRUPT_PIN,
  PCI_LATENCY_TIMER,
  PCI_REVISION,
  PCI_STATUS,
  PCI_SUBSYSTEM_ID,
  PCI_SUBSYSTEM_VENDOR,
  PCI_VENDOR_ID,
  STATUS_CAPABILITIES,
  STATUS_INTERRUPT,
  STATUS_WRITE_ONE_TO_CLEAR,
} from './pci-registers.ts';

export interface PciIdentity {
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision?: number;
  /** Class, subclass and programming interface: 0x060000 is a host bridge. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 1 = INTA# … 4 = INTD#, 0 = none. */
  readonly interruptPin?: number;
  readonly multiFunction?: boolean;
}

/** What a base address register shows. Sizes are powers of two. */
export type PciBar =
  | {
      readonly kind: 'io';
      readonly sizeBytes: number;
      readonly handler: PortHandler;
      readonly sizes?: readonly (1 | 2 | 4)[];
    }
  | {
      readonly kind: 'memory';
      readonly region: MemoryRegion;
      readonly is64?: boolean;
      readonly prefetchable?: boolean;
    };

/** What the bus does for a function. */
export interface PciBusPorts {
  mapMemory(region: MemoryRegion, address: number): Disposable;
  mapPorts(name: string, first: number, bar: Extract<PciBar, { kind: 'io' }>): Disposable;
  setIntx(level: boolean): void;
  /** A message signalled interrupt. */
  sendMsi(addressLow: number, addressHigh: number, data: number): void;
}

interface MappedBar {
  readonly bar: PciBar;
  readonly sizeBytes: number;
  address: number;
  mapping: Disposable | undefined;
}

const CONFIG_SIZE = 256;
const FIRST_CAPABILITY = 0x40;

export class PciDevice {
  readonly identity: PciIdentity;
  /** INTx: what the device's interrupt logic drives. */
  readonly intx: IrqLine = { set: (level) => this.setIntx(level) };
  /** Called after the guest wrote configuration bytes, for registers with effects. */
  onConfigWrite: ((offset: number, size: number) => void) | undefined;
  /** Called before the guest reads configuration bytes, for registers whose value is made at that moment (`setConfig`). */
  onConfigRead: ((offset: number, size: number) => void) | undefined;

  private readonly config: Uint8Array = new Uint8Array(CONFIG_SIZE);
  private readonly view: DataView = viewOf(this.config);
  private readonly initial: Uint8Array = new Uint8Array(CONFIG_SIZE);
  private readonly writable: Uint8Array = new Uint8Array(CONFIG_SIZE);
  private readonly clearedByOnes: Uint8Array = new Uint8Array(CONFIG_SIZE);
  private readonly bars: (MappedBar | undefined)[] = [undefined, undefined, undefined, undefined, undefined, undefined];
  private nextCapability: number = FIRST_CAPABILITY;
  private lastCapability: number = 0;
  private bus: PciBusPorts | undefined;
  private intxLevel: boolean = false;
  private intxDriven: boolean = false;

  constructor(identity: PciIdentity) {
    this.identity = identity;
    this.define(PCI_VENDOR_ID, 2, identity.vendorId);
    this.define(PCI_DEVICE_ID, 2, identity.deviceId);
    this.define(PCI_COMMAND, 2, 0, COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR | COMMAND_INTX_DISABLE);
    this.define(PCI_REVISION, 1, identity.revision ?? 0);
    this.define(PCI_CLASS, 1, identity.classCode & 0xff);
    this.define(PCI_CLASS + 1, 2, identity.classCode >> 8);
    this.define(PCI_CACHE_LINE_SIZE, 1, 0, 0xff);
    this.define(PCI_LATENCY_TIMER, 1, 0, 0xff);
    this.define(PCI_HEADER_TYPE, 1, identity.multiFunction ? 0x80 : 0);
    this.define(PCI_SUBSYSTEM_VENDOR, 2, identity.subsystemVendorId ?? 0);
    this.define(PCI_SUBSYSTEM_ID, 2, identity.subsystemId ?? 0);
    this.define(PCI_INTERRUPT_PIN, 1, identity.interruptPin ?? 0);
    if (identity.interruptPin) this.define(PCI_INTERRUPT_LINE, 1, 0, 0xff);
    viewOf(this.clearedByOnes).setUint16(PCI_STATUS, STATUS_WRITE_ONE_TO_CLEAR, true);
  }

  /** Sets a register's value at reset and which of its bits the guest may write. */
  define(offset: number, size: 1 | 2 | 4, value: number, writableBits: number = 0): void {
    for (let i = 0; i < size; i++) {
      this.config[offset + i] = (value >>> (8 * i)) & 0xff;
      this.initial[offset + i] = (value >>> (8 * i)) & 0xff;
      this.writable[offset + i] = (writableBits >>> (8 * i)) & 0xff;
    }
  }

  /** Adds a base address register; a 64-bit one takes two places. */
  addBar(index: number, bar: PciBar): void {
    const sizeBytes = bar.kind === 'io' ? bar.sizeBytes : bar.region.sizeBytes;
    if (sizeBytes < 4 || (sizeBytes & (sizeBytes - 1)) !== 0)
      throw new InternalError("A BAR's size is a power of two.", { name: this.identity.name, index, sizeBytes });
    const type =
      bar.kind === 'io' ? BAR_IO : (bar.is64 ? BAR_MEMORY_64 : 0) | (bar.prefetchable ? BAR_PREFETCHABLE : 0);
    const offset = PCI_BAR0 + index * 4;
    this.define(offset, 4, type, sizeBytes >= 0x1_0000_0000 ? 0 : ~(sizeBytes - 1) >>> 0);
    if (bar.kind === 'memory' && bar.is64)
      this.define(offset + 4, 4, 0, sizeBytes > 0x1_0000_0000 ? ~(sizeBytes / 0x1_0000_0000 - 1) >>> 0 : 0xffffffff);
    this.bars[index] = { bar, sizeBytes, address: 0, mapping: undefined };
    const enable = bar.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY;
    this.writable[PCI_COMMAND] = (this.writable[PCI_COMMAND] ?? 0) | enable;
  }

  /** Lets the guest switch port or memory decoding of fixed ranges that no BAR describes. */
  allowCommandBits(bits: number): void {
    this.writable[PCI_COMMAND] = (this.writable[PCI_COMMAND] ?? 0) | (bits & 0xff);
  }

  /** Appends a capability; `body` comes after the ID and next pointer. Returns its offset in configuration space. */
  addCapability(id: number, body: Uint8Array, writableBody: Uint8Array = new Uint8Array(body.length)): number {
    const offset = this.nextCapability;
    if (offset + 2 + body.length > CONFIG_SIZE)
      throw new InternalError('No room for another PCI capability.', { name: this.identity.name, id });
    this.define(offset, 1, id);
    body.forEach((byte, i) => this.define(offset + 2 + i, 1, byte, writableBody[i] ?? 0));
    this.define(this.lastCapability === 0 ? PCI_CAPABILITY_POINTER : this.lastCapability + 1, 1, offset);
    this.define(PCI_STATUS, 2, this.view.getUint16(PCI_STATUS, true) | STATUS_CAPABILITIES);
    this.lastCapability = offset;
    this.nextCapability = (offset + 2 + body.length + 3) & ~3;
    return offset;
  }

  /** Connects the function to its slot; done by PciBus.add. */
  connect(bus: PciBusPorts): void {
    this.bus = bus;
  }

  get command(): number {
    return this.view.getUint16(PCI_COMMAND, true);
  }

  /** Whether the guest lets the device read and write memory. */
  get busMaster(): boolean {
    return (this.command & COMMAND_MASTER) !== 0;
  }

  /** Where a BAR is mapped, undefined while it is not. */
  barAddress(index: number): number | undefined {
    const mapped = this.bars[index];
    return mapped?.mapping ? mapped.address : undefined;
  }

  /** The BARs with their sizes, for whoever plays firmware. */
  barList(): readonly { readonly index: number; readonly bar: PciBar; readonly sizeBytes: number }[] {
    return this.bars.flatMap((mapped, index) =>
      mapped ? [{ index, bar: mapped.bar, sizeBytes: mapped.sizeBytes }] : [],
    );
  }

  sendMsi(addressLow: number, addressHigh: number, data: number): void {
    if (this.busMaster) this.bus?.sendMsi(addressLow, addressHigh, data);
  }

  reset(): void {
    this.config.set(this.initial);
    this.updateMappings();
    this.intxLevel = false;
    this.driveIntx();
  }

  readConfig(offset: number, size: number): number {
    // GUEST: offset comes from 8 bits of the address register plus the port, so offset + size is at most 256 when aligned.
    if (offset + size > CONFIG_SIZE) return 0xffffffff;
    this.onConfigRead?.(offset, size);
    return this.readConfigRaw(offset, size);
  }

  /** What stands in configuration space, without effects. */
  readConfigRaw(offset: number, size: number): number {
    if (size === 4) return this.view.getUint32(offset, true);
    return size === 2 ? this.view.getUint16(offset, true) : this.view.getUint8(offset);
  }

  writeConfig(offset: number, size: number, value: number): void {
    // GUEST: as in readConfig.
    if (offset + size > CONFIG_SIZE) return;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const byte = (value >>> (8 * i)) & 0xff;
      const writable = this.writable[at] ?? 0;
      const old = this.config[at] ?? 0;
      this.config[at] = ((old & ~writable) | (byte & writable)) & ~(byte & (this.clearedByOnes[at] ?? 0));
    }
    const end = offset + size;
    if (offset < PCI_BAR0 + 24 && end > PCI_COMMAND) {
      this.updateMappings();
      this.driveIntx();
    }
    this.onConfigWrite?.(offset, size);
  }

  /** Sets bytes whatever the guest may write: for registers that the device changes itself. */
  setConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < size; i++) this.config[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  save(): SavedState {
    return { kind: 'pci-config', version: 1, fields: { config: this.config.slice(), intx: this.intxLevel } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, 'pci-config', 1);
    this.config.set(reader.bytes('config', CONFIG_SIZE));
    this.intxLevel = reader.bool('intx');
    this.updateMappings();
    this.driveIntx();
    this.onConfigWrite?.(0, CONFIG_SIZE);
  }

  private setIntx(level: boolean): void {
    this.intxLevel = level;
    this.driveIntx();
  }

  private driveIntx(): void {
    const status = this.view.getUint16(PCI_STATUS, true);
    this.view.setUint16(PCI_STATUS, this.intxLevel ? status | STATUS_INTERRUPT : status & ~STATUS_INTERRUPT, true);
    const driven = this.intxLevel && (this.command & COMMAND_INTX_DISABLE) === 0;
    if (driven === this.intxDriven) return;
    this.intxDriven = driven;
    this.bus?.setIntx(driven);
  }

  private updateMappings(): void {
    const { command } = this;
    this.bars.forEach((mapped, index) => {
      if (!mapped) return;
      const { bar, sizeBytes } = mapped;
      const address = this.programmedAddress(index, mapped);
      const on = (command & (bar.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY)) !== 0 && address !== undefined;
      if (mapped.mapping && on && mapped.address === address) return;
      mapped.mapping?.dispose();
      mapped.mapping = undefined;
      if (!on || !this.bus) return;
      mapped.address = address;
      if (bar.kind === 'memory') mapped.mapping = this.bus.mapMemory(bar.region, address);
      else if (address + sizeBytes <= 0x10000) mapped.mapping = this.bus.mapPorts(this.identity.name, address, bar);
    });
  }

  /** The address in a BAR; undefined for 0 and for the all-ones of a size probe. */
  private programmedAddress(index: number, { bar, sizeBytes }: MappedBar): number | undefined {
    const offset = PCI_BAR0 + index * 4;
    const low = (this.view.getUint32(offset, true) & (bar.kind === 'io' ? ~0x3 : ~0xf)) >>> 0;
    const high = bar.kind === 'memory' && bar.is64 ? this.view.getUint32(offset + 4, true) : 0;
    const address = high * 0x1_0000_0000 + low;
    const limit = bar.kind === 'io' ? 0x10000 : bar.is64 ? 2 ** 48 : 0x1_0000_0000;
    // GUEST: any value may be written; what ends above the limit, as a size probe does, is not decoded.
    return address === 0 || address + sizeBytes >= limit ? undefined : address;
  }
}
