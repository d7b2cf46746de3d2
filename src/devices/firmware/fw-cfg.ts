/**
 * The firmware configuration device (its published specification, fw_cfg): items by number and files by name, read
 * through a selector and data port, or by DMA.
 */
import type { DmaMemory } from '../../memory/address-space.ts';
import { type Disposable, DisposableStore } from '../../base/events.ts';
import { asciiBytes, viewOf } from '../../base/bytes.ts';
import { InternalError } from '../../base/errors.ts';
import type { PortSpace } from '../../memory/port-space.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints, type Tracer } from '../../trace/trace.ts';
import type { Device } from '../device.ts';

const EVENTS = defineEvents({
  fw_cfg_select: ['key', 'found'],
  fw_cfg_dma: ['address', 'control', 'length'],
});

const KEY_SIGNATURE = 0x00;
const KEY_ID = 0x01;
export const FW_CFG_RAM_SIZE = 0x03;
export const FW_CFG_CPU_COUNT = 0x05;
export const FW_CFG_MAX_CPUS = 0x0f;
const KEY_FILE_DIRECTORY = 0x19;
const KEY_FIRST_FILE = 0x20;
const KEY_MASK = 0xbfff; // bit 14 meant "for writing"

const ID_TRADITIONAL = 1;
const ID_DMA = 2;

const PORT_SELECT = 0x510;
const PORT_DMA = 0x514;
const DMA_SIGNATURE = [0x51454d55, 0x20434647] as const; // "QEMU CFG", read big-endian
const DMA_ERROR = 1;
const DMA_READ = 2;
const DMA_SKIP = 4;
const DMA_SELECT = 8;
const DMA_WRITE = 16;
/** GUEST: a transfer may claim 4 GiB; zeros past an item's end are written this many bytes at a time. */
const DMA_CHUNK = 65536;
const FILE_NAME_SIZE = 56;

interface File {
  readonly name: string;
  readonly key: number;
}

export class FwCfg implements Device {
  readonly kind: string = 'fw-cfg';
  private readonly items = new Map<number, Uint8Array>();
  private readonly files: File[] = [];
  private selected: number = 0;
  private position: number = 0;
  private dmaHigh: number = 0;
  private readonly memory: DmaMemory;
  private readonly trace: TracePoints<typeof EVENTS>;

  constructor(options: { readonly tracer: Tracer; readonly memory: DmaMemory }) {
    this.memory = options.memory;
    this.trace = options.tracer.attach(EVENTS);
    this.items.set(KEY_SIGNATURE, asciiBytes('QEMU'));
    this.addNumber(KEY_ID, ID_TRADITIONAL | ID_DMA, 4);
    this.updateDirectory();
  }

  /** Sets an item by its number. */
  addItem(key: number, bytes: Uint8Array): void {
    this.items.set(key, bytes);
  }

