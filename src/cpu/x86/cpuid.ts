/**
 * CPUID: the processor's features as named bits, and what each leaf answers for a set of them.
 *
 * Only what the engine really does has a name here, so a model cannot claim more. Bit positions: Intel SDM volume 2 (CPUID),
 * AMD APM volume 3 appendix E; hypervisor leaves: Linux Documentation/virt/kvm/x86/cpuid.rst.
 */

import { type CpuModel, VENDOR_AMD } from './cpu-models.ts';
import { FEATURES, type Register } from './feature-places.ts';

export { FEATURES } from './feature-places.ts';

/** Answer of one leaf. */
export interface CpuidResult {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** What a vCPU tells beside its model. */
export interface CpuidContext {
  readonly apicId: number;
  readonly vcpus: number;
  /** CR4.OSXSAVE and CR4.PKE as they stand. */
  readonly osxsave: boolean;
  readonly ospke: boolean;
  /** XCR0: the size of the XSAVE area follows it. */
  readonly xcr0: number;
  readonly tscKhz: number;
  /** The local APIC is switched off in IA32_APIC_BASE: its feature bit goes. */
  readonly apicOff?: boolean;
}

/** Legacy region and header, then the components of AVX and protection keys. Layout: microcode/xsave.ts. */
const XSAVE_AREA_BYTES = 576;
const XSAVE_AVX_BYTES = 256;
const XSAVE_PKRU_AT = XSAVE_AREA_BYTES + XSAVE_AVX_BYTES;
const XSAVE_PKRU_BYTES = 8;
const XCR0_AVX = 4;
const XCR0_PKRU = 0x200;
export const PHYSICAL_BITS = 40;
const LINEAR_BITS = 48;

function standardBytes(components: number): number {
  if ((components & XCR0_PKRU) !== 0) return XSAVE_PKRU_AT + XSAVE_PKRU_BYTES;
  return (components & XCR0_AVX) === 0 ? XSAVE_AREA_BYTES : XSAVE_PKRU_AT;
}

function compactedBytes(components: number): number {
  const avx = (components & XCR0_AVX) === 0 ? 0 : XSAVE_AVX_BYTES;
  return XSAVE_AREA_BYTES + avx + ((components & XCR0_PKRU) === 0 ? 0 : XSAVE_PKRU_BYTES);
}

/** All answers of one model. Immutable; shared by the machine's vCPUs. */
export class Cpuid {
  readonly model: CpuModel;
  private readonly bits = new Map<string, number>();

  constructor(cpu: CpuModel) {
    this.model = cpu;
    for (const name of cpu.features) {
      const place = FEATURES[name];
      if (place === undefined) throw new RangeError(`there is no CPU feature named ${name}`);
      const [leaf, register, bit] = place;
      const key = `${leaf}.${register}`;
      this.bits.set(key, (this.bits.get(key) ?? 0) | (1 << bit));
    }
  }

  has(feature: string): boolean {
    return this.model.features.has(feature);
  }

  private word(leaf: number, register: Register): number {
    return this.bits.get(`${leaf}.${register}`) ?? 0;
  }

  /** Leaf 0xd: components of the XSAVE area. */
  private extendedState(subleaf: number, xcr0: number): CpuidResult {
    const components = 3 | (this.has('avx') ? XCR0_AVX : 0) | (this.has('pku') ? XCR0_PKRU : 0);
    switch (subleaf) {
      case 0:
        return { eax: components, ebx: standardBytes(xcr0), ecx: standardBytes(components), edx: 0 };
      case 1:
        return { eax: this.word(0xd, 'eax'), ebx: compactedBytes(xcr0), ecx: 0, edx: 0 };
      case 2:
        return this.has('avx') ? { eax: XSAVE_AVX_BYTES, ebx: XSAVE_AREA_BYTES, ecx: 0, edx: 0 } : ZERO;
      case 9:
        return this.has('pku') ? { eax: XSAVE_PKRU_BYTES, ebx: XSAVE_PKRU_AT, ecx: 0, edx: 0 } : ZERO;
      default:
        return ZERO;
    }
  }

