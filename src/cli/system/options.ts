/**
 * The options of `orrery system`, spelled as QEMU spells them: one row an option. `parseSystemOptions` turns an argument list
 * into a SystemRequest and opens nothing.
 */
import { UserError } from '../../base/errors.ts';
import { didYouMean } from '../../base/nearest.ts';
import { checkLogCategory } from '../observe/log-option.ts';
import { addProfileFile, parseRate } from '../observe/observe.ts';
import { machineProperty, parseGlobal } from './board-options.ts';
import { checkChardev } from './chardev-spec.ts';
import { parseInteger, parseOptionList, parseSize } from './option-text.ts';
import { emptyRequest } from './request.ts';
import type { SystemRequest } from './request.ts';
import { shortDrive } from './storage/drive-option.ts';
import { STORAGE_OPTIONS } from './storage/storage-options.ts';
import type { SystemOption } from './system-option.ts';

export const MACHINES: Readonly<Record<string, string>> = {
  pc: 'PC with i440FX and PIIX (default)',
};

/** Accelerator: what it is. `tcg` is what QEMU calls translation, so command lines that ask for it get ours. */
export const ACCELERATORS: Readonly<Record<string, string>> = {
  jit: 'interpretation and translation to WebAssembly (default; also called tcg)',
  interp: 'the interpreter alone',
};

const MAX_VCPUS = 255;
const MAX_SERIAL_PORTS = 4;
/** 2^10 ns an instruction, as QEMU limits `-icount shift`. */
const MAX_ICOUNT_SHIFT = 10;

const isHelp = (value: string | undefined): boolean => value === 'help' || value === '?';

/** `kvm:tcg` means the first that can be had. */
function chooseAccelerator(option: string, names: string): 'jit' | 'interp' {
  for (const name of names.split(':')) {
    if (name === 'jit' || name === 'tcg') return 'jit';
    if (name === 'interp') return 'interp';
  }
  throw new UserError(
    `-${option}: no accelerator '${names}'; there are ${Object.keys(ACCELERATORS).join(', ')}${didYouMean(names, Object.keys(ACCELERATORS))}`,
  );
}

function verifyValue(accel: string, value: string): boolean {
  if (value !== 'on' && value !== 'off') throw new UserError(`-accel ${accel},verify=${value}: verify is on or off`);
  return value === 'on';
}

function applyMachine(request: SystemRequest, text: string): void {
  const { name, properties } = parseOptionList('machine', text);
  for (const [key, value] of Object.entries({ ...(name === undefined ? {} : { type: name }), ...properties })) {
    switch (key) {
      case 'type':
        if (isHelp(value)) request.listing = { of: 'machine' };
        else if (Object.hasOwn(MACHINES, value)) request.machine = value;
        else {
          const known = Object.keys(MACHINES);
          const hint = didYouMean(value, known) || `; there is ${known.join(', ')}`;
          throw new UserError(`-machine: no machine '${value}'${hint}`);
        }
        break;
      case 'help':
      case '?':
        request.listing = { of: 'machine' };
        break;
      case 'accel':
        request.accel = chooseAccelerator('machine accel', value);
        break;
      default: {
        const warning = machineProperty(key, value);
        if (warning !== undefined) request.warnings.push(warning);
      }
    }
  }
}

function applyAccel(request: SystemRequest, text: string): void {
  const { name, properties } = parseOptionList('accel', text);
  const chosen = name ?? properties['accel'] ?? '';
  if (isHelp(chosen)) request.listing = { of: 'accel' };
  else request.accel = chooseAccelerator('accel', chosen);
  for (const [key, value] of Object.entries(properties)) {
    if (key === 'verify') request.verify = verifyValue(chosen, value);
    else if (key !== 'accel') throw new UserError(`-accel ${chosen}: no property '${key}'`);
  }
}

function applyMemory(request: SystemRequest, text: string): void {
  const { name, properties } = parseOptionList('m', text);
  for (const [key, value] of Object.entries({ ...(name === undefined ? {} : { size: name }), ...properties })) {
    if (key !== 'size') throw new UserError(`-m: no property '${key}'${didYouMean(key, ['size'])}`);
    request.memoryBytes = parseSize('m', value, 'm');
  }
}

function applySmp(request: SystemRequest, text: string): void {
  const { name, properties } = parseOptionList('smp', text);
  const topology = new Map(Object.entries(properties));
  const cpus = name ?? topology.get('cpus');
  if (cpus !== undefined) request.vcpus = parseInteger('smp', cpus, 1, MAX_VCPUS);
  topology.delete('cpus');
  let product = 1;
  for (const [key, value] of topology) {
    if (!['sockets', 'dies', 'cores', 'threads', 'maxcpus'].includes(key)) {
      throw new UserError(
        `-smp: no property '${key}'${didYouMean(key, ['cpus', 'sockets', 'cores', 'threads', 'maxcpus'])}`,
      );
    }
    if (key !== 'maxcpus') product *= parseInteger(`smp ${key}`, value, 1, MAX_VCPUS);
  }
  if (cpus === undefined) request.vcpus = product;
}

