/** `-machine` properties and `-global`: what they may say, and what comes of it. */
import { UserError } from '../../base/errors.ts';
import { didYouMean } from '../../base/nearest.ts';
import type { DeviceConfig } from '../../machine/config.ts';
import { parseOptionList, parseSwitch } from './option-text.ts';

/** A default for a property of all devices of one driver. */
export interface GlobalProperty {
  readonly driver: string;
  readonly property: string;
  readonly value: string;
}

/** Properties of QEMU's PC that are about QEMU or its host: any value will do. */
const ABOUT_QEMU: ReadonlySet<string> = new Set([
  'kernel-irqchip',
  'dump-guest-core',
  'mem-merge',
  'graphics',
  'suppress-vmdesc',
]);
/** Parts of the board that cannot be added or left out yet: whether they are there. */
const FIXED_PARTS: Readonly<Record<string, boolean>> = {
  acpi: true,
  i8042: true,
  pic: true,
  pit: true,
  hpet: false,
  sata: false,
  smbus: false,
  smm: false,
  usb: false,
  vmport: false,
};

/** Reads a property of `-machine` that is no choice of board or accelerator. Gives a warning, if there is something to say. */
export function machineProperty(key: string, value: string): string | undefined {
  const name = key.replaceAll('_', '-');
  if (ABOUT_QEMU.has(name)) return undefined;
  const fixed = FIXED_PARTS[name];
  if (fixed === undefined) {
    throw new UserError(
      `-machine: no property '${key}'${didYouMean(key, ['type', 'accel', ...Object.keys(FIXED_PARTS)])}`,
    );
  }
  if (value === 'auto' || parseSwitch(`machine ${key}`, value) === fixed) return undefined;
  return `-machine ${key}=${value} changes nothing: this board ${fixed ? 'always has' : 'does not have'} that part`;
}

/** `driver.property=value`, or the three by name. */
export function parseGlobal(text: string): GlobalProperty {
  const short = /^([^.,=]+)\.([^.,=]+)=(.*)$/.exec(text);
  if (short !== null) {
    const [, driver = '', property = '', value = ''] = short;
    return { driver, property, value };
  }
  const { driver, property, value } = parseOptionList('global', text).properties;
  if (driver === undefined || property === undefined || value === undefined) {
    throw new UserError(`-global ${text}: it takes the form driver.property=value`);
  }
  return { driver, property, value };
}

/** The devices with defaults filled in where the device itself does not say. */
export function withGlobals(devices: readonly DeviceConfig[], globals: readonly GlobalProperty[]): DeviceConfig[] {
  return devices.map(({ driver, properties }) => {
    const defaults = globals
      .filter((global) => global.driver === driver)
      .map((global) => [global.property, global.value]);
    return { driver, properties: { ...Object.fromEntries(defaults), ...properties } };
  });
}
