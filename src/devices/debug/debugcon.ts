/** isa-debugcon: a port whose writes go to a character device (firmware logs to 0x402, Bochs to 0xE9). */
import type { CharBackend } from '../../chardev/chardev.ts';
import type { SavedState } from '../../state/state.ts';
import type { DeviceKind } from '../device-kind.ts';
import type { Device } from '../device.ts';

export class Debugcon implements Device {
  readonly kind: string = 'isa-debugcon';
  private readonly backend: CharBackend;
  private readonly readback: number;

  constructor(backend: CharBackend, readback: number) {
    this.backend = backend;
    this.readback = readback;
  }

  reset(): void {}

  /** Software recognises the port by what it reads. */
  read(): number {
    return this.readback;
  }

  write(_offset: number, _size: number, value: number): void {
    this.backend.write(Uint8Array.of(value));
  }

  save(): SavedState {
    return { kind: this.kind, version: 1, fields: {} };
  }

  load(): void {}
}

export const DEBUGCON: DeviceKind = {
  name: 'isa-debugcon',
  description: 'a port that prints',
  properties: {
    iobase: { type: 'uint16', description: 'the port', default: 0xe9 },
    readback: { type: 'uint32', description: 'what the port reads', default: 0xe9 },
    chardev: { type: 'string', description: 'ID of the backend', default: '' },
  },
  create(sockets, { iobase, readback, chardev }) {
    const device = new Debugcon(sockets.chardev(String(chardev)), Number(readback) & 0xff);
    sockets.ports.register({ name: 'isa-debugcon', first: Number(iobase), count: 1 }, device);
    return device;
  },
};
