/** Carries bytes between a machine's serial port and a character backend of the host. */
import type { QueuedChardev } from '../../chardev/chardev.ts';
import type { MachineSerialPort } from './machine-door.ts';

/** Most that is handed to the guest's port at once. */
const CHUNK_BYTES = 4096;

/** Resolves when the port's output has ended and the backend has taken all of it. */
export function pumpSerial(port: MachineSerialPort, backend: QueuedChardev): Promise<void> {
  const writer = port.writable.getWriter();
  let busy = false;
  let room: (() => void) | undefined;
  backend.attach({
    canReceive: () => (busy ? 0 : CHUNK_BYTES),
    receive(bytes) {
      busy = true;
      void writer
        .write(bytes.slice())
        .catch(() => {}) // The port is gone with its machine.
        .finally(() => {
          busy = false;
          backend.acceptInput();
        });
    },
    writable: () => room?.(),
  });
  return copyOut(port, backend, (wake) => {
    room = wake;
  });
}

async function copyOut(
  port: MachineSerialPort,
  backend: QueuedChardev,
  onRoom: (wake: (() => void) | undefined) => void,
): Promise<void> {
  const reader = port.readable.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (let rest = value; rest.length > 0;) {
      const taken = backend.write(rest);
      rest = rest.subarray(taken);
      if (rest.length > 0) await new Promise<void>((resolve) => onRoom(resolve));
    }
    onRoom(undefined);
  }
}
