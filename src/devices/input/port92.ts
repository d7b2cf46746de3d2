/** System control port A (0x92) of the PS/2: fast A20 gate and fast CPU reset. */
import { type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';

const FAST_RESET = 0x01;
const A20 = 0x02;

export class Port92 implements Device {
  readonly kind: string = 'port92';
  private value: number = A20;
  private readonly onA20: (enabled: boolean) => void;
  private readonly onReset: () => void;

  constructor(onA20: (enabled: boolean) => void, onReset: () => void) {
    this.onA20 = onA20;
    this.onReset = onReset;
  }

  reset(): void {
    this.value = A20;
  }

  read(): number {
    return this.value;
  }

  write(_offset: number, _size: number, value: number): void {
    const resets = (value & FAST_RESET) !== 0 && (this.value & FAST_RESET) === 0;
    this.value = value;
    this.onA20((value & A20) !== 0);
    if (resets) this.onReset();
  }

  save(): SavedState {
    return { kind: this.kind, version: 1, fields: { value: this.value } };
  }

  load(state: SavedState): void {
    this.value = new StateReader(state, this.kind, 1).u8('value');
  }
}
