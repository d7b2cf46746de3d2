/** MSRs of the board that only a processor with the feature has: without it they are #GP, as CPUID promises. */
import { MSR_APIC_BASE, MSR_TSC_DEADLINE } from '../devices/irq/lapic-registers.ts';
import type { PcVcpuBus } from './pc.ts';

/** IA32_APIC_BASE.EXTD: x2APIC mode. */
const APIC_BASE_EXTD = 0x400;
const KVM_WALL_CLOCK = 0x4b564d00;
const KVM_SYSTEM_TIME = 0x4b564d01;

type MsrPorts = Pick<PcVcpuBus, 'readMsr' | 'writeMsr'>;

/** The MSRs of `bus` as far as the processor has the features that bring them. */
export function featuredMsrs(bus: MsrPorts, cpu: { has(feature: string): boolean }): MsrPorts {
  const present = (msr: number): boolean => {
    if (msr === MSR_TSC_DEADLINE) return cpu.has('tsc-deadline');
    if (msr === KVM_WALL_CLOCK || msr === KVM_SYSTEM_TIME) return cpu.has('kvmclock');
    return true;
  };
  const allowed = (msr: number, low: number): boolean =>
    msr !== MSR_APIC_BASE || (low & APIC_BASE_EXTD) === 0 || cpu.has('x2apic');
  return {
    readMsr: (msr) => (present(msr) ? bus.readMsr(msr) : undefined),
    writeMsr: (msr, low, high) => present(msr) && allowed(msr, low) && bus.writeMsr(msr, low, high),
  };
}
