/** The C programs of the benchmark (programs/): how each is built and which row of the table it fills. */

/** Parts of the table, in its order. */
export const GROUPS = ['integer', 'calls', 'double', 'vectors', 'memory', 'kernel'] as const;
export type Group = (typeof GROUPS)[number];

export const GROUP_TITLES: Readonly<Record<Group, string>> = {
  integer: 'Integer',
  calls: 'Calls, indirect jumps, the C library',
  double: 'Doubles',
  vectors: 'AVX2',
  memory: 'Memory',
  kernel: 'Kernel',
};

/** A library of the distribution that a program is linked with. */
export interface Library {
  /** Debian's package, whose development files hold the static library. */
  readonly package: string;
  /** What the compiler is told. */
  readonly flags: readonly string[];
  /** Folders below an include folder that its headers lie in. */
  readonly include?: string;
}

export interface Program {
  readonly name: string;
  /** What its row is called. */
  readonly title: string;
  readonly group: Group;
  /** Does it belong to the set whose geometric mean is told: integer code, calls and doubles in SSE2? */
  readonly cpuSet: boolean;
  /** File below programs/, without `.c`. */
  readonly source: string;
  readonly flags?: readonly string[];
  readonly library?: Library;
  /** It exists for 32 bits only (`32`), for 64 only, or for both. */
  readonly bits: 32 | 64 | 'both';
}

const ZLIB: Library = { package: 'zlib1g-dev', flags: ['-lz'] };
const LUA: Library = { package: 'liblua5.4-dev', flags: ['-llua5.4', '-lm', '-ldl'], include: 'lua5.4' };
const SQLITE: Library = { package: 'libsqlite3-dev', flags: ['-lsqlite3', '-lm', '-ldl'] };

export const PROGRAMS: readonly Program[] = [
  { name: 'sha256', title: 'SHA-256', group: 'integer', cpuSet: true, source: 'sha256', bits: 'both' },
  { name: 'bytecode', title: 'bytecode, switch', group: 'integer', cpuSet: true, source: 'bytecode', bits: 'both' },
  {
    name: 'bytecode-goto',
    title: 'bytecode, computed goto',
    group: 'integer',
    cpuSet: true,
    source: 'bytecode',
    flags: ['-DCOMPUTED_GOTO'],
    bits: 'both',
  },
  { name: 'lz', title: 'LZ, both ways', group: 'integer', cpuSet: true, source: 'lz', bits: 'both' },
  {
    name: 'deflate',
    title: 'zlib deflate',
    group: 'integer',
    cpuSet: true,
    source: 'zlib',
    library: ZLIB,
    bits: 'both',
  },
  {
    name: 'inflate',
    title: 'zlib inflate',
    group: 'integer',
    cpuSet: true,
    source: 'zlib',
    flags: ['-DINFLATE'],
    library: ZLIB,
    bits: 'both',
  },
  { name: 'records', title: 'records, strings, calls', group: 'calls', cpuSet: true, source: 'records', bits: 'both' },
  { name: 'lua', title: 'Lua', group: 'calls', cpuSet: true, source: 'lua', library: LUA, bits: 'both' },
  { name: 'sqlite', title: 'SQLite', group: 'calls', cpuSet: true, source: 'sqlite', library: SQLITE, bits: 'both' },
  { name: 'matrix', title: 'matrix product, SSE2', group: 'double', cpuSet: true, source: 'matrix', bits: 'both' },
  {
    name: 'nbody',
    title: 'n-body, SSE2',
    group: 'double',
    cpuSet: true,
    source: 'nbody',
    flags: ['-lm'],
    bits: 'both',
  },
  {
    name: 'nbody-x87',
    title: 'n-body, x87 (32-bit)',
    group: 'double',
    cpuSet: false,
    source: 'nbody',
    flags: ['-mfpmath=387', '-lm'],
    bits: 32,
  },
  {
    name: 'matrix-avx2',
    title: 'matrix product, AVX2 and FMA',
    group: 'vectors',
    cpuSet: false,
    source: 'matrix',
    flags: ['-O3', '-mavx2', '-mfma', '-DAVX2'],
    bits: 64,
  },
  {
    name: 'pixels',
    title: 'pixels, AVX2 integers',
    group: 'vectors',
    cpuSet: false,
    source: 'pixels',
    flags: ['-mavx2'],
    bits: 64,
  },
  ...[16, 256, 16384].map((kib): Program => ({
    name: `chase-${kib}`,
    title: `pointer chase, ${kib < 1024 ? `${kib} KiB` : `${kib / 1024} MiB`}`,
    group: 'memory',
    cpuSet: false,
    source: 'chase',
    flags: [`-DCHASE_KIB=${kib}`],
    bits: 'both',
  })),
  { name: 'copy', title: 'memcpy, 8 MiB', group: 'memory', cpuSet: false, source: 'copy', bits: 'both' },
  { name: 'bytes', title: 'byte read-modify-write', group: 'memory', cpuSet: false, source: 'bytes', bits: 'both' },
  { name: 'getppid', title: 'getppid', group: 'kernel', cpuSet: false, source: 'getppid', bits: 'both' },
  { name: 'pipe', title: 'pipe ping-pong', group: 'kernel', cpuSet: false, source: 'pipe', bits: 'both' },
  { name: 'fork', title: 'fork, exit, wait', group: 'kernel', cpuSet: false, source: 'fork', bits: 'both' },
  { name: 'fault', title: 'page fault', group: 'kernel', cpuSet: false, source: 'fault', bits: 'both' },
  { name: 'exec', title: 'exec', group: 'kernel', cpuSet: false, source: 'exec', bits: 'both' },
];