function applyDevice(request: SystemRequest, text: string): void {
  const { name, properties } = parseOptionList('device', text);
  const driver = name ?? properties['driver'];
  if (driver === undefined) throw new UserError(`-device ${text}: the driver's name is missing`);
  if (isHelp(driver)) request.listing = { of: 'device' };
  else if (properties['help'] === 'on' || properties['?'] === 'on') {
    request.listing = { of: 'device-properties', name: driver };
  } else request.devices.push({ driver, properties });
}

function applyChardev(request: SystemRequest, text: string): void {
  const list = parseOptionList('chardev', text);
  if (isHelp(list.name)) {
    request.listing = { of: 'chardev' };
    return;
  }
  const id = list.properties['id'];
  if (list.name === undefined) throw new UserError(`-chardev ${text}: the backend's name is missing`);
  if (id === undefined) throw new UserError(`-chardev ${text}: id= is missing`);
  checkChardev(list);
  if (request.chardevs.has(id)) throw new UserError(`-chardev ${text}: there is a chardev '${id}' already`);
  request.chardevs.set(id, list);
}

function applyLog(request: SystemRequest, text: string): void {
  if (isHelp(text)) {
    request.listing = { of: 'log' };
    return;
  }
  for (const category of text.split(',')) {
    if (category.startsWith('trace:')) {
      request.trace.push(category.slice('trace:'.length));
      request.logCategories.push('trace');
    } else {
      checkLogCategory(category);
      request.logCategories.push(category);
    }
  }
}

function applyTrace(request: SystemRequest, text: string): void {
  const { name, properties } = parseOptionList('trace', text);
  const pattern = name ?? properties['enable'];
  if (pattern === undefined) throw new UserError(`-trace ${text}: a pattern of event names is missing`);
  request.trace.push(pattern);
}

function applyIcount(request: SystemRequest, text: string): void {
  const { name, properties } = parseOptionList('icount', text);
  const shift = name ?? properties['shift'];
  if (shift === undefined) throw new UserError(`-icount ${text}: shift= is missing`);
  request.nsPerInstruction = 2 ** parseInteger('icount shift', shift, 0, MAX_ICOUNT_SHIFT);
}

function applyRtc(request: SystemRequest, text: string): void {
  for (const [key, value] of Object.entries(parseOptionList('rtc', text).properties)) {
    if (key !== 'base') throw new UserError(`-rtc: no property '${key}'${didYouMean(key, ['base'])}`);
    if (value === 'utc') continue;
    const time = Date.parse(/[zZ]$/.test(value) || !value.includes('T') ? value : `${value}Z`);
    if (Number.isNaN(time))
      throw new UserError(`-rtc base: '${value}' is neither utc nor a date such as 2026-01-31T12:00:00`);
    request.startTimeMs = time;
  }
}

/** Options whose only value so far is `none`: the machine has no such thing unless a device brings it. */
function onlyNone(name: string, what: string): SystemOption {
  return {
    name,
    value: 'none',
    help: `no ${what}`,
    apply(_request, value) {
      if (value !== 'none') throw new UserError(`-${name}: '${value}' is not available; -${name} none is`);
    },
  };
}

