/**
 * Checks the walls between the rooms (rooms.ts): who may import whom. It resolves each relative import to the room it reaches,
 * which a lint rule that only sees the text of the import cannot do. Cycles within a room are the linter's (import/no-cycle).
 *
 * `node scripts/check-walls.ts [folder]`: prints one line a breach and ends with status 1 when there is one.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { DOOR_LEVEL, HOST_ROOMS, ROOMS } from './rooms.ts';

const IMPORT = /(?:^|[\s;])(?:import|export)\b[^'"`;]*?from\s*(['"])([^'"]+)\1|\bimport\s*\(?\s*(['"])([^'"]+)\3/g;

/** The room of a file below src/, '' for a door, undefined outside. */
function roomOf(src: string, file: string): string | undefined {
  const parts = relative(src, file).split(/[\\/]/);
  if (parts[0] === '..') return undefined;
  return parts.length === 1 ? '' : parts[0];
}

function level(room: string): number | undefined {
  return room === '' ? DOOR_LEVEL : ROOMS[room];
}

/** What is wrong with `file` importing `specifier`, or undefined. */
function breach(src: string, file: string, specifier: string): string | undefined {
  const room = roomOf(src, file) ?? '';
  const isTest = file.endsWith('.test.ts');
  if (!specifier.startsWith('.')) {
    if (isTest || HOST_ROOMS.includes(room)) return undefined;
    return room === '' ? undefined : `only src/host and src/cli import packages or Node's modules`;
  }
  const target = roomOf(src, resolve(dirname(file), specifier));
  if (target === undefined) return isTest ? undefined : 'leads out of src/';
  if (target === room) return undefined;
  const own = level(room);
  const other = level(target);
  if (own === undefined) return `${room} is no room of scripts/rooms.ts`;
  if (other === undefined) return `${target} is no room of scripts/rooms.ts`;
  if (other < own || (isTest && other <= own)) return undefined;
  return `${room || 'a door'} (${own}) may not import ${target || 'a door'} (${other})`;
}

export function checkWalls(src: string): string[] {
  const breaches: string[] = [];
  for (const entry of readdirSync(src, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.ts')) continue;
    const file = join(entry.parentPath, entry.name);
    const text = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, (comment) =>
      comment.replace(/[^\n]/g, ' '),
    );
    for (const match of text.matchAll(IMPORT)) {
      const specifier = match[2] ?? match[4] ?? '';
      const problem = breach(src, file, specifier);
      if (problem === undefined) continue;
      const line = text.slice(0, match.index + match[0].length).split('\n').length;
      breaches.push(`${relative(process.cwd(), file)}:${line}: '${specifier}': ${problem}`);
    }
  }
  return breaches;
}

if (import.meta.main) {
  const breaches = checkWalls(resolve(process.argv[2] ?? 'src'));
  for (const line of breaches) console.error(line);
  process.exitCode = breaches.length === 0 ? 0 : 1;
}
