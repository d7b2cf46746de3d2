/** isa-debug-exit: a write of v ends the machine with the exit status (v << 1) | 1. Test suites report through it. */
import type { SavedState } from '../../state/state.ts';
import type { DeviceKind } from '../device-kind.ts';
import type { Device } from '../device.ts';

export class IsaDebugExit implements Device {
  readonly kind: string = 'isa-debug-exit';
  private readonly onExit: (status: number) => void;

  constructor(onExit: (status: number) => void) {
    this.onExit = onExit;
  }

  reset(): void {}

  read(): number {
    return 0;
  }

  write(_offset: number, _size: number, value: number): void {
    this.onExit(((value << 1) | 1) & 0xff);
  }

  save(): SavedState {
    return { kind: this.kind, version: 1, fields: {} };
  }

  load(): void {}
}

export const ISA_DEBUG_EXIT: DeviceKind = {
  name: 'isa-debug-exit',
  description: 'ends the machine with an exit status that the guest writes',
  properties: {
    iobase: { type: 'uint16', description: 'first port', default: 0x501 },
    iosize: { type: 'uint8', description: 'number of ports', default: 2 },
  },
  create(sockets, { iobase, iosize }) {
    const device = new IsaDebugExit((status) => sockets.debugExit(status));
    sockets.ports.register(
      { name: 'isa-debug-exit', first: Number(iobase), count: Number(iosize), sizes: [1, 2, 4] },
      device,
    );
    return device;
  },
};
