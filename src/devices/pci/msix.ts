/**
 * MSI-X (PCI 3.0, 6.8.2): the capability, the vector table and the pending bits of a function. Table and pending bits
 * fill a BAR of their own, so that a device adds this with one line and calls `notify`.
 */
import { InternalError } from '../../base/errors.ts';
import { ByteBuilder, viewOf } from '../../base/bytes.ts';
import { MemoryRegion } from '../../memory/region.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import type { PciDevice } from './pci-device.ts';
import { CAPABILITY_MSIX } from './pci-registers.ts';

const CONTROL = 2; // offset in the capability
const CONTROL_ENABLE = 0x8000;
const CONTROL_FUNCTION_MASK = 0x4000;
const ENTRY_SIZE = 16;
const ENTRY_DATA = 8;
const ENTRY_CONTROL = 12;
const ENTRY_MASKED = 1;
/** Where the pending bits begin; the table has room for 128 vectors before them. */
const PENDING_OFFSET = 0x800;
const BAR_SIZE = 0x1000;
export const MSIX_MAX_VECTORS: number = PENDING_OFFSET / ENTRY_SIZE;

export class Msix {
  private readonly device: PciDevice;
  private readonly vectorCount: number;
  private readonly capability: number;
  private readonly table: Uint8Array;
  private readonly view: DataView;
  private readonly pending: Uint8Array = new Uint8Array(MSIX_MAX_VECTORS / 8);

  /** Adds the capability and its BAR to a function. */
  constructor(device: PciDevice, vectorCount: number, barIndex: number) {
    if (vectorCount < 1 || vectorCount > MSIX_MAX_VECTORS)
      throw new InternalError('MSI-X takes 1 to 128 vectors here.', { vectorCount });
    this.device = device;
    this.vectorCount = vectorCount;
    this.table = new Uint8Array(vectorCount * ENTRY_SIZE);
    this.view = viewOf(this.table);
    const body = new ByteBuilder()
      .u16(vectorCount - 1)
      .u32(barIndex)
      .u32(PENDING_OFFSET | barIndex)
      .build();
    const writable = new ByteBuilder()
      .u16(CONTROL_ENABLE | CONTROL_FUNCTION_MASK)
      .zeros(8)
      .build();
    this.capability = device.addCapability(CAPABILITY_MSIX, body, writable);
    device.addBar(barIndex, {
      kind: 'memory',
      region: MemoryRegion.mmio(`${device.identity.name}-msix`, BAR_SIZE, this),
    });
    this.reset();
  }

  reset(): void {
    this.table.fill(0);
    this.pending.fill(0);
    for (let vector = 0; vector < this.vectorCount; vector++)
      this.view.setUint32(vector * ENTRY_SIZE + ENTRY_CONTROL, ENTRY_MASKED, true);
  }

  /** Whether the guest uses MSI-X; INTx is then silent. */
  get enabled(): boolean {
    return (this.control & CONTROL_ENABLE) !== 0;
  }

  /** Sends a vector's message, or keeps it until it is unmasked. Vectors that do not exist are ignored. */
  notify(vector: number): void {
    // GUEST: which vector belongs to what is the guest's choice.
    if (!this.enabled || vector >= this.vectorCount) return;
    if (this.masked(vector)) this.setPending(vector, true);
    else this.send(vector);
  }

  /** To be called after writes to configuration space: unmasking the function sends what waited. */
  configChanged(): void {
    this.sendPending();
  }

  read(offset: number, size: number): number {
    const bytes = offset < this.table.length ? this.table : this.pending;
    const at = offset < this.table.length ? offset : offset - PENDING_OFFSET;
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[at + i] ?? 0);
    return value;
  }

  write(offset: number, size: number, value: number): void {
    // GUEST: the table takes whole doublewords (or two at once, which arrive so); the pending bits are read only.
    if (size !== 4 || offset + 4 > this.table.length || offset % 4 !== 0) return;
    this.view.setUint32(offset, value, true);
    if (offset % ENTRY_SIZE === ENTRY_CONTROL) this.sendPending();
  }

  save(): SavedState {
    return { kind: 'msix', version: 1, fields: { table: this.table.slice(), pending: this.pending.slice() } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, 'msix', 1);
    this.table.set(reader.bytes('table', this.table.length));
    this.pending.set(reader.bytes('pending', this.pending.length));
  }

  private get control(): number {
    return this.device.readConfig(this.capability + CONTROL, 2);
  }

  private masked(vector: number): boolean {
    if (this.control & CONTROL_FUNCTION_MASK) return true;
    return (this.view.getUint32(vector * ENTRY_SIZE + ENTRY_CONTROL, true) & ENTRY_MASKED) !== 0;
  }

  private send(vector: number): void {
    const at = vector * ENTRY_SIZE;
    this.device.sendMsi(
      this.view.getUint32(at, true),
      this.view.getUint32(at + 4, true),
      this.view.getUint32(at + ENTRY_DATA, true),
    );
  }

  private sendPending(): void {
    if (!this.enabled) return;
    for (let vector = 0; vector < this.vectorCount; vector++) {
      if (((this.pending[vector >> 3] ?? 0) >> (vector & 7)) & 1 && !this.masked(vector)) {
        this.setPending(vector, false);
        this.send(vector);
      }
    }
  }

  private setPending(vector: number, value: boolean): void {
    const old = this.pending[vector >> 3] ?? 0;
    this.pending[vector >> 3] = value ? old | (1 << (vector & 7)) : old & ~(1 << (vector & 7));
  }
}
