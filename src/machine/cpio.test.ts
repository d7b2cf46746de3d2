import { describe, expect, it } from 'vitest';
import { parentDirectories, writeCpio } from './cpio.ts';
import type { CpioEntry } from './cpio.ts';

const ENTRIES: readonly CpioEntry[] = [
  { path: 'bin', type: 'directory' },
  { path: 'bin/tool', type: 'file', mode: 0o755, content: new Uint8Array([1, 2, 3]) },
  { path: 'bin/link', type: 'symlink', content: 'tool' },
  { path: 'dev', type: 'directory' },
  { path: 'dev/console', type: 'character', device: [5, 1] },
  { path: 'empty', type: 'file' },
];

const text = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes);

/** Reads an archive back by the format's own rules. */
function parse(archive: Uint8Array): { path: string; mode: number; content: number[]; device: number[] }[] {
  const members = [];
  let at = 0;
  for (;;) {
    expect(text(archive.subarray(at, at + 6))).toBe('070701');
    const field = (index: number): number =>
      Number.parseInt(text(archive.subarray(at + 6 + index * 8, at + 14 + index * 8)), 16);
    const nameBytes = field(11);
    const path = text(archive.subarray(at + 110, at + 110 + nameBytes - 1));
    if (path === 'TRAILER!!!') return members;
    const start = at + Math.ceil((110 + nameBytes) / 4) * 4;
    members.push({
      path,
      mode: field(1),
      content: [...archive.subarray(start, start + field(6))],
      device: [field(9), field(10)],
    });
    at = start + Math.ceil(field(6) / 4) * 4;
  }
}

describe('cpio', () => {
  it('writes members that read back by the format', () => {
    const members = parse(writeCpio(ENTRIES));
    expect(members.map((m) => m.path)).toEqual(ENTRIES.map((entry) => entry.path));
    expect(members[0]?.mode).toBe(0o040755);
    expect(members[1]).toMatchObject({ mode: 0o100755, content: [1, 2, 3] });
    expect(text(new Uint8Array(members[2]?.content ?? []))).toBe('tool');
    expect(members[4]).toMatchObject({ mode: 0o020600, device: [5, 1] });
  });

  it('fills whole blocks, so that archives may follow each other', () => {
    expect(writeCpio(ENTRIES).length % 512).toBe(0);
    expect(writeCpio([]).length).toBe(512);
  });

  it('is the same for the same entries', () => {
    expect(writeCpio(ENTRIES)).toEqual(writeCpio(ENTRIES));
  });

  it('names the directories above a path', () => {
    expect(parentDirectories('lib/modules/6.1/kernel')).toEqual(['lib', 'lib/modules', 'lib/modules/6.1']);
    expect(parentDirectories('init')).toEqual([]);
  });
});
