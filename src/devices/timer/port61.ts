/** Port 0x61, what the PC kept of the 8255: counter 2's gate, the speaker, the refresh toggle and counter 2's output. */
import type { Clock } from '../../base/clock.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import type { I8254 } from './i8254.ts';

const GATE2 = 0x01;
const SPEAKER = 0x02;
const NMI_MASKS = 0x0c; // parity and channel check disable: writable, nothing behind them
const REFRESH = 0x10; // toggles at each memory refresh
const OUT2 = 0x20;
const REFRESH_NS = 15_085;

export class Port61 implements Device {
  readonly kind: string = 'port61';
  private value: number = 0;
  private readonly pit: I8254;
  private readonly clock: Clock;

  constructor(clock: Clock, pit: I8254) {
    this.clock = clock;
    this.pit = pit;
  }

  /** Whether the speaker hears counter 2. */
  get speakerOn(): boolean {
    return (this.value & SPEAKER) !== 0;
  }

  reset(): void {
    this.value = 0;
    this.pit.setGate(2, false);
  }

  read(): number {
    const refresh = Math.floor(this.clock.now() / REFRESH_NS) & 1 ? REFRESH : 0;
    return this.value | refresh | (this.pit.output(2) ? OUT2 : 0);
  }

  write(_offset: number, _size: number, value: number): void {
    this.value = value & (GATE2 | SPEAKER | NMI_MASKS);
    this.pit.setGate(2, (value & GATE2) !== 0);
  }

  save(): SavedState {
    return { kind: this.kind, version: 1, fields: { value: this.value } };
  }

  load(state: SavedState): void {
    this.value = new StateReader(state, this.kind, 1).u8('value') & (GATE2 | SPEAKER | NMI_MASKS);
  }
}