  /** The four registers, each a number taken modulo 2^32. Leaves beyond the last answer zeros. */
  query(leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
    const { apicId, vcpus } = context;
    const hidden = context.apicOff === true ? 1 << 9 : 0;
    switch (leaf >>> 0) {
      case 0:
        return { eax: 0xd, ...vendorWords(this.model.vendor) };
      case 1:
        return {
          eax: this.model.signature,
          ebx: (apicId << 24) | (vcpus << 16) | (8 << 8), // CLFLUSH line of 8 quadwords
          ecx: this.word(1, 'ecx') | (context.osxsave ? 1 << 27 : 0),
          edx: (this.word(1, 'edx') & ~hidden) | (vcpus > 1 ? 1 << 28 : 0),
        };
      case 5: // MONITOR line sizes, extensions enumerated, interrupts break MWAIT
        return this.has('monitor') ? { eax: 64, ebx: 64, ecx: 3, edx: 0 } : ZERO;
      case 6:
        return { ...ZERO, eax: this.word(6, 'eax') };
      case 7:
        if (subleaf !== 0) return ZERO;
        return {
          eax: 0,
          ebx: this.word(7, 'ebx'),
          ecx: this.word(7, 'ecx') | (context.ospke && this.has('pku') ? 1 << 4 : 0),
          edx: this.word(7, 'edx'),
        };
      case 0xb: // each vCPU is a core of its own
        if (subleaf === 0) return { eax: 0, ebx: 1, ecx: 0x100, edx: apicId };
        if (subleaf === 1) return { eax: bitsFor(vcpus), ebx: vcpus, ecx: 0x201, edx: apicId };
        return { eax: 0, ebx: 0, ecx: subleaf, edx: apicId };
      case 0xd:
        if (!this.has('xsave')) return ZERO;
        return this.extendedState(subleaf, context.xcr0);
      case 0x40000000:
        return this.has('hypervisor') ? { eax: 0x40000010, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d } : ZERO; // KVMKVMKVM
      case 0x40000001:
        return { ...ZERO, eax: this.word(0x40000001, 'eax') | (this.has('kvmclock') ? 1 : 0) };
      case 0x40000010: // TSC and APIC bus frequency in kHz
        return { ...ZERO, eax: context.tscKhz, ebx: 1000000 };
      case 0x80000000:
        return { eax: 0x80000021 | 0, ...vendorWords(this.model.vendor) };
      case 0x80000001: // AMD repeats the low features of leaf 1
        return {
          eax: this.model.signature,
          ebx: 0,
          ecx: this.word(0x80000001, 'ecx'),
          edx:
            this.word(0x80000001, 'edx') |
            (this.model.vendor === VENDOR_AMD ? this.word(1, 'edx') & 0x0183f3ff & ~hidden : 0),
        };
      case 0x80000002:
      case 0x80000003:
      case 0x80000004:
        return brandWords(this.model.brand, (leaf >>> 0) - 0x80000002);
      case 0x80000005: // 64 KiB level 1 caches, 64-byte lines
        return { eax: 0x01ff01ff, ebx: 0x01ff01ff, ecx: 0x40020140, edx: 0x40020140 };
      case 0x80000006: // 16 MiB level 2, 16-way: up to that size C libraries leave copies to REP MOVS
        return { eax: 0, ebx: 0x42004200, ecx: 0x40008140, edx: 0 };
      case 0x80000007:
        return { ...ZERO, edx: this.word(0x80000007, 'edx') };
      case 0x80000008:
        return { ...ZERO, eax: (LINEAR_BITS << 8) | PHYSICAL_BITS, ecx: vcpus - 1 };
      case 0x80000021:
        return { ...ZERO, eax: this.word(0x80000021, 'eax') };
      default:
        return ZERO;
    }
  }
}

const ZERO: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

function bitsFor(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}

function word(text: string, at: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) value |= (text.charCodeAt(at + i) || 0) << (8 * i);
  return value;
}

function vendorWords(vendor: string): { ebx: number; edx: number; ecx: number } {
  return { ebx: word(vendor, 0), edx: word(vendor, 4), ecx: word(vendor, 8) };
}

function brandWords(brand: string, part: number): CpuidResult {
  const at = part * 16;
  return { eax: word(brand, at), ebx: word(brand, at + 4), ecx: word(brand, at + 8), edx: word(brand, at + 12) };
}
