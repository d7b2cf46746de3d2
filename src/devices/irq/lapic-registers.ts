/** Registers and bits of the local APIC (SDM volume 3, 12.4 to 12.12), and which of them x2APIC mode has. */

export const APIC_DEFAULT_BASE = 0xfee00000;
export const BASE_BSP = 0x100;
export const BASE_EXTD = 0x400; // x2APIC mode
export const BASE_EN = 0x800;
export const BASE_RESERVED_LOW = 0x2ff;
/** Bits 8 and up of the upper half lie above a 40-bit physical address. */
export const BASE_RESERVED_HIGH = 0xffffff00;

// Register numbers: offset / 16, and MSR number - 0x800.
export const ID = 0x02;
export const VERSION = 0x03;
export const TPR = 0x08;
export const APR = 0x09;
export const PPR = 0x0a;
export const EOI = 0x0b;
export const RRD = 0x0c;
export const LDR = 0x0d;
export const DFR = 0x0e;
export const SVR = 0x0f;
export const ISR0 = 0x10;
export const TMR0 = 0x18;
export const IRR0 = 0x20;
export const ESR = 0x28;
export const ICR_LOW = 0x30;
export const ICR_HIGH = 0x31;
export const LVT_TIMER = 0x32;
export const LVT_THERMAL = 0x33;
export const LVT_PERFORMANCE = 0x34;
export const LVT_LINT0 = 0x35;
export const LVT_LINT1 = 0x36;
export const LVT_ERROR = 0x37;
export const TIMER_INITIAL = 0x38;
export const TIMER_CURRENT = 0x39;
export const TIMER_DIVIDE = 0x3e;
export const SELF_IPI = 0x3f; // x2APIC only

export const VERSION_VALUE = 0x00050014; // integrated APIC, 6 LVT entries
export const SVR_ENABLE = 0x100;
export const SVR_WRITABLE: number = 0x1ff | 0x200;
export const LVT_MASKED = 0x10000;
/** Writable bits of the six LVT entries. */
export const LVT_WRITABLE: readonly [number, number, number, number, number, number] = [
  0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff,
];
export const ESR_SEND_ILLEGAL_VECTOR = 0x20;
export const ESR_RECEIVED_ILLEGAL_VECTOR = 0x40;
export const ESR_ILLEGAL_REGISTER = 0x80;
export const ICR_LOGICAL = 0x800;
export const ICR_ASSERT = 0x4000;
export const ICR_LEVEL = 0x8000;
export const ICR_WRITABLE = 0x000ccfff;

export const MSR_APIC_BASE = 0x1b;
export const MSR_TSC_DEADLINE = 0x6e0;
export const MSR_X2APIC_FIRST = 0x800;
export const MSR_X2APIC_LAST = 0x8ff;

export const FIRST_LEGAL_VECTOR = 16;

const VECTOR_REGISTERS: readonly number[] = Array.from({ length: ESR - ISR0 }, (_, i) => ISR0 + i);
const LVT_REGISTERS: readonly number[] = [LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR];
export const X2APIC_READABLE: ReadonlySet<number> = new Set([
  ID,
  VERSION,
  TPR,
  PPR,
  LDR,
  SVR,
  ...VECTOR_REGISTERS,
  ESR,
  ICR_LOW,
  ...LVT_REGISTERS,
  TIMER_INITIAL,
  TIMER_CURRENT,
  TIMER_DIVIDE,
]);
export const X2APIC_WRITABLE: ReadonlySet<number> = new Set([
  TPR,
  EOI,
  SVR,
  ESR,
  ICR_LOW,
  ...LVT_REGISTERS,
  TIMER_INITIAL,
  TIMER_DIVIDE,
  SELF_IPI,
]);
export const X2APIC_ALLOWED: ReadonlyMap<number, number> = new Map([
  [TPR, 0xff],
  [EOI, 0],
  [SVR, 0x1ff],
  [ESR, 0],
  [TIMER_DIVIDE, 0x0b],
  [SELF_IPI, 0xff],
]);
