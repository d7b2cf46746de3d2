/** Bits of the control registers, EFER, RFLAGS and descriptors (Intel SDM volume 3, chapters 2 and 3). */

export const CR0_PE: u32 = 0x1;
export const CR0_MP: u32 = 0x2;
export const CR0_EM: u32 = 0x4;
export const CR0_TS: u32 = 0x8;
export const CR0_ET: u32 = 0x10;
export const CR0_NE: u32 = 0x20;
export const CR0_WP: u32 = 0x10000;
export const CR0_AM: u32 = 0x40000;
export const CR0_NW: u32 = 0x20000000;
export const CR0_CD: u32 = 0x40000000;
export const CR0_PG: u32 = 0x80000000;

export const CR4_VME: u32 = 0x1;
export const CR4_PVI: u32 = 0x2;
export const CR4_TSD: u32 = 0x4;
export const CR4_DE: u32 = 0x8;
export const CR4_PSE: u32 = 0x10;
export const CR4_PAE: u32 = 0x20;
export const CR4_MCE: u32 = 0x40;
export const CR4_PGE: u32 = 0x80;
export const CR4_PCE: u32 = 0x100;
export const CR4_OSFXSR: u32 = 0x200;
export const CR4_OSXMMEXCPT: u32 = 0x400;
export const CR4_UMIP: u32 = 0x800;
export const CR4_FSGSBASE: u32 = 0x10000;
export const CR4_PCIDE: u32 = 0x20000;
export const CR4_OSXSAVE: u32 = 0x40000;
export const CR4_SMEP: u32 = 0x100000;
export const CR4_SMAP: u32 = 0x200000;
export const CR4_PKE: u32 = 0x400000;

export const EFER_SCE: u32 = 0x1;
export const EFER_LME: u32 = 0x100;
export const EFER_LMA: u32 = 0x400;
export const EFER_NXE: u32 = 0x800;
export const EFER_AIBRSE: u32 = 0x200000; // automatic IBRS: nothing to do, generated code does not speculate across privilege

export const RFLAGS_CF: u32 = 0x1;
export const RFLAGS_PF: u32 = 0x4;
export const RFLAGS_AF: u32 = 0x10;
export const RFLAGS_ZF: u32 = 0x40;
export const RFLAGS_SF: u32 = 0x80;
export const RFLAGS_TF: u32 = 0x100;
export const RFLAGS_IF: u32 = 0x200;
export const RFLAGS_DF: u32 = 0x400;
export const RFLAGS_OF: u32 = 0x800;
export const RFLAGS_IOPL: u32 = 0x3000;
export const RFLAGS_NT: u32 = 0x4000;
export const RFLAGS_RF: u32 = 0x10000;
export const RFLAGS_VM: u32 = 0x20000;
export const RFLAGS_AC: u32 = 0x40000;
export const RFLAGS_VIF: u32 = 0x80000;
export const RFLAGS_VIP: u32 = 0x100000;
export const RFLAGS_ID: u32 = 0x200000;
/** The six arithmetic flags. */
export const RFLAGS_ARITHMETIC: u32 = 0x8d5;
/** Every flag that exists. */
export const RFLAGS_ALL: u32 = 0x3f7fd5;

// Segment attributes as the vCPU state keeps them (SEG_ATTR).
export const ATTR_TYPE: u32 = 0xf;
export const ATTR_ACCESSED: u32 = 0x1;
/** Data: writable. Code: readable. */
export const ATTR_WRITABLE: u32 = 0x2;
/** Data: expand-down. Code: conforming. */
export const ATTR_CONFORMING: u32 = 0x4;
export const ATTR_CODE: u32 = 0x8;
export const ATTR_S: u32 = 0x10;
export const ATTR_PRESENT: u32 = 0x80;
export const ATTR_L: u32 = 0x2000;
export const ATTR_DB: u32 = 0x4000;
export const ATTR_G: u32 = 0x8000;

// System descriptor types (SDM table 3-2).
export const TYPE_TSS16: u32 = 1;
export const TYPE_LDT: u32 = 2;
export const TYPE_TSS16_BUSY: u32 = 3;
export const TYPE_CALL_GATE16: u32 = 4;
export const TYPE_TASK_GATE: u32 = 5;
export const TYPE_INTERRUPT_GATE16: u32 = 6;
export const TYPE_TRAP_GATE16: u32 = 7;
export const TYPE_TSS32: u32 = 9;
export const TYPE_TSS32_BUSY: u32 = 11;
export const TYPE_CALL_GATE32: u32 = 12;
export const TYPE_INTERRUPT_GATE32: u32 = 14;
export const TYPE_TRAP_GATE32: u32 = 15;
/** Bit of a TSS type that means busy. */
export const TYPE_BUSY: u32 = 2;
