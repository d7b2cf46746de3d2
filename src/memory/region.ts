/**
 * Memory regions: the tree a board builds its guest physical address space from. A leaf is RAM, ROM or a device; a
 * container holds other regions at offsets; an alias shows a part of another region elsewhere. Where regions overlap
 * the higher priority wins, and among equals the one added last.
 */
import { InternalError } from '../base/errors.ts';
import { type Disposable, toDisposable } from '../base/events.ts';

/**
 * A device's registers in memory. Offsets count from the region's first byte; sizes are 1, 2 or 4 (an access of 8
 * bytes arrives as two of 4, the lower first). Neither function may throw: what the guest does wrong is answered as
 * the hardware would.
 */
export interface MmioHandler {
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

interface Placement {
  readonly region: MemoryRegion;
  readonly offset: number;
  readonly priority: number;
}

export type RegionKind = 'container' | 'ram' | 'rom' | 'mmio' | 'alias';

export class MemoryRegion {
  readonly name: string;
  readonly kind: RegionKind;
  readonly sizeBytes: number;
  /** RAM and ROM: where in the machine's WebAssembly.Memory the first byte lies. */
  readonly hostOffset: number;
  /** A device's registers; for ROM, what sees the writes (flash). */
  readonly handler: MmioHandler | undefined;
  /** Alias: what it shows, and from where in it. */
  readonly target: MemoryRegion | undefined;
  readonly targetOffset: number;
  readonly readonly: boolean;

  private enabled_: boolean = true;
  private logDirty_: boolean = false;
  private placements_: readonly Placement[] = [];
  private readonly observers = new Set<() => void>();

  private constructor(kind: RegionKind, name: string, sizeBytes: number, extra: RegionExtra = {}) {
    if (!(sizeBytes > 0)) throw new InternalError('A memory region needs a size.', { name, sizeBytes });
    this.kind = kind;
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.hostOffset = extra.hostOffset ?? 0;
    this.handler = extra.handler;
    this.target = extra.target;
    this.targetOffset = extra.targetOffset ?? 0;
    this.readonly = extra.readonly ?? kind === 'rom';
    this.target?.observe(() => this.changed());
  }

  static container(name: string, sizeBytes: number): MemoryRegion {
    return new MemoryRegion('container', name, sizeBytes);
  }

  static ram(name: string, sizeBytes: number, hostOffset: number): MemoryRegion {
    return new MemoryRegion('ram', name, sizeBytes, { hostOffset });
  }

  /** @param onWrite sees the guest's writes, which change nothing by themselves */
  static rom(name: string, sizeBytes: number, hostOffset: number, onWrite?: MmioHandler): MemoryRegion {
    return new MemoryRegion('rom', name, sizeBytes, { hostOffset, ...(onWrite ? { handler: onWrite } : {}) });
  }

  static mmio(name: string, sizeBytes: number, handler: MmioHandler): MemoryRegion {
    return new MemoryRegion('mmio', name, sizeBytes, { handler });
  }

  /** @param readonly makes RAM seen through the alias read only */
  static alias(
    name: string,
    target: MemoryRegion,
    targetOffset: number,
    sizeBytes: number,
    readonly: boolean = false,
  ): MemoryRegion {
    return new MemoryRegion('alias', name, sizeBytes, { target, targetOffset, readonly });
  }

  get enabled(): boolean {
    return this.enabled_;
  }

  /** A disabled region is as if it had never been added. */
  setEnabled(enabled: boolean): void {
    if (this.enabled_ === enabled) return;
    this.enabled_ = enabled;
    this.changed();
  }

  get logDirty(): boolean {
    return this.logDirty_;
  }

  /** Asks the accelerator to keep a bitmap of written pages (video memory, migration). */
  setLogDirty(logDirty: boolean): void {
    if (this.logDirty_ === logDirty) return;
    this.logDirty_ = logDirty;
    this.changed();
  }

  /** What a container holds, the winner of an overlap first. */
  get placements(): readonly Placement[] {
    return this.placements_;
  }

  /** Puts a region into this container; disposing takes it out. */
  add(region: MemoryRegion, offset: number, priority: number = 0): Disposable {
    if (this.kind !== 'container') throw new InternalError('Only a container holds regions.', { name: this.name });
    const placement: Placement = { region, offset, priority };
    this.placements_ = [placement, ...this.placements_].sort((a, b) => b.priority - a.priority);
    const observation = region.observe(() => this.changed());
    this.changed();
    return toDisposable(() => {
      observation.dispose();
      this.placements_ = this.placements_.filter((entry) => entry !== placement);
      this.changed();
    });
  }

  /** Calls `onChange` whenever this region or anything in it changes place, state or size. */
  observe(onChange: () => void): Disposable {
    this.observers.add(onChange);
    return toDisposable(() => this.observers.delete(onChange));
  }

  private changed(): void {
    for (const observer of this.observers) observer();
  }
}

interface RegionExtra {
  readonly hostOffset?: number;
  readonly handler?: MmioHandler;
  readonly target?: MemoryRegion;
  readonly targetOffset?: number;
  readonly readonly?: boolean;
}
