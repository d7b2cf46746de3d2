/** The architectural state of a vCPU as lock-step verification compares and shows it: named fields of the state (layout.ts). */
import type { Engine } from '../../cpu/engine.ts';
import * as L from '../../cpu/layout.ts';

interface Field {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}

const GPRS = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
const SEGMENTS = 'es cs ss ds fs gs ldtr tr'.split(' ');

const FIELDS: readonly Field[] = [
  ...GPRS.map((name, i) => ({ name, offset: L.CPU_GPR + i * 8, bytes: 8 })),
  { name: 'rip', offset: L.CPU_RIP, bytes: 8 },
  ...SEGMENTS.flatMap((name, i) => [
    { name, offset: L.CPU_SEG + i * L.SEG_SIZE + L.SEG_SELECTOR, bytes: 2 },
    { name: `${name}.base`, offset: L.CPU_SEG + i * L.SEG_SIZE + L.SEG_BASE, bytes: 8 },
    { name: `${name}.limit`, offset: L.CPU_SEG + i * L.SEG_SIZE + L.SEG_LIMIT, bytes: 4 },
    { name: `${name}.attributes`, offset: L.CPU_SEG + i * L.SEG_SIZE + L.SEG_ATTR, bytes: 4 },
  ]),
  { name: 'gdtr.base', offset: L.CPU_GDTR_BASE, bytes: 8 },
  { name: 'gdtr.limit', offset: L.CPU_GDTR_LIMIT, bytes: 4 },
  { name: 'idtr.base', offset: L.CPU_IDTR_BASE, bytes: 8 },
  { name: 'idtr.limit', offset: L.CPU_IDTR_LIMIT, bytes: 4 },
  ...Object.entries({
    cr0: L.CPU_CR0, cr2: L.CPU_CR2, cr3: L.CPU_CR3, cr4: L.CPU_CR4, cr8: L.CPU_CR8, xcr0: L.CPU_XCR0, efer: L.CPU_EFER,
    dr0: L.CPU_DR0, dr1: L.CPU_DR0 + 8, dr2: L.CPU_DR0 + 16, dr3: L.CPU_DR0 + 24, dr6: L.CPU_DR6, dr7: L.CPU_DR7, star: L.CPU_STAR,
    lstar: L.CPU_LSTAR, cstar: L.CPU_CSTAR, fmask: L.CPU_FMASK, kernel_gs_base: L.CPU_KERNEL_GS_BASE, sysenter_cs: L.CPU_SYSENTER_CS,
    sysenter_esp: L.CPU_SYSENTER_ESP, sysenter_eip: L.CPU_SYSENTER_EIP, pat: L.CPU_PAT, tsc_aux: L.CPU_TSC_AUX,
    tsc_offset: L.CPU_TSC_OFFSET, misc_enable: L.CPU_MISC_ENABLE, xss: L.CPU_XSS,
  }).map(([name, offset]) => ({ name, offset, bytes: 8 })),
  { name: 'pkru', offset: L.CPU_PKRU, bytes: 4 },
  { name: 'nmi blocked', offset: L.CPU_NMI_BLOCKED, bytes: 4 },
  ...Array.from({ length: 28 }, (_, i) => ({ name: `mtrr ${i}`, offset: L.CPU_MTRR + i * 8, bytes: 8 })),
  { name: 'fcw', offset: L.CPU_FCW, bytes: 2 },
  { name: 'fsw', offset: L.CPU_FSW, bytes: 2 },
  { name: 'x87 top', offset: L.CPU_FTOP, bytes: 4 },
  { name: 'x87 tags', offset: L.CPU_FTAG, bytes: 1 },
  { name: 'mxcsr', offset: L.CPU_MXCSR, bytes: 4 },
  ...Array.from({ length: 8 }, (_, i) => ({ name: `x87 register ${i}`, offset: L.CPU_FPR + i * 16, bytes: 10 })),
  ...Array.from({ length: 16 }, (_, i) => ({ name: `ymm${i}`, offset: L.CPU_XMM + i * L.XMM_STRIDE, bytes: 32 })),
]; // prettier-ignore

/** Both values of a field that is not the same. */
export interface StateDifference {
  readonly name: string;
  readonly main: string;
  readonly other: string;
}

function text(bytes: Uint8Array, { offset, bytes: size }: Field, cpu: number): string {
  const digits = Array.from(bytes.slice(cpu + offset, cpu + offset + size), (byte) =>
    byte.toString(16).padStart(2, '0'),
  );
  return digits.reverse().join('');
}

function flagsOf(engine: Engine, cpu: number): string {
  return (engine.call('getFlags', cpu) >>> 0).toString(16).padStart(8, '0');
}

/** In the order of the fields. */
export function stateDifferences(main: Engine, other: Engine, cpu: number): StateDifference[] {
  const found: StateDifference[] = [];
  for (const field of FIELDS) {
    const from = cpu + field.offset;
    let same = true;
    for (let i = from; same && i < from + field.bytes; i++) same = main.bytes[i] === other.bytes[i];
    if (!same)
      found.push({ name: field.name, main: text(main.bytes, field, cpu), other: text(other.bytes, field, cpu) });
  }
  const [a, b] = [flagsOf(main, cpu), flagsOf(other, cpu)];
  if (a !== b) found.push({ name: 'rflags', main: a, other: b });
  return found;
}

/** General registers and flags, several on a line. */
export function registersText(engine: Engine, cpu: number): string {
  const all = [...FIELDS.slice(0, GPRS.length + 1).map((field) => `${field.name}=${text(engine.bytes, field, cpu)}`)];
  all.push(`rflags=${flagsOf(engine, cpu)}`);
  const lines: string[] = [];
  for (let i = 0; i < all.length; i += 4) lines.push(`  ${all.slice(i, i + 4).join(' ')}`);
  return lines.join('\n');
}
