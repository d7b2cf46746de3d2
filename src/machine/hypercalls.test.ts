import { describe, expect, it } from 'vitest';
import { ApicBus, type ApicMessage, BROADCAST } from '../devices/irq/apic-bus.ts';
import { hypercall, KVM_ENOSYS } from './hypercalls.ts';

function makeBus(ids: readonly number[]): { bus: ApicBus; got: string[] } {
  const bus = new ApicBus();
  const got: string[] = [];
  for (const id of ids) {
    bus.addAgent({
      matches: ({ destination }: ApicMessage) => destination === id || destination === BROADCAST,
      accept: (message: ApicMessage) => {
        got.push(`${id}:${message.vector.toString(16)}`);
        return true;
      },
      processorPriority: 0,
      softwareEnabled: true,
    });
  }
  return { bus, got };
}

describe('hypercalls', () => {
  it('send interprocessor interrupts to the APICs of a bitmap and tell how many', () => {
    const { bus, got } = makeBus([0, 2, 33, 70]);
    const args = Uint32Array.of(0b101, 0b10, 1 << 6, 0, 0, 0, 0x40, 0);
    expect(hypercall(10, args, bus, true)).toBe(4);
    expect(got).toEqual(['0:40', '2:40', '33:40', '70:40']);
  });

  it('have bitmaps of 32 bits outside long mode, and start at the APIC that the caller names', () => {
    const { bus, got } = makeBus([5, 37]);
    expect(hypercall(10, Uint32Array.of(1, 0, 1, 0, 5, 0, 0x51, 0), bus, false)).toBe(2);
    expect(got).toEqual(['5:51', '37:51']);
    expect(hypercall(10, Uint32Array.of(0xffffffff, 0, 0, 0, 0xffffffff, 0, 0, 0), bus, true)).toBe(0);
  });

  it('answer ENOSYS for what is not there', () => {
    expect(hypercall(0xffffffff, new Uint32Array(8), makeBus([]).bus, true)).toBe(-KVM_ENOSYS);
  });
});
