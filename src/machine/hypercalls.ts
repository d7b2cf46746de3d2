/**
 * KVM's hypercalls (Linux Documentation/virt/kvm/x86/hypercalls.rst): the number in RAX, arguments in RBX RCX RDX RSI, the result
 * in RAX. Left out: everything but interprocessor interrupts; what is left out answers ENOSYS, as the document says.
 */
import { type ApicBus, BROADCAST } from '../devices/irq/apic-bus.ts';

const KVM_HC_VAPIC_POLL_IRQ = 1;
const KVM_HC_SEND_IPI = 10;
export const KVM_ENOSYS = 1000;

const ICR_LOGICAL = 0x800;
const ICR_LEVEL = 0x8000;

/**
 * Answers a hypercall of a vCPU at CPL 0: what goes to RAX, a negated error number for errors.
 *
 * @param args the low and high 32 bits of RBX, RCX, RDX and RSI
 * @param long from 64-bit code
 */
export function hypercall(number: number, args: Uint32Array, bus: ApicBus, long: boolean): number {
  switch (number) {
    case KVM_HC_VAPIC_POLL_IRQ: // interrupts are looked at after every exit anyway
      return 0;
    case KVM_HC_SEND_IPI:
      return sendIpis(args, bus, long);
    default:
      return -KVM_ENOSYS;
  }
}

/** RBX and RCX are a bitmap, 64 bits each in long mode and 32 else, of APIC IDs from RDX on; RSI is the command register. */
function sendIpis(args: Uint32Array, bus: ApicBus, long: boolean): number {
  const [low0 = 0, high0 = 0, low1 = 0, high1 = 0, firstId = 0, , icr = 0] = args;
  const bitmap = long ? [low0, high0, low1, high1] : [low0, low1];
  let sent = 0;
  // GUEST: at most 128 destinations; IDs that no APIC has reach nobody.
  for (let bit = 0; bit < bitmap.length * 32; bit++) {
    if ((((bitmap[bit >> 5] ?? 0) >>> (bit & 31)) & 1) === 0) continue;
    const destination = firstId + bit;
    if (destination >= BROADCAST) break; // a name for all of them, which a bitmap cannot mean
    const delivered = bus.deliver({
      destination,
      logical: (icr & ICR_LOGICAL) !== 0,
      delivery: (icr >> 8) & 7,
      vector: icr & 0xff,
      levelTriggered: (icr & ICR_LEVEL) !== 0,
    });
    if (delivered) sent++;
  }
  return sent;
}
