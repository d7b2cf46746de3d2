/** The version of this package, as package.json says. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** package.json lies above both src/cli (in a clone) and dist (in an installed package). */
export function packageVersion(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    try {
      const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<
        string,
        string
      >;
      if (name === 'orrery') return version ?? 'unknown';
    } catch {
      // Not here; further up.
    }
    if (folder === dirname(folder)) return 'unknown';
  }
}

export function versionLine(): string {
  return `Orrery emulator version ${packageVersion()} (Node ${process.versions.node})`;
}
