/**
 * CPU models by the names that QEMU's `-cpu` gives them: who made the processor, its signature, and its features.
 *
 * A model of a real processor has what the engine can do of that processor's features and nothing more: AVX-512 and hardware
 * virtualisation are missing from all of them. Every 64-bit model also has what guests need of a hypervisor.
 */
import { FEATURES } from './feature-places.ts';

export interface CpuModel {
  readonly name: string;
  readonly description: string;
  /** 12 characters. */
  readonly vendor: string;
  /** CPUID leaf 1 EAX: family, model, stepping. */
  readonly signature: number;
  /** At most 47 characters. */
  readonly brand: string;
  readonly features: ReadonlySet<string>;
}

export const VENDOR_AMD = 'AuthenticAMD';
export const VENDOR_INTEL = 'GenuineIntel';

/** CPUID leaf 1 EAX of a family, model and stepping, each split as the SDM says. */
export function signatureOf(family: number, model: number, stepping: number): number {
  const extendedFamily = Math.max(0, family - 0xf);
  const low = (Math.min(family, 0xf) << 8) | ((model & 0xf) << 4) | (stepping & 0xf);
  return ((extendedFamily << 20) | ((model >> 4) << 16) | low) >>> 0;
}

/** The inverse of `signatureOf`. */
export function familyModelStepping(signature: number): { family: number; model: number; stepping: number } {
  return {
    family: ((signature >>> 8) & 0xf) + ((signature >>> 20) & 0xff),
    model: ((signature >>> 4) & 0xf) | ((signature >>> 12) & 0xf0),
    stepping: signature & 0xf,
  };
}

const words = (text: string): string[] => text.split(' ');

/** What the first AMD64 processors had. */
const BASE64 = words(
  'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm hypervisor',
);
const GUEST = words('kvmclock kvm-nopiodelay kvmclock-stable-bit arat invtsc cr8legacy');
const PARAVIRT = [...GUEST, ...words('x2apic tsc-deadline rdtscp')];
const V2 = words('pni ssse3 cx16 sse4.1 sse4.2 popcnt lahf_lm');
const V3 = [...V2, ...words('avx avx2 bmi1 bmi2 f16c fma abm movbe xsave')];

const CORE2 = words('pni ssse3 cx16 lahf_lm monitor');
const NEHALEM = [...V2, 'x2apic'];
const WESTMERE = [...NEHALEM, 'aes', 'pclmulqdq'];
const SANDY_BRIDGE = [...WESTMERE, ...words('tsc-deadline xsave avx rdtscp')];
const IVY_BRIDGE = [...SANDY_BRIDGE, ...words('f16c fsgsbase smep erms rdrand')];
const HASWELL = [...IVY_BRIDGE, ...words('avx2 fma movbe pcid bmi1 bmi2 invpcid abm')];
const BROADWELL = [...HASWELL, ...words('rdseed adx smap 3dnowprefetch')];
const SKYLAKE_CLIENT = [...BROADWELL, ...words('xsaveopt xsavec xgetbv1')];
const SKYLAKE_SERVER = [...SKYLAKE_CLIENT, ...words('clflushopt clwb pdpe1gb pku')];
const EPYC = words(
  'pni pclmulqdq monitor ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx avx2 f16c rdrand fsgsbase bmi1 smep bmi2 rdseed adx smap ' +
    'clflushopt sha-ni xsaveopt xsavec xgetbv1 pdpe1gb rdtscp lahf_lm abm 3dnowprefetch',
);

/** Family 15: none of the speculation defects that kernels work around on later families. */
const GENERIC_SIGNATURE = signatureOf(15, 107, 1);

function generic(name: string, description: string, features: readonly string[]): CpuModel {
  const brand = `Orrery virtual CPU (${name})`;
  return { name, description, vendor: VENDOR_AMD, signature: GENERIC_SIGNATURE, brand, features: new Set(features) };
}

function real(
  name: string,
  vendor: string,
  description: string,
  signature: readonly [family: number, model: number, stepping: number],
  features: readonly string[],
): CpuModel {
  const set = new Set([...BASE64, ...GUEST, ...features]);
  return { name, description, vendor, signature: signatureOf(...signature), brand: description, features: set };
}

export const CPU_MODELS: readonly CpuModel[] = [
  generic('max', 'everything the engine does (the default)', Object.keys(FEATURES)),
  generic('qemu64', 'the baseline of x86-64 with what guests need of a hypervisor', [
    ...BASE64,
    ...words('pni cx16 lahf_lm'),
    ...PARAVIRT,
  ]),
  generic('x86-64-v2', 'the x86-64-v2 level', [...BASE64, ...V2, ...PARAVIRT]),
  generic('x86-64-v3', 'the x86-64-v3 level', [...BASE64, ...V3, ...PARAVIRT]),
  real('kvm64', VENDOR_INTEL, 'Common KVM processor', [15, 6, 1], words('pni cx16')),
  real('Opteron_G1', VENDOR_AMD, 'AMD Opteron 240 (Gen 1 Class Opteron)', [15, 6, 1], words('pni')),
  real('Opteron_G2', VENDOR_AMD, 'AMD Opteron 22xx (Gen 2 Class Opteron)', [15, 6, 1], words('pni cx16 lahf_lm')),
  real(
    'Opteron_G3',
    VENDOR_AMD,
    'AMD Opteron 23xx (Gen 3 Class Opteron)',
    [16, 2, 3],
    words('pni cx16 lahf_lm monitor popcnt abm rdtscp'),
  ),
  real('EPYC', VENDOR_AMD, 'AMD EPYC Processor', [23, 1, 2], EPYC),
  real('core2duo', VENDOR_INTEL, 'Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz', [6, 15, 11], CORE2),
  real('Nehalem', VENDOR_INTEL, 'Intel Core i7 9xx (Nehalem Class Core i7)', [6, 26, 3], NEHALEM),
  real('Westmere', VENDOR_INTEL, 'Westmere E56xx/L56xx/X56xx (Nehalem-C)', [6, 44, 1], WESTMERE),
  real('SandyBridge', VENDOR_INTEL, 'Intel Xeon E312xx (Sandy Bridge)', [6, 42, 1], SANDY_BRIDGE),
  real('IvyBridge', VENDOR_INTEL, 'Intel Xeon E3-12xx v2 (Ivy Bridge)', [6, 58, 9], IVY_BRIDGE),
  real('Haswell', VENDOR_INTEL, 'Intel Core Processor (Haswell)', [6, 60, 4], HASWELL),
  real('Broadwell', VENDOR_INTEL, 'Intel Core Processor (Broadwell)', [6, 61, 2], BROADWELL),
  real('Skylake-Client', VENDOR_INTEL, 'Intel Core Processor (Skylake)', [6, 94, 3], SKYLAKE_CLIENT),
  real('Skylake-Server', VENDOR_INTEL, 'Intel Xeon Processor (Skylake)', [6, 85, 4], SKYLAKE_SERVER),
];