export const SYSTEM_OPTIONS: readonly SystemOption[] = [
  { name: 'h', help: 'print this help', apply: (request) => (request.listing = { of: 'usage' }) },
  { name: 'version', help: 'print the version', apply: (request) => (request.listing = { of: 'version' }) },
  { name: 'machine', value: '[type=]NAME[,accel=NAME]', help: 'the board (help lists them)', apply: applyMachine },
  { name: 'M', value: 'NAME', help: 'as -machine', apply: applyMachine },
  { name: 'accel', value: 'NAME[,verify=on]', help: 'how guest code is executed (help lists)', apply: applyAccel },
  {
    name: 'cpu',
    value: 'MODEL[,+feature][,-feature]',
    help: 'the processor (help lists models and features)',
    apply: (request, value) => {
      if (isHelp(value)) request.listing = { of: 'cpu' };
      else request.cpu = value;
    },
  },
  { name: 'm', value: '[size=]SIZE', help: 'memory, in MiB or with a unit (default 512M)', apply: applyMemory },
  { name: 'smp', value: 'N', help: 'number of processors', apply: applySmp },
  {
    name: 'kernel',
    value: 'FILE',
    help: 'Linux, multiboot or PVH kernel',
    apply: (request, value) => (request.kernel = value),
  },
  { name: 'initrd', value: 'FILE', help: 'initial file system', apply: (request, value) => (request.initrd = value) },
  {
    name: 'append',
    value: 'TEXT',
    help: "the kernel's command line",
    apply: (request, value) => (request.append = value),
  },
  ...STORAGE_OPTIONS,
  {
    name: 'device',
    value: 'DRIVER[,property=value]',
    help: 'adds a device (help lists; DRIVER,help tells)',
    apply: applyDevice,
  },
  {
    name: 'global',
    value: 'DRIVER.PROPERTY=VALUE',
    help: 'a default for all devices of a driver',
    apply: (request, value) => request.globals.push(parseGlobal(value)),
  },
  {
    name: 'chardev',
    value: 'BACKEND,id=ID[,property=value]',
    help: 'a byte stream for devices (help lists)',
    apply: applyChardev,
  },
  {
    name: 'serial',
    value: 'DEV',
    help: 'a serial port: stdio, mon:stdio, null, none, file:PATH, pipe:PATH, tcp:HOST:PORT, unix:PATH, chardev:ID',
    apply: (request, value) => {
      if (request.serials.length === MAX_SERIAL_PORTS)
        throw new UserError(`-serial: there are at most ${MAX_SERIAL_PORTS} ports`);
      request.serials.push(value);
    },
  },
  {
    name: 'monitor',
    value: 'DEV',
    help: "the monitor's terminal: stdio or none",
    apply: (request, value) => (request.monitor = value),
  },
  {
    name: 'display',
    value: 'none',
    help: 'how the screen is shown',
    apply: (request, value) => {
      if (isHelp(value)) request.listing = { of: 'display' };
      else if (value === 'none') request.display = 'none';
      else throw new UserError(`-display: '${value}' is not available; -display none is`);
    },
  },
  {
    name: 'nographic',
    help: 'no screen; serial port and monitor share this terminal (Ctrl-A h helps)',
    apply: (request) => (request.nographic = true),
  },
  { name: 'nodefaults', help: 'without the default devices', apply: (request) => (request.nodefaults = true) },
  { name: 'no-user-config', help: 'there is none to read', apply: () => {} },
  { name: 'no-reboot', help: 'a reset of the guest ends the machine', apply: (request) => (request.noReboot = true) },
  {
    name: 'S',
    help: "wait for the monitor's cont before the first instruction",
    apply: (request) => (request.paused = true),
  },
  { name: 'd', value: 'CATEGORY[,...]', help: 'log (help lists categories)', apply: applyLog },
  {
    name: 'D',
    value: 'FILE',
    help: 'write the log there instead of standard error',
    apply: (request, value) => (request.logFile = value),
  },
  { name: 'trace', value: '[enable=]PATTERN', help: 'log trace events whose names match', apply: applyTrace },
  {
    name: 'stats',
    help: 'report what was executed, translated and accessed, at the end and at SIGUSR1',
    apply: (request) => (request.observe.stats = true),
  },
  {
    name: 'profile',
    value: 'FILE',
    help: 'sample the guest: FILE.svg a flame graph, FILE.json for speedscope, FILE.folded',
    apply: (request, value) => addProfileFile(request.observe, '-profile', value),
  },
  {
    name: 'profile-rate',
    value: 'HZ',
    help: 'samples a second (default 1000)',
    apply: (request, value) => (request.observe.rateHz = parseRate('-profile-rate', value)),
  },
  {
    name: 'symbols',
    value: 'FILE',
    help: 'names of guest code: a System.map or an ELF file; may be given again',
    apply: (request, value) => request.observe.symbols.push(value),
  },
  {
    name: 'icount',
    value: '[shift=]N',
    help: 'deterministic: an instruction takes 2^N ns of guest time',
    apply: applyIcount,
  },
  { name: 'rtc', value: 'base=utc|DATE', help: "the guest's clock at start", apply: applyRtc },
  {
    name: 'pidfile',
    value: 'FILE',
    help: 'write the process id there',
    apply: (request, value) => (request.pidFile = value),
  },
  {
    name: 'overcommit',
    value: 'TEXT',
    help: 'nothing: memory is committed when touched, and an idle guest sleeps',
    apply: () => {},
  },
  { name: 'name', value: 'TEXT', help: 'a name for people', apply: () => {} },
  onlyNone('vga', 'display adapter'),
  onlyNone('net', 'network'),
  onlyNone('nic', 'network'),
  onlyNone('parallel', 'parallel port'),
];

/** Reads the arguments of `orrery system`. Options may be written with one dash or two; a bare argument is the first disk's
 * image. Throws UserError. */
export function parseSystemOptions(
  args: readonly string[],
  options: readonly SystemOption[] = SYSTEM_OPTIONS,
): SystemRequest {
  const byName = new Map(options.map((option) => [option.name, option]));
  byName.set('help', { name: 'help', help: '', apply: (request) => (request.listing = { of: 'usage' }) });
  const request = emptyRequest();
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] ?? '';
    if (!argument.startsWith('-') || argument === '-') {
      request.storage.drives.push(shortDrive('hda', argument, 0, false));
      continue;
    }
    const name = argument.replace(/^--?/, '');
    const option = byName.get(name);
    if (option === undefined) {
      const nearest = didYouMean(name, byName.keys()).replace("'", "'-");
      throw new UserError(`${argument}: no such option${nearest || '; orrery system -h lists them'}`);
    }
    let value = '';
    if (option.value !== undefined) {
      const next = args[++at];
      if (next === undefined) throw new UserError(`${argument}: ${option.value} is missing`);
      value = next;
    }
    option.apply(request, value);
    if (request.listing !== undefined) return request;
  }
  return request;
}
