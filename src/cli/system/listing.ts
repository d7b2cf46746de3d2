/** What `-device help` and its like print. */
import { UserError } from '../../base/errors.ts';
import { LOG_CATEGORIES } from '../../base/log.ts';
import { didYouMean } from '../../base/nearest.ts';
import { CPU_MODELS } from '../../cpu/x86/cpu-models.ts';
import { FEATURES } from '../../cpu/x86/cpuid.ts';
import { DEVICE_CATALOGUE } from '../../devices/catalogue.ts';
import type { DeviceKind } from '../../devices/device-kind.ts';
import { describeProperties } from '../../devices/properties.ts';
import { versionLine } from '../version.ts';
import { CHARDEV_BACKENDS } from './chardev-spec.ts';
import { ACCELERATORS, MACHINES, SYSTEM_OPTIONS } from './options.ts';
import type { Listing } from './request.ts';

const LINE_WIDTH = 100;

function table(rows: Readonly<Record<string, string>>): string {
  const width = Math.max(...Object.keys(rows).map((name) => name.length)) + 2;
  return Object.entries(rows)
    .map(([name, text]) => `${name.padEnd(width)}${text}\n`)
    .join('');
}

function wrapped(words: readonly string[]): string {
  let text = '';
  let line = ' ';
  for (const word of words) {
    if (line.length + word.length + 1 > LINE_WIDTH) {
      text += `${line}\n`;
      line = ' ';
    }
    line += ` ${word}`;
  }
  return `${text}${line}\n`;
}

function usage(): string {
  const rows = SYSTEM_OPTIONS.map(({ name, value, help }): [string, string] => [
    `-${name}${value === undefined ? '' : ` ${value}`}`,
    help,
  ]);
  const lines = rows.map(([left, right]) =>
    left.length > 28 ? `${left}\n${' '.repeat(30)}${right}\n` : `${left.padEnd(30)}${right}\n`,
  );
  return `usage: orrery system [options]\n\nOptions are QEMU's; one dash or two.\n\n${lines.join('')}`;
}

/** The device of that name. Throws UserError with the nearest known one. */
export function deviceKind(name: string): DeviceKind {
  const kind = DEVICE_CATALOGUE.find((candidate) => candidate.name === name);
  if (kind === undefined) {
    const known = DEVICE_CATALOGUE.map((candidate) => candidate.name);
    throw new UserError(`-device: no device '${name}'${didYouMean(name, known) || '; -device help lists them'}`);
  }
  return kind;
}

/** Refuses devices and properties that do not exist, with the nearest that do. */
export function checkDevice(driver: string, properties: Readonly<Record<string, string>>): void {
  const known = Object.keys(deviceKind(driver).properties);
  for (const name of Object.keys(properties)) {
    if (name === 'id' || name === 'driver' || known.includes(name)) continue;
    throw new UserError(`-device ${driver}: no property '${name}'${didYouMean(name, known)}`);
  }
}

export function listingText({ of, name = '' }: Listing): string {
  switch (of) {
    case 'usage':
      return usage();
    case 'version':
      return `${versionLine()}\n`;
    case 'machine':
      return `Supported machines are:\n${table(MACHINES)}`;
    case 'accel':
      return `Accelerators supported are:\n${table(ACCELERATORS)}`;
    case 'cpu': {
      const models = Object.fromEntries(CPU_MODELS.map((model) => [model.name, model.description]));
      return `Available CPUs:\n${table(models)}\nRecognized CPUID flags:\n${wrapped(Object.keys(FEATURES).sort())}`;
    }
    case 'device':
      return DEVICE_CATALOGUE.map((kind) => `name "${kind.name}", desc "${kind.description}"\n`).join('');
    case 'device-properties': {
      const lines = describeProperties(deviceKind(name).properties);
      return lines.length === 0 ? `${name} has no properties\n` : `${name} options:\n${lines.join('\n')}\n`;
    }
    case 'log':
      return `Log categories (separated by commas):\n${table(LOG_CATEGORIES)}`;
    case 'display':
      return 'Available display types:\nnone\n';
    case 'chardev': {
      const rows = Object.entries(CHARDEV_BACKENDS).map(([backend, keys]): [string, string] => [
        backend,
        keys.join(', '),
      ]);
      return `Available chardev backends, and their properties beside id:\n${table(Object.fromEntries(rows))}`;
    }
  }
}
