import { describe, expect, it } from 'vitest';
import { CPU_MODELS } from '../cpu/x86/cpu-models.ts';
import { Cpuid } from '../cpu/x86/cpuid.ts';
import { FEATURES } from '../cpu/x86/feature-places.ts';
import { cpuModel, missingFeatures } from './cpu-option.ts';

const CONTEXT = { apicId: 0, vcpus: 1, osxsave: false, ospke: false, xcr0: 1, tscKhz: 1000000 };

describe('-cpu', () => {
  it('adds and takes away features in all spellings', () => {
    const { features } = cpuModel('qemu64,+umip,-cx16,smep,aes=on,pni=off,sse4_1=on,lahf-lm=off');
    expect(['umip', 'smep', 'aes', 'sse4.1'].filter((f) => !features.has(f))).toEqual([]);
    expect(['cx16', 'pni', 'lahf_lm'].filter((f) => features.has(f))).toEqual([]);
  });

  it('gives the processor another maker and signature', () => {
    const model = cpuModel('max,vendor=GenuineIntel,family=6,model=0x55,stepping=4,model-id=Mine');
    expect(model).toMatchObject({ vendor: 'GenuineIntel', signature: 0x50654, brand: 'Mine' });
    expect(cpuModel('Opteron_G1,vendor=AuthenticAMD').vendor).toBe('AuthenticAMD');
  });

  it('takes switches that concern the host, and features of QEMU that are not here', () => {
    expect(cpuModel('max,host-phys-bits,migratable=no,-vmx').features).toEqual(cpuModel('host').features);
    expect(missingFeatures('max,+vmx,avx512f=on,-svm,+pcid')).toEqual(['vmx', 'avx512f']);
    expect(cpuModel('max,+vmx').features.has('vmx')).toBe(false);
  });

  it.each([
    ['pentium9', /no such model/],
    ['max,+warp', /no feature 'warp'/],
    ['max,vendor=Me', /12 characters/],
    ['max,pcid=maybe', /on or off/],
    ['max,stepping=16', /0 to 15/],
    ['max,phys-bits=52', /40 bits/],
  ])('says what is wrong with %s', (text, reason) => {
    expect(() => cpuModel(text)).toThrow(reason);
  });

  it('has models whose features all exist, whatever they claim', () => {
    const unknown = CPU_MODELS.flatMap((model) => [...model.features].filter((feature) => !(feature in FEATURES)));
    expect(unknown).toEqual([]);
  });

  it('offers the levels of x86-64 that are named, and the third by default', () => {
    const third = 'avx avx2 bmi1 bmi2 f16c fma abm movbe xsave pni ssse3 cx16 sse4.1 sse4.2 popcnt lahf_lm'.split(' ');
    for (const name of ['max', 'x86-64-v3', 'Haswell', 'EPYC'])
      expect(
        third.filter((f) => !cpuModel(name).features.has(f)),
        name,
      ).toEqual([]);
    expect(cpuModel('x86-64-v2').features.has('avx')).toBe(false);
  });

  it('takes away what needs a feature with it', () => {
    const { features } = cpuModel('EPYC,-avx');
    expect(['avx', 'avx2', 'fma', 'f16c'].filter((f) => features.has(f))).toEqual([]);
    expect(cpuModel('Haswell,-xsave').features.has('avx2')).toBe(false);
    expect(cpuModel('Haswell').features.has('avx2')).toBe(true);
  });

  it('tells the components of the XSAVE area and what they take', () => {
    const cpuid = new Cpuid(cpuModel('x86-64-v3,+pku,+xsavec'));
    const sizes = (xcr0: number): number[] => [0, 1].map((leaf) => cpuid.query(0xd, leaf, { ...CONTEXT, xcr0 }).ebx);
    expect(cpuid.query(0xd, 0, CONTEXT)).toMatchObject({ eax: 0x207, ecx: 840 });
    expect(cpuid.query(0xd, 2, CONTEXT)).toEqual({ eax: 256, ebx: 576, ecx: 0, edx: 0 });
    expect([sizes(3), sizes(7), sizes(0x203), sizes(0x207)]).toEqual([
      [576, 576],
      [832, 832],
      [840, 584],
      [840, 840],
    ]);
    expect(new Cpuid(cpuModel('x86-64-v2,+xsave')).query(0xd, 2, CONTEXT).eax).toBe(0);
  });

  it('repeats the low features in the extended leaf for AMD only', () => {
    const extended = (text: string): number => new Cpuid(cpuModel(text)).query(0x80000001, 0, CONTEXT).edx & 1;
    expect([extended('max'), extended('max,vendor=GenuineIntel')]).toEqual([1, 0]);
  });
});
