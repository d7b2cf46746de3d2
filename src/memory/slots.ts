/**
 * Memory slots: the RAM and ROM of a flat view, in the form an accelerator takes (KVM_SET_USER_MEMORY_REGION's). Slots
 * are whole pages; the odd ends of a range that is not stay with the dispatcher, which is slower and just as right.
 */
import { alignDown, alignUp } from '../base/bits.ts';
import type { FlatRange } from './flat-view.ts';

export const PAGE_SIZE = 4096;

export interface MemorySlot {
  readonly slot: number;
  readonly guestPhysical: number;
  /** 0 deletes the slot. */
  readonly sizeBytes: number;
  /** Where the first byte lies in the machine's WebAssembly.Memory. */
  readonly hostOffset: number;
  /** Writes leave the guest as device accesses. */
  readonly readonly: boolean;
  readonly logDirty: boolean;
}

export interface MemorySlotListener {
  setMemoryRegion(slot: MemorySlot): void;
}

type Wanted = Omit<MemorySlot, 'slot'>;

/** Keeps a listener's slots equal to the flat view with as few changes as possible. */
export class SlotTable {
  private readonly slots: (Wanted | undefined)[];
  private readonly listener: MemorySlotListener;

  constructor(listener: MemorySlotListener, slotCount: number) {
    this.listener = listener;
    this.slots = Array.from({ length: slotCount }, () => undefined);
  }

  update(ranges: readonly FlatRange[]): void {
    const wanted = ranges.flatMap(slotOf);
    const missing = wanted.filter((want) => !this.slots.some((have) => have && sameSlot(have, want)));
    // Deletions first: no two slots may overlap at any time.
    this.slots.forEach((have, slot) => {
      if (!have || wanted.some((want) => sameSlot(have, want))) return;
      this.slots[slot] = undefined;
      this.listener.setMemoryRegion({ ...have, slot, sizeBytes: 0 });
    });
    // GUEST: what the guest maps can ask for more slots than there are; the rest is served by the dispatcher.
    for (const want of missing) {
      const slot = this.slots.indexOf(undefined);
      if (slot < 0) return;
      this.slots[slot] = want;
      this.listener.setMemoryRegion({ ...want, slot });
    }
  }
}

function slotOf(range: FlatRange): Wanted[] {
  const { region } = range;
  if (region.kind !== 'ram' && region.kind !== 'rom') return [];
  const guestPhysical = alignUp(range.start, PAGE_SIZE);
  const end = alignDown(range.end, PAGE_SIZE);
  const hostOffset = region.hostOffset + range.offset + (guestPhysical - range.start);
  if (end <= guestPhysical || hostOffset % PAGE_SIZE !== 0) return [];
  return [
    { guestPhysical, sizeBytes: end - guestPhysical, hostOffset, readonly: range.readonly, logDirty: region.logDirty },
  ];
}

function sameSlot(a: Wanted, b: Wanted): boolean {
  return (
    a.guestPhysical === b.guestPhysical &&
    a.sizeBytes === b.sizeBytes &&
    a.hostOffset === b.hostOffset &&
    a.readonly === b.readonly &&
    a.logDirty === b.logDirty
  );
}
