/**
 * Where everything lives in the machine's one shared WebAssembly.Memory.
 *
 * This file is read by two compilers: TypeScript (generated handlers, JIT, accelerator) and AssemblyScript (microcode).
 * So it holds nothing but integer constants. Offsets named CPU_* count from the vCPU's base address (`cpu`, the first
 * parameter of every handler); MACHINE_* addresses are absolute.
 *
 *     0x0000  never used: a null record or a null host address faults loudly in tests
 *     0x1000  microcode's static tables
 *     0xE000  MACHINE_*: what all vCPUs of the machine share
 *     0x10000 vCPU 0, CPU_STRIDE bytes each; then block hash, code page map, record arena, guest RAM
 */

// ---- shared by all vCPUs, absolute addresses ----
export const MICROCODE_STATICS = 0x1000;
export const MACHINE = 0xe000;
export const MACHINE_SLOT_COUNT = 0xe000; // u32: memory slots in use
export const MACHINE_CODE_PAGE_MAP = 0xe004; // u32: address of a byte a guest physical page: 1 = decoded code lives there
export const MACHINE_CODE_PAGE_COUNT = 0xe008; // u32: pages that map covers; pages above never hold decoded code
export const MACHINE_BLOCK_HASH = 0xe00c; // u32: address of the block hash, BLOCK_HASH_ENTRIES entries
export const MACHINE_A20_MASK = 0xe010; // u64: ANDed to every guest physical address
export const MACHINE_VCPU_COUNT = 0xe018; // u32
export const MACHINE_WIDE_LOCK = 0xe01c; // u32: 1 while a vCPU is inside LOCK CMPXCHG16B, which WebAssembly has no atomic for
export const MACHINE_SLOTS = 0xe100; // memory slots, SLOT_SIZE bytes each, sorted by nothing, at most MAX_SLOTS
export const MAX_SLOTS = 64;
export const SLOT_SIZE = 32;
export const SLOT_FIRST_PAGE = 0; // u64: guest physical page number
export const SLOT_PAGES = 8; // u64
export const SLOT_HOST = 16; // u32: address in this memory of the slot's first byte
export const SLOT_FLAGS = 20; // u32: SLOT_*
export const SLOT_READONLY = 1; // writes are device accesses (ROM)
export const SLOT_LOG_DIRTY = 2;
export const SLOT_DIRTY_BITMAP = 24; // u32: address of the dirty bitmap, one bit a page

// ---- vCPU state, offsets from its base ----
export const FIRST_VCPU = 0x10000;
export const CPU_STRIDE = 0x600000;

export const CPU_GPR = 0x000; // 16 x u64: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15
export const CPU_ZERO = 0x080; // u64, always 0: stands in for a missing base or index register
export const CPU_RIP = 0x088; // u64: exact whenever control is outside generated code
export const CPU_RIP_PAGE = 0x090; // u64: rip = RIP_PAGE + the record's page offset, while a block runs

// The arithmetic flags, lazily: see docs/devel/flags.md
//   ZF = FLAG_RES == 0                      SF = bit 63 of (FLAG_RES ^ FLAG_AUX)
//   PF = even parity of the low byte of (FLAG_RES ^ FLAG_AUX >> 8)      AF = bit 4 of FLAG_AUX
//   CF = FLAG_CF (0 or 1)                   OF = bit 63 of FLAG_OV
// FLAG_RES is the result sign-extended from its width to 64 bits.
export const CPU_FLAG_RES = 0x098; // i64
export const CPU_FLAG_CF = 0x0a0; // i32, 0 or 1
export const CPU_FLAG_OV = 0x0a8; // i64
export const CPU_FLAG_AUX = 0x0b0; // i64
export const CPU_RFLAGS = 0x0b8; // u32: all other flag bits in their RFLAGS position (bit 1 set; arithmetic bits 0)

