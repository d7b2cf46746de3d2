/** The examples of docs/manual, to be run as they stand. */
import { readFile } from 'node:fs/promises';

export async function examples(page: string, language: string): Promise<string[]> {
  const text = await readFile(new URL(`../../docs/manual/${page}`, import.meta.url), 'utf8');
  return [...text.matchAll(new RegExp('```' + language + '\n([\\s\\S]*?)```', 'g'))].map((match) => match[1] ?? '');
}

/** Runs an example as the body of a function that knows `names` instead of what it imports; gives `result`, an expression. */
export function runExample(code: string, names: Readonly<Record<string, unknown>>, result: string): Promise<unknown> {
  const body = code.replace(/^import .*$/m, '');
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (
    ...args: string[]
  ) => (...values: unknown[]) => Promise<unknown>;
  return new AsyncFunction(...Object.keys(names), `${body}\nreturn ${result};`)(...Object.values(names));
}
