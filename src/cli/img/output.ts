/**
 * Standard output of subcommands that may fail after they have told something: kept until there is much of it or the command ends, unless
 * somebody looks at it, as the C library does. Scripts that join both outputs expect complaints to come first.
 */

const BUFFER_CHARACTERS = 4096;
let kept = '';

export function print(text: string): void {
  kept += text;
  if (process.stdout.isTTY || kept.length >= BUFFER_CHARACTERS) flushOutput();
}

export function flushOutput(): void {
  if (kept !== '') process.stdout.write(kept);
  kept = '';
}