export const CPU_BUDGET = 0x0c0; // i32: instructions left before control returns; below 0 = return at the next block end
export const CPU_BUDGET_GRANTED = 0x0c4; // i32: executed in this grant = GRANTED - BUDGET
export const CPU_ICOUNT = 0x0c8; // u64: instructions executed in earlier grants
export const CPU_EXIT = 0x0d0; // u32: EXIT_*; 0 = none
export const CPU_EXIT_INFO = 0x0d4; // u32: by reason
export const CPU_EXC = 0x0d8; // i32: vector of the exception a handler raised and that is to be delivered; -1 = none
export const CPU_EXC_ERROR = 0x0dc; // u32: its error code
export const CPU_EXC_CR2 = 0x0e0; // u64: page fault address, goes to CR2 on delivery
export const CPU_IRQ_PENDING = 0x0e8; // u32: IRQ_* bits set by interrupt controllers, from any thread
export const CPU_INT_SHADOW = 0x0ec; // u32: SHADOW_*, nonzero = no interrupt before the next instruction completes
export const CPU_MODE = 0x0f0; // u32: MODE_* of the current translation mode, kept by microcode
export const CPU_TLB_SET = 0x0f4; // u32: absolute address of the TLB set for data accesses at the current CPL/AC
export const CPU_JUMP_GEN = 0x0f8; // u32: generation + mode; a jump cache entry with another value is stale
export const CPU_WATCH = 0x41c; // u32: WATCH_*, what somebody watches
export const CPU_LINK_FROM = 0x418; // u32: record whose link is to be filled with the block found next, 0 = none
export const CPU_SINGLE = 0x0fc; // u32: 1 = the next block is one instruction long and not cached

export const CPU_SEG = 0x100; // 8 x SEG_SIZE: ES CS SS DS FS GS LDTR TR
export const SEG_SIZE = 32;
export const SEG_BASE = 0; // u64
export const SEG_LIMIT = 8; // u32, in bytes, granularity applied
export const SEG_ATTR = 12; // u32: SEG_ATTR_*: descriptor bits 40..47 in 0..7, 52..55 in 12..15, bit 16 unusable (as in a VMCS)
export const SEG_SELECTOR = 16; // u16
export const SEG_ATTR_UNUSABLE = 0x10000;
export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;

export const CPU_GDTR_BASE = 0x200; // u64
export const CPU_GDTR_LIMIT = 0x208; // u32
export const CPU_IDTR_BASE = 0x210; // u64
export const CPU_IDTR_LIMIT = 0x218; // u32
export const CPU_CR0 = 0x220; // u64 each
export const CPU_CR2 = 0x228;
export const CPU_CR3 = 0x230;
export const CPU_CR4 = 0x238;
export const CPU_CR8 = 0x240;
export const CPU_XCR0 = 0x248;
export const CPU_EFER = 0x250;
export const CPU_DR0 = 0x258; // DR0..DR3
export const CPU_DR6 = 0x278;
export const CPU_DR7 = 0x280;
export const CPU_STAR = 0x288;
export const CPU_LSTAR = 0x290;
export const CPU_CSTAR = 0x298;
export const CPU_FMASK = 0x2a0;
export const CPU_KERNEL_GS_BASE = 0x2a8;
export const CPU_SYSENTER_CS = 0x2b0;
export const CPU_SYSENTER_ESP = 0x2b8;
export const CPU_SYSENTER_EIP = 0x2c0;
export const CPU_PAT = 0x2c8;
export const CPU_TSC_AUX = 0x2d0;
export const CPU_TSC_OFFSET = 0x2d8; // u64: guest TSC = host's TSC source + offset
export const CPU_MISC_ENABLE = 0x2e0;
export const CPU_XSS = 0x2e8;
export const CPU_PKRU = 0x2f0; // u32
export const CPU_MONITOR = 0x2f8; // u64: armed linear address, ~0 = none
export const CPU_NMI_BLOCKED = 0x300; // u32: 1 from NMI delivery to IRET
export const CPU_PDPTE = 0x308; // 4 x u64: PAE page directory pointers, loaded on MOV CR3
export const CPU_MTRR = 0x330; // MTRR_DEF_TYPE u64, then 11 fixed u64, then 8 x (base u64, mask u64); ends 0x410

export const CPU_SCRATCH = 0x420; // 64 bytes, 16-aligned: value of a slow load or store, result of host calls
export const CPU_RMW_VA = 0x460; // u64: linear address behind the bounce buffer of a slow read-modify-write
export const CPU_RMW_BYTES = 0x468; // u32
export const CPU_HOST_DATA = 0x470; // u64: value of a device access (host imports mmioRead, mmioWrite), zero-extended

