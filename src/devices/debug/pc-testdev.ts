/**
 * pc-testdev, the device that kvm-unit-tests' x86 tests drive: interrupt lines at ports 0x2000–0x2017, an echo port at
 * 0xE0, a port at 0xE8 that keeps what is written, a flush port at 0xE4, and 64 KiB of device memory at 0xFF000000.
 */
import { MemoryRegion } from '../../memory/region.ts';
import { replaceBytes } from '../../base/bits.ts';
import { viewOf } from '../../base/bytes.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import type { DeviceKind } from '../device-kind.ts';
import type { Device } from '../device.ts';

const ECHO_PORT = 0xe0;
const FLUSH_PORT = 0xe4;
const BYTE_PORT = 0xe8;
const IRQ_PORTS = 0x2000;
const IRQ_COUNT = 24;
const MEMORY_ADDRESS = 0xff000000;
const MEMORY_SIZE = 0x10000;

export class PcTestdev implements Device {
  readonly kind: string = 'pc-testdev';
  /** The 32 bits that the ports at 0xE0 and 0xE8 share: all widths read back what was written. */
  private echo: number = 0;
  private readonly memory: Uint8Array = new Uint8Array(MEMORY_SIZE);

  reset(): void {
    this.echo = 0;
    this.memory.fill(0);
  }

  readEcho(offset: number, size: number): number {
    const value = this.echo >>> (offset * 8);
    return size === 4 ? value : value & ((1 << (size * 8)) - 1);
  }

  writeEcho(offset: number, size: number, value: number): void {
    this.echo = replaceBytes(this.echo, offset, size, value);
  }

  readMemory(offset: number, size: number): number {
    // GUEST: offsets are inside the region and accesses crossing its end arrive bytewise.
    const view = viewOf(this.memory);
    return size === 4
      ? view.getUint32(offset, true)
      : size === 2
        ? view.getUint16(offset, true)
        : view.getUint8(offset);
  }

  writeMemory(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.memory[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  save(): SavedState {
    return { kind: this.kind, version: 1, fields: { echo: this.echo, memory: this.memory.slice() } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.echo = reader.u32('echo');
    this.memory.set(reader.bytes('memory', MEMORY_SIZE));
  }
}

export const PC_TESTDEV: DeviceKind = {
  name: 'pc-testdev',
  description: 'ports and memory that test suites drive',
  properties: {},
  create(sockets) {
    const { ports, space } = sockets;
    const device = new PcTestdev();
    const lines = Array.from({ length: IRQ_COUNT }, (_, i) => sockets.gsi(i));
    const echo = {
      read: (offset: number, size: number): number => device.readEcho(offset, size),
      write: (offset: number, size: number, value: number): void => device.writeEcho(offset, size, value),
    };
    ports.register({ name: 'testdev-echo', first: ECHO_PORT, count: 4, sizes: [1, 2, 4] }, echo);
    ports.register({ name: 'testdev-echo-byte', first: BYTE_PORT, count: 4, sizes: [1, 2, 4] }, echo);
    // The page whose address is written would leave the host's page tables; here memory is always mapped.
    ports.register(
      { name: 'testdev-flush', first: FLUSH_PORT, count: 4, sizes: [1, 2, 4] },
      { read: () => 0, write: () => {} },
    );
    ports.register(
      { name: 'testdev-irq', first: IRQ_PORTS, count: IRQ_COUNT, sizes: [1, 2, 4] },
      { read: () => 0, write: (offset, _size, value) => lines[offset]?.set(value !== 0) },
    );
    space.root.add(
      MemoryRegion.mmio('testdev-memory', MEMORY_SIZE, {
        read: (o, s) => device.readMemory(o, s),
        write: (o, s, v) => device.writeMemory(o, s, v),
      }),
      MEMORY_ADDRESS,
      1,
    );
    return device;
  },
};
