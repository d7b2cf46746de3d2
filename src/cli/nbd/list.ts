/** `orrery nbd --list`: what a server exports, as qemu-nbd prints it. */
import type { ExportInfo } from '../../block/nbd/client/handshake.ts';

/** Names of transmission flags by bit, from bit 1 on. */
const FLAG_NAMES: readonly string[] = [
  'readonly', 'flush', 'fua', 'rotational', 'trim', 'zeroes', 'df', 'multi', 'resize', 'cache', 'fast-zero', 'block-status-payload',
]; // prettier-ignore

export function describeExports(exports: readonly ExportInfo[]): string {
  const lines = [`exports available: ${exports.length}`];
  for (const { name, description, size, flags, blockSizes, contexts } of exports) {
    lines.push(` export: '${name}'`);
    if (description !== undefined && description !== '') lines.push(`  description: ${description}`);
    if ((flags & 1) !== 0) {
      const names = FLAG_NAMES.filter((_, bit) => (flags & (2 << bit)) !== 0).map((flag) => ` ${flag}`);
      lines.push(`  size:  ${size}`, `  flags: 0x${flags.toString(16)} (${names.join('')} )`);
    }
    if (blockSizes !== undefined) {
      lines.push(`  min block: ${blockSizes.minimum}`, `  opt block: ${blockSizes.preferred}`);
      lines.push(`  max block: ${blockSizes.maximum}`);
    }
    if (contexts.length > 0) {
      lines.push(`  available meta contexts: ${contexts.length}`, ...contexts.map((context) => `   ${context}`));
    }
  }
  return `${lines.join('\n')}\n`;
}