export const CPU_FCW = 0x480; // u16
export const CPU_FSW = 0x482; // u16, TOP field not kept here: see CPU_FTOP
export const CPU_FTOP = 0x484; // u32, 0..7
export const CPU_FTAG = 0x488; // u8: bit i = physical register i is not empty (the FXSAVE form)
export const CPU_FOP = 0x48a; // u16
export const CPU_FIP = 0x490; // u64
export const CPU_FDP = 0x498; // u64
export const CPU_FCS = 0x4a0; // u16
export const CPU_FDS = 0x4a2; // u16
export const CPU_MXCSR = 0x4a4; // u32
export const CPU_FPU_STORE = 0x4a8; // u32: 1 = what the last fpuStore* computed may be written to memory (no unmasked exception)
export const CPU_FPR = 0x500; // 8 x 16 bytes, physical registers R0..R7: u64 significand, u16 sign and exponent; MM0..7 are the significands

export const CPU_FLOAT_WORK = 0x600; // 128 bytes: three operands of 32 bytes of exact SSE and AVX arithmetic, and its results on their way

export const CPU_LAST_CS_BASE = 0x708; // u64: CS base that the jump cache was filled under
export const CPU_LAST_CS_LIMIT = 0x710; // u32
export const CPU_SSE_FAULT = 0x714; // u32: what CR0 and CR4 make of SSE instructions: 0 = they run, else EXC_UD or EXC_NM; kept by updateMode
export const CPU_TLB_GIANT = 0x718; // u64: bit giantBit(va) (microcode/tlb-banks.ts) = a part of a 1 GiB page was filled there
export const CPU_TLB_LARGE = 0x720; // 64 bytes: the same for 2 and 4 MiB pages, bit largeBit(va)
export const CPU_LARGE_CODE = 0x1300; // 64 bytes: bit largeBit(va) = a jump cache holds code of a large page there
export const CPU_SSE_BOUNDS64 = 0x780; // 16 bytes, then three fields more: what plain arithmetic is held against, kept with MXCSR (microcode/mxcsr.ts)
export const CPU_SSE_BOUNDS32 = 0x790; // 16 bytes
export const CPU_SSE_BOUND64 = 0x7a0; // u64
export const CPU_SSE_BOUND32 = 0x7a8; // u32
export const CPU_SSE_ODD = 0x7ac; // u32: SSE_*, how the last exact operation ended
export const SSE_FAULT = 1; // an exception is pending
export const SSE_DENORMAL = 2; // done; an operand or the result is denormal

export const CPU_XMM = 0x800; // 32 x 64 bytes: XMM i in the low 16 of each, the upper half of YMM i in the next 16; room for ZMM
export const XMM_STRIDE = 64;

export const CPU_EXIT_COUNTS = 0x1000; // 64 x u64 counters by EXIT_* and STAT_*

