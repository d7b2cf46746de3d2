/**
 * Interrupt vectors as a BIOS leaves them, for programs that begin in real-address mode without one: the timer interrupt counts
 * ticks, the other hardware interrupts are acknowledged, everything else returns. There are no BIOS services behind them.
 *
 * Entry points where compatible BIOSes have them: INT 8 at F000:FEA5, the dummy return at F000:FF53.
 */
import { ByteBuilder } from '../../base/bytes.ts';
import type { MemoryWrite } from './boot-image.ts';

/** Vectors of IRQ 0 and IRQ 8. */
export const MASTER_VECTOR = 0x08;
export const SLAVE_VECTOR = 0x70;

const SEGMENT = 0xf000;
const TIMER_HANDLER = 0xfea5;
const MASTER_HANDLER = 0xfe70;
const SLAVE_HANDLER = 0xfe80;
const RETURN = 0xff53;
const VECTORS = 256;

// push ax; push ds; mov ax, 40h; mov ds, ax; inc dword [6Ch]; mov al, 20h; out 20h, al; pop ds; pop ax; iret
const TIMER_CODE = [
  0x50, 0x1e, 0xb8, 0x40, 0x00, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x6c, 0x00, 0xb0, 0x20, 0xe6, 0x20, 0x1f, 0x58, 0xcf,
];
// push ax; mov al, 20h; out 20h, al; pop ax; iret
const MASTER_CODE = [0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf];
// push ax; mov al, 20h; out A0h, al; out 20h, al; pop ax; iret
const SLAVE_CODE = [0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf];
const RETURN_CODE = [0xcf];

function handlerOf(vector: number): number {
  if (vector === MASTER_VECTOR) return TIMER_HANDLER;
  if (vector > MASTER_VECTOR && vector < MASTER_VECTOR + 8) return MASTER_HANDLER;
  if (vector >= SLAVE_VECTOR && vector < SLAVE_VECTOR + 8) return SLAVE_HANDLER;
  return RETURN;
}

/** The vector table at 0 and the handlers at the top of the first MiB. */
export function biosVectors(): MemoryWrite[] {
  const table = new ByteBuilder();
  for (let vector = 0; vector < VECTORS; vector++) table.u16(handlerOf(vector)).u16(SEGMENT);
  const code = (offset: number, bytes: readonly number[]): MemoryWrite => ({
    guestPhysical: SEGMENT * 16 + offset,
    bytes: Uint8Array.from(bytes),
  });
  return [
    { guestPhysical: 0, bytes: table.build() },
    code(TIMER_HANDLER, TIMER_CODE),
    code(MASTER_HANDLER, MASTER_CODE),
    code(SLAVE_HANDLER, SLAVE_CODE),
    code(RETURN, RETURN_CODE),
  ];
}