  /** Sets an item to a little-endian number. */
  addNumber(key: number, value: number, sizeBytes: number): void {
    this.items.set(
      key,
      Uint8Array.from({ length: sizeBytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff),
    );
  }

  /** Adds a file, or replaces the one of that name. */
  addFile(name: string, bytes: Uint8Array): void {
    if (name.length >= FILE_NAME_SIZE) throw new InternalError('A fw_cfg file name is too long.', { name });
    let file = this.files.find((entry) => entry.name === name);
    if (!file) {
      file = { name, key: KEY_FIRST_FILE + this.files.length };
      this.files.push(file);
    }
    this.items.set(file.key, bytes);
    this.updateDirectory();
  }

  attach(ports: PortSpace): Disposable {
    const registrations = new DisposableStore();
    registrations.add(
      ports.register(
        { name: 'fw-cfg-select', first: PORT_SELECT, count: 2, sizes: [2] },
        { read: () => 0, write: (_o, _s, value) => this.select(value) },
      ),
    );
    registrations.add(
      ports.register(
        { name: 'fw-cfg-data', first: PORT_SELECT + 1, count: 1 },
        { read: () => this.readByte(), write: () => {} },
      ),
    );
    registrations.add(
      ports.register(
        { name: 'fw-cfg-dma', first: PORT_DMA, count: 8, sizes: [4] },
        {
          read: (offset) => swap32(DMA_SIGNATURE[offset === 0 ? 0 : 1]),
          write: (offset, _size, value) => this.writeDmaAddress(offset, value),
        },
      ),
    );
    return registrations;
  }

  reset(): void {
    this.select(0);
    this.dmaHigh = 0;
  }

  save(): SavedState {
    const { selected, position, dmaHigh } = this;
    return { kind: this.kind, version: 1, fields: { selected, position, dmaHigh } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.selected = reader.u16('selected');
    this.position = reader.u32('position');
    this.dmaHigh = reader.u32('dmaHigh');
  }

  private select(key: number): void {
    this.selected = key & KEY_MASK;
    this.position = 0;
    if (this.trace.fw_cfg_select.on) this.trace.fw_cfg_select.emit(key, this.items.has(this.selected));
  }

  /** The next byte; zeros past the end and for items that do not exist. */
  private readByte(): number {
    const value = this.items.get(this.selected)?.[this.position] ?? 0;
    this.position = Math.min(this.position + 1, 0xffffffff);
    return value;
  }

  private writeDmaAddress(offset: number, value: number): void {
    if (offset === 0) this.dmaHigh = swap32(value);
    else if (offset === 4) {
      this.transfer(this.dmaHigh * 0x1_0000_0000 + swap32(value));
      this.dmaHigh = 0;
    }
  }

  private transfer(address: number): void {
    const request = new Uint8Array(16);
    // GUEST: the address is any 64-bit number; beyond the physical address space there is nothing to read.
    if (address > Number.MAX_SAFE_INTEGER) return;
    this.memory.readBytes(address, request);
    const view = viewOf(request);
    const control = view.getUint32(0, false);
    const length = view.getUint32(4, false);
    const target = view.getUint32(8, false) * 0x1_0000_0000 + view.getUint32(12, false);
    if (this.trace.fw_cfg_dma.on) this.trace.fw_cfg_dma.emit(address, control, length);
    if (control & DMA_SELECT) this.select(control >>> 16);
    let result = 0;
    if (control & DMA_READ) this.copyOut(target, length);
    else if (control & DMA_WRITE)
      result = DMA_ERROR; // no item here is writable
    else if (control & DMA_SKIP) this.position = Math.min(this.position + length, 0xffffffff);
    view.setUint32(0, result, false);
    this.memory.writeBytes(address, request.subarray(0, 4));
  }

  private copyOut(target: number, length: number): void {
    const item = this.items.get(this.selected) ?? new Uint8Array(0);
    for (let done = 0; done < length;) {
      const chunk = new Uint8Array(Math.min(DMA_CHUNK, length - done));
      chunk.set(item.subarray(this.position, this.position + chunk.length));
      // GUEST: what ends above the physical address space goes nowhere.
      if (target + done + chunk.length > Number.MAX_SAFE_INTEGER) return;
      this.memory.writeBytes(target + done, chunk);
      this.position = Math.min(this.position + chunk.length, 0xffffffff);
      done += chunk.length;
    }
  }

  private updateDirectory(): void {
    const directory = new Uint8Array(4 + this.files.length * 64);
    const view = viewOf(directory);
    view.setUint32(0, this.files.length, false);
    this.files.forEach(({ name, key }, i) => {
      const at = 4 + i * 64;
      view.setUint32(at, this.items.get(key)?.length ?? 0, false);
      view.setUint16(at + 4, key, false);
      directory.set(asciiBytes(name), at + 8);
    });
    this.items.set(KEY_FILE_DIRECTORY, directory);
  }
}

function swap32(value: number): number {
  return (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}
