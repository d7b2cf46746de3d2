/**
 * What a tool is called: `orrery img`, or when the launcher was started through a link named as QEMU names the tool, that name.
 * Scripts that call `qemu-img` and read its messages then work unchanged.
 */
import { basename } from 'node:path';

const QEMU_NAMES: Readonly<Record<string, string>> = {
  'qemu-img': 'img',
  'qemu-io': 'io',
  'qemu-nbd': 'nbd',
  'qemu-system-x86_64': 'system',
};

function linkName(): string {
  return basename(process.argv[1] ?? '');
}

/** The command that the launcher's own name stands for; none for `orrery` and any other name. */
export function commandOfLink(): string | undefined {
  return QEMU_NAMES[linkName()];
}

/** What stands before the sentences of commands that do not name themselves: `orrery`, or the link's name. */
export function programName(): string {
  return commandOfLink() === undefined ? 'orrery' : linkName();
}

/** A command as its user called it, for its messages: `orrery img` or `qemu-img`. */
export function calledAs(command: string): string {
  return commandOfLink() === command ? linkName() : `orrery ${command}`;
}
