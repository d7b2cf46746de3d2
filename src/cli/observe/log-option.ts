/** The options `-d` and `-D`: which categories are logged, and where the log goes. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { UserError } from '../../base/errors.ts';
import { LOG_CATEGORIES } from '../../base/log.ts';
import { didYouMean } from '../../base/nearest.ts';

/** Throws UserError for a category that there is not. */
export function checkLogCategory(category: string): void {
  if (Object.hasOwn(LOG_CATEGORIES, category)) return;
  const hint = didYouMean(category, Object.keys(LOG_CATEGORIES)) || '; -d help lists them';
  throw new UserError(`-d: no log category '${category}'${hint}`);
}

/** Reads `jit,int`. Throws UserError. */
export function parseLogCategories(text: string): string[] {
  const categories = text.split(',');
  for (const category of categories) checkLogCategory(category);
  return categories;
}

export interface LogFile {
  readonly write: (line: string) => void;
  readonly close: () => void;
}

/** Opens where the log goes: a file, or standard error. Throws UserError. */
export function openLog(path: string | undefined): LogFile {
  if (path === undefined) return { write: (line) => void process.stderr.write(`${line}\n`), close: () => {} };
  let fd: number;
  try {
    fd = openSync(path, 'w');
  } catch (error) {
    throw new UserError(`-D: ${path} cannot be written: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  return { write: (line) => void writeSync(fd, `${line}\n`), close: () => closeSync(fd) };
}