export const CPU_WALK = 0x1200; // 128 bytes: entries of the page walk under way (microcode)
export const CPU_DESCRIPTOR = 0x1280; // 16 bytes: descriptor being looked at (microcode)
export const CPU_USER_BANK = 0x12c0; // u32: absolute address of the bank of the address space at hand
export const CPU_JUMP_BASE = 0x12c4; // u32: absolute address of the jump cache at the current CPL
export const CPU_BANK_STAMP = 0x12c8; // u32: counts changes of bank
export const CPU_LOCAL_COUNT = 0x12cc; // u32: numbers in CPU_LOCAL_LIST; more than LOCAL_LIST_ENTRIES = they did not fit
export const CPU_LOCAL_LIST = 0x18000; // u16 number of the entries in the supervisor's bank that were filled from pages that are not global
export const LOCAL_LIST_ENTRIES = 64;
export const CPU_LOCAL_CODE = 0x1294; // u32: 1 = the jump cache holds supervisor code from pages that are not global
export const CPU_NO_STEP = 0x1298; // u32: 1 = the instruction that TF is stepping over does not trap after all (INT n, SYSCALL)
export const CPU_STEP_TF = 0x129c; // u32: RFLAGS.TF when the instruction under way began, while stepping (MODE_TF)
export const CPU_TIER0_INSNS = 0x12b8; // u32: instructions of this grant that tier 0 executed
export const CPU_STRING_WORK = 0x12bc; // u32: of this grant, iterations of string instructions, which count like instructions
export const CPU_HOST_STACK = 0x12dc; // u32: bytes of the host's stack that translations take which wait for a call they made to return
export const CPU_EXPECTED_RETURN = 0x12e0; // u64: where a near RET returns to the innermost of them; 0 = it just did, NO_RETURN = nowhere
export const NO_RETURN = -1;
export const CPU_EXACT = 0x12d8; // u32: EXACT_*, deterministic time
export const EXACT_TIME = 1; // what counts as executed depends on the guest alone
export const EXACT_ALONE = 2; // instructions that reach a device or a clock are left undone, to run alone
export const CPU_STEP_HITS = 0x12a0; // u32: data breakpoints that it hit, bits 0..3
export const CPU_ABSENT_CR4 = 0x12b0; // u32: bits of CR4 that CPUID says are not there: setting them is #GP
export const CPU_ABSENT = 0x12b4; // u32: ABSENT_*: instructions that CPUID says are not there
export const ABSENT_INVPCID = 1;
export const ABSENT_FETCH_HOLD = 2; // MOV SS does not hold back breakpoints on fetches (AMD)
export const CPU_ALIGN_CHECK = 0x12ac; // u32: 1 = programs at CPL 3 have their alignment checked: the sets for CPL 3 hold slow entries only

export const CPU_FPU_IMAGE = 0x580; // 112 bytes: FNSAVE and environment images, 80-bit values, on their way to or from memory
export const CPU_IMAGE = 0x14000; // 4096 bytes: frame, TSS or XSAVE image that microcode builds or reads

export const CPU_TLB_VICTIMS = 0x13800; // TLB_VICTIMS entries pushed out of their places lately, each with the address of its place behind it
export const TLB_VICTIMS = 8;
export const TLB_VICTIM_SIZE = 40;
export const CPU_TLB_VICTIM_NEXT = 0x13ff0; // u32: the one to be overwritten next

export const CPU_WALK_CACHE = 0x12000; // WALK_CACHE_ENTRIES page tables by the 2 MiB they map: u64 va >> 21, u64 table, u64 rights of the levels above, u32 generation
export const WALK_CACHE_ENTRIES = 64;
export const WALK_CACHE_ENTRY_SIZE = 32;
export const CPU_WALK_GENERATION = 0x12a4; // u32: entries of the walk cache with another value are stale

// Banks: what the processor remembers of address translations. One is the supervisor's, the others hold what depends on the address
// space as well, each for the PCID used last in it. Memory of a bank that was never used is never touched.
export const CPU_BANKS = 0x20000; // the supervisor's bank, then USER_BANKS others, BANK_SIZE bytes each
export const USER_BANKS = 6; // as many address spaces as Linux keeps on a processor
export const BANK_SIZE = 0xc8000;
export const BANK_TLB = 0; // TLB sets of TLB_SET_SIZE bytes. Supervisor's bank: one, for CPL < 3. Others: one for CPL 3, and one for CPL < 3 with SMAP suspended by RFLAGS.AC
export const BANK_JUMP_CACHE = 0x40000; // JUMP_CACHE_ENTRIES x 16: u64 rip, u32 generation, u32 record address; index = (rip ^ rip >> 12) & (JUMP_CACHE_ENTRIES - 1)
export const BANK_LOG = 0xc0000; // u16 number in the bank of every TLB entry in use, so that a flush costs what was filled
export const BANK_CODE_PAGES = 0xc4000; // BANK_CODE_PAGES_BYTES: a bit for pages whose code is in the jump cache
export const BANK_CODE_PAGES_BYTES = 0x1000;
export const BANK_PCID = 0xc5000; // u32: BANK_FREE = holds nothing that is to be found again
export const BANK_FREE = 0xffff;
export const BANK_STAMP = 0xc5004; // u32: CPU_BANK_STAMP when it was chosen last
export const BANK_GENERATION = 0xc5008; // u32: counts flushes of the jump cache; CPU_JUMP_GEN = generation << MODE_BITS | CPU_MODE
export const BANK_LOG_COUNT = 0xc500c; // u32: entries of the log
export const BANK_READY = 0xc5010; // u32: 1 = it was used before
export const JUMP_CACHE_ENTRIES = 32768;
export const TLB_ENTRIES = 4096; // a set
export const TLB_ENTRY_SIZE = 32;
export const TLB_SET_SIZE = 0x20000;
// One entry. Index = (va >> 12) & (TLB_ENTRIES - 1). An access of n bytes at va hits when ((va + n - 1) & ~0xfff) == tag;
// any low bit set in a tag makes the fast path miss; bits 0..4 are never set, so an aligned access compares those of va along with its page.
// Host address = (u32)va + ADDEND.
export const TLB_READ_TAG = 0; // u64
export const TLB_WRITE_TAG = 8; // u64
export const TLB_EXEC_TAG = 16; // u64
export const TLB_ADDEND = 24; // u32
export const TLB_PPN = 28; // u32: guest physical page number in bits 0..27, TLB_PPN_* above
export const TLB_PPN_GLOBAL = 0x80000000;
export const TLB_PPN_LARGE = 0x40000000; // part of a page larger than 4 KiB
export const TLB_PPN_LOGGED = 0x20000000; // listed in its bank's log
export const TLB_TAG_INVALID = 0x20; // nothing here
export const TLB_TAG_MMIO = 0x40; // a device, or RAM that is read only
export const TLB_TAG_WATCH = 0x100; // a data breakpoint lies in the page, or alignment is checked
export const TLB_TAG_CODE = 0x80; // RAM, but this page holds decoded code or is watched for dirtiness: stores take the slow path

