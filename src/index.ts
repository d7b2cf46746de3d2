/**
 * Orrery as a library, on any host. In Node import `orrery` (src/node.ts), in a page `orrery` resolves to src/browser.ts; both
 * export all of this with the host's services filled in.
 */
export { Machine, type MachineProfile, type ProfileOptions } from './machine/machine.ts';
export type { HotFunction, Profile, ProfileFrame, ProfileSample } from './machine/profile/profile.ts';
export type { SymbolFile } from './machine/profile/symbol-table.ts';
export type { AccessCount, CodeStatistics, MachineStatistics, TierStatistics } from './machine/statistics.ts';
export type { DeviceConfig, ImageSource, MachineConfig, MachineExit } from './machine/config.ts';
export type { HostServices } from './machine/host-services.ts';
export { UserError } from './base/errors.ts';
export { StreamChardev } from './chardev/stream-chardev.ts';
export { CPU_MODELS, type CpuModel } from './cpu/x86/cpu-models.ts';
export { Cpuid, FEATURES } from './cpu/x86/cpuid.ts';
export { createInsn, decode } from './cpu/x86/decode/decoder.ts';
export { formatInsn } from './cpu/x86/decode/format.ts';
export type { Insn } from './cpu/x86/decode/insn.ts';
export * from './block/index.ts';