// ---- ACCESS_*: how memory is touched (microcode). slowLoad and others take ACCESS_STACK << 8 in their `bytes` argument ----
export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_EXEC = 2;
export const ACCESS_IMPLICIT = 4; // supervisor access whatever the CPL: descriptor tables, TSS, inner stacks
export const ACCESS_STACK = 8; // a non-canonical address is #SS, not #GP

// ---- WATCH_*: bits of CPU_WATCH ----
export const WATCH_EXCEPTIONS = 1; // exceptions are exits
export const WATCH_MMU = 2; // the host is told of what the TLB does

// ---- MMU_*: what the host is told ----
export const MMU_FILL = 0; // a page was translated; rights are RIGHT_* of microcode/paging.ts
export const MMU_FAULT = 1; // a page fault; rights are its error code
export const MMU_FLUSH = 2; // all translations dropped; rights 1 = but those of global pages
export const MMU_DROP_PAGE = 3; // the translation of one page dropped

// ---- SHADOW_*: what holds off interrupts for an instruction ----
export const SHADOW_STI = 1;
export const SHADOW_MOV_SS = 2; // also holds off the single-step trap

// ---- INT_*: kinds of event for the microcode's deliverInterrupt ----
export const INT_EXTERNAL = 0;
export const INT_NMI = 1;
export const INT_SOFTWARE = 2; // INT n
export const INT_SOFTWARE_EXCEPTION = 3; // INT3, INTO
export const INT_PRIVILEGED_SOFTWARE = 4; // INT1: no check of the gate's DPL
export const INT_EXCEPTION = 5;

// ---- MODE_*: what decoding depends on ----
export const MODE_SIZE_MASK = 0x3; // 0 = 16-bit, 1 = 32-bit, 2 = 64-bit code
export const MODE_16 = 0;
export const MODE_32 = 1;
export const MODE_64 = 2;
export const MODE_STACK32 = 0x4; // SS.B (stack pointer is 32 bits wide); meaningless in 64-bit mode
export const MODE_FLAT = 0x8; // CS DS ES SS have base 0 and limit 4 GiB, writable where used; always set in 64-bit mode
export const MODE_CPL_SHIFT = 4; // bits 4..5
export const MODE_VM86 = 0x40;
export const MODE_PROTECTED = 0x80; // CR0.PE
export const MODE_TF = 0x100; // RFLAGS.TF, or breakpoints enabled in DR7: blocks are one instruction long
export const MODE_AVX = 0x200; // AVX instructions run: CR4.OSXSAVE, XCR0 has SSE and AVX, CR0.TS is clear
export const MODE_BITS = 10;

// ---- EXIT_*: why control returned to the accelerator; also indices of CPU_EXIT_COUNTS ----
export const EXIT_NONE = 0;
export const EXIT_BUDGET = 1; // budget used up, or attention asked for
export const EXIT_DECODE = 2; // no decoded block at CPU_RIP
export const EXIT_HLT = 3;
export const EXIT_SHUTDOWN = 4; // triple fault
export const EXIT_IO_IN = 5; // counted only: handled in place
export const EXIT_IO_OUT = 6; // counted only
export const EXIT_MMIO_READ = 7; // counted only
export const EXIT_MMIO_WRITE = 8; // counted only
export const EXIT_HYPERCALL = 9;
export const EXIT_DEBUG = 10; // breakpoint set by a debugger
export const EXIT_MWAIT = 11;
export const EXIT_INTERNAL_ERROR = 12; // EXIT_INFO tells
export const EXIT_EXCEPTION = 13; // counted only: delivered inside
export const EXIT_INTERRUPT = 14; // counted only
export const EXIT_MSR = 15; // counted only
export const EXIT_CPUID = 16; // counted only
export const EXIT_PAUSE = 17; // counted only
export const EXIT_TRANSLATE = 18; // a block became hot: EXIT_INFO is its counting record
export const STAT_TLB_FILL = 32;
export const STAT_TLB_FLUSH = 33;
export const STAT_CODE_INVALIDATION = 34;
export const STAT_BLOCK_LOOKUP = 35;

// ---- IRQ_* bits of CPU_IRQ_PENDING ----
export const IRQ_INTR = 1;
export const IRQ_NMI = 2;
export const IRQ_SMI = 4;
export const IRQ_INIT = 8;

// ---- exceptions ----
export const EXC_DE = 0;
export const EXC_DB = 1;
export const EXC_BP = 3;
export const EXC_OF = 4;
export const EXC_BR = 5;
export const EXC_UD = 6;
export const EXC_NM = 7;
export const EXC_DF = 8;
export const EXC_TS = 10;
export const EXC_NP = 11;
export const EXC_SS = 12;
export const EXC_GP = 13;
export const EXC_PF = 14;
export const EXC_MF = 16;
export const EXC_AC = 17;
export const EXC_MC = 18;
export const EXC_XM = 19;

// ---- decoded records (tier 0) ----
export const REC_SIZE = 32;
export const REC_HANDLER = 0; // u32: slot in the handler table
export const REC_OFFSET = 4; // u16: page offset of the instruction's first byte
export const REC_LENGTH = 6; // u8: instruction length in bytes
export const REC_INDEX = 7; // u8: instructions of this block before this one
export const REC_R0 = 8; // u16: state offset of the first register operand
export const REC_R1 = 10; // u16: state offset of the second register operand
export const REC_BASE = 12; // u16: state offset of the base register (CPU_ZERO when none, CPU_RIP_PAGE when RIP-relative)
export const REC_INDEX_REG = 14; // u16: state offset of the index register (CPU_ZERO when none), or of a gather's vector of indices
export const REC_DISP = 16; // i32: displacement
export const REC_SCALE = 20; // u8: shift of the index
export const REC_SEG = 21; // u8: segment number
export const REC_R2 = 22; // u16: state offset of a third register operand
export const REC_IMM = 24; // i64: immediate, sign-extended; or u16 state offset of a fourth register operand; or, for a block's last record, u32 link (record of the target, 0 = not yet) and i32 page offset of the target

// ---- block hash ----
export const BLOCK_HASH_ENTRIES = 0x40000;
export const BLOCK_HASH_WAYS = 4;
export const BLOCK_HASH_ENTRY_SIZE = 16; // u32 low physical address of the first byte, u32 mode, u32 record (0 = free), u32 physical address bits 32..39
// A block (physical address `phys`, CPU_MODE `mode`) is in one of the entries index ^ 0 .. index ^ (BLOCK_HASH_WAYS - 1), or, when newer
// ones pushed it out, in none, though the code cache still knows it:
//   index = (phys ^ phys >>> 12 ^ mode * 0x1f1) & (BLOCK_HASH_ENTRIES - 1)
// findBlock of the microcode looks at all. Whoever frees an entry (record = 0) or drops records also bumps the jump caches' generation.
