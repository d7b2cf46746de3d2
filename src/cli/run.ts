/** `orrery run`: a small Linux with no more words than needed; an interactive shell, or one command whose status it returns. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../base/errors.ts';
import { didYouMean } from '../base/nearest.ts';
import { guestAssets } from '../host/node/assets/assets.ts';
import type { GuestArchitecture } from '../host/node/assets/assets.ts';
import { writeCpio } from '../machine/cpio.ts';
import type { Command } from './command.ts';
import { addProfileFile, nothingObserved, type ObserveRequest, parseRate } from './observe/observe.ts';
import { openLog, parseLogCategories } from './observe/log-option.ts';
import { openGuestDisks } from './run/guest-disks.ts';
import { runGuest } from './run/guest-session.ts';
import { createMachine } from './system/machine-door.ts';
import { parseSize } from './system/option-text.ts';

const USAGE = `usage: orrery run [options] [-- COMMAND [ARGUMENT...]]

Boots a small Linux and gives a shell in it, or runs COMMAND there and ends with its exit status. In the shell, 'exit' powers
the machine off and Ctrl-A x ends it at once. The kernel and its file system are fetched at the first use (orrery assets).

  --script FILE    run a shell script in the guest instead of a command
  --disk FILE      a disk that keeps what is written to /disk; made at its first use, as qcow2 unless the name ends in .raw or .img;
                   may be given again (/disk1 …)
  --disk-size SIZE how large a disk is that does not exist yet (default 8G)
  --memory SIZE    memory of the guest (default 512M)
  --cpu MODEL      its processor (orrery system -cpu help lists them)
  --accel NAME     jit, interp, or jit,verify=on
  --arch NAME      amd64 (default) or i386
  --kernel FILE    boot this kernel
  --initrd FILE    with this initial file system
  --append TEXT    more words for the kernel's command line
  --verbose        show the kernel's messages
  --stats          report what was executed, translated and accessed, at the end and at SIGUSR1
  --profile FILE   sample the guest: FILE.svg a flame graph, FILE.json for speedscope, FILE.folded stacks as text
  --profile-rate HZ
                   samples a second (default 1000)
  --symbols FILE   names of guest code: a System.map or an ELF file; may be given again
  -d CATEGORIES    log to standard error (orrery system -d help lists them), or with -D FILE to a file
`;

interface RunRequest {
  arch: GuestArchitecture;
  memoryBytes: number;
  cpu: string | undefined;
  accel: 'jit' | 'interp';
  verify: boolean;
  kernel: string | undefined;
  initrd: string | undefined;
  append: string;
  script: string | undefined;
  disks: string[];
  diskBytes: number;
  command: readonly string[];
  verbose: boolean;
  observe: ObserveRequest;
  logCategories: readonly string[];
  logFile: string | undefined;
  help: boolean;
}

const DEFAULT_DISK_BYTES = 8 * 1024 ** 3;

const VALUE_OPTIONS = [
  '--script', '--disk', '--disk-size', '--memory', '--cpu', '--accel', '--arch', '--kernel', '--initrd', '--append', '--profile', '--profile-rate', '--symbols', '-d', '-D',
]; // prettier-ignore
const OTHER_OPTIONS = ['--verbose', '--stats', '--help'];

function applyValue(request: RunRequest, option: string, value: string): void {
  switch (option) {
    case '--memory':
      request.memoryBytes = parseSize('-memory', value, 'm');
      break;
    case '--disk':
      request.disks.push(value);
      break;
    case '--disk-size':
      request.diskBytes = parseSize('-disk-size', value, 'm');
      break;
    case '--cpu':
      request.cpu = value;
      break;
    case '--accel':
      request.verify = value === 'jit,verify=on';
      if (request.verify) break;
      if (value !== 'jit' && value !== 'interp') throw new UserError(`--accel: '${value}' is neither jit nor interp`);
      request.accel = value;
      break;
    case '--arch':
      if (value !== 'amd64' && value !== 'i386') throw new UserError(`--arch: '${value}' is neither amd64 nor i386`);
      request.arch = value;
      break;
    case '--profile':
      addProfileFile(request.observe, option, value);
      break;
    case '--profile-rate':
      request.observe.rateHz = parseRate(option, value);
      break;
    case '--symbols':
      request.observe.symbols.push(value);
      break;
    case '-d':
      request.logCategories = parseLogCategories(value);
      break;
    case '-D':
      request.logFile = value;
      break;
    case '--append':
      request.append = value;
      break;
    default: {
      // The options that name a file are called like their fields.
      const field = option.slice(2);
      if (field === 'script' || field === 'kernel' || field === 'initrd') request[field] = value;
    }
  }
}

/** Reads the arguments of `orrery run`. Throws UserError. */
export function parseRunArguments(args: readonly string[]): RunRequest {
  const request: RunRequest = {
    arch: 'amd64',
    memoryBytes: 512 * 1024 ** 2,
    cpu: undefined,
    accel: 'jit',
    verify: false,
    kernel: undefined,
    initrd: undefined,
    append: '',
    script: undefined,
    disks: [],
    diskBytes: DEFAULT_DISK_BYTES,
    command: [],
    verbose: false,
    observe: nothingObserved(),
    logCategories: [],
    logFile: undefined,
    help: false,
  };
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] ?? '';
    const equals = argument.indexOf('=');
    const name = argument.startsWith('--') && equals > 0 ? argument.slice(0, equals) : argument;
    if (name === '--stats') request.observe.stats = true;
    else if (name === '--') {
      request.command = args.slice(at + 1);
      break;
    } else if (name === '--verbose') request.verbose = true;
    else if (name === '--help' || name === '-h') request.help = true;
    else if (VALUE_OPTIONS.includes(name)) {
      const value = name === argument ? args[++at] : argument.slice(equals + 1);
      if (value === undefined) throw new UserError(`${name}: a value is missing`);
      applyValue(request, name, value);
    } else if (name.startsWith('-')) {
      throw new UserError(`run: no option '${name}'${didYouMean(name, [...VALUE_OPTIONS, ...OTHER_OPTIONS])}`);
    } else throw new UserError(`run: '${name}' belongs to no option; a command for the guest stands behind --`);
  }
  if (request.script !== undefined && request.command.length > 0) {
    throw new UserError(`--script ${request.script}: there is a command behind -- as well`);
  }
  return request;
}

function quoteForShell(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

async function readFileOf(option: string, path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new UserError(`${option}: ${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
}

async function scriptOf(request: RunRequest): Promise<Uint8Array | string | undefined> {
  if (request.script !== undefined) return readFileOf('--script', request.script);
  if (request.command.length === 0) return undefined;
  return `exec ${request.command.map(quoteForShell).join(' ')}\n`;
}

/** Behind the guest's own archive the kernel unpacks a second one, which brings the script. */
function withScript(initrd: Uint8Array, script: Uint8Array | string): Uint8Array {
  const archive = writeCpio([{ path: 'orrery-script', type: 'file', mode: 0o755, content: script }]);
  return Buffer.concat([initrd, Buffer.alloc((4 - (initrd.length % 4)) % 4), archive]);
}

/** Words for the kernel: the console, and what /init should know of the terminal here. */
function commandLine(request: RunRequest, scripted: boolean): string {
  const { stdin, stdout } = process;
  // Testing its ciphers at each start is two thirds of what a distribution's kernel executes until /init (880 of 1380 million
  // instructions), and they are known to work.
  const words = ['console=ttyS0', 'panic=-1', 'cryptomgr.notests'];
  if (!request.verbose) words.push('quiet');
  if (!stdin.isTTY || scripted) words.push('orrery.tty=plain');
  if (stdin.isTTY && stdout.isTTY) {
    words.push(`orrery.size=${stdout.rows}x${stdout.columns}`);
    const term = process.env['TERM'];
    if (term !== undefined && /^[\w.+-]+$/.test(term)) words.push(`TERM=${term}`);
  }
  if (request.append !== '') words.push(request.append);
  return words.join(' ');
}

export const runCommand: Command = {
  async run(args) {
    const request = parseRunArguments(args);
    if (request.help) {
      process.stdout.write(USAGE);
      return 0;
    }
    const script = await scriptOf(request);
    const log = openLog(request.logFile);
    const needsAssets = request.kernel === undefined || request.initrd === undefined;
    const assets = needsAssets
      ? await guestAssets({ architecture: request.arch, progress: (line) => process.stderr.write(`orrery: ${line}\n`) })
      : undefined;
    const kernelName = request.kernel ?? assets?.kernel ?? '';
    const initrdName = request.initrd ?? assets?.initrd ?? '';
    const initrd = (): Promise<Uint8Array> => readFileOf('--initrd', initrdName);
    const interactive = script === undefined && process.stdin.isTTY;
    const disks = await openGuestDisks(request.disks, request.diskBytes, interactive);
    try {
      return await runGuest(
        {
          kernel: () => readFileOf('--kernel', kernelName),
          kernelName,
          initrd: script === undefined ? initrd : async () => withScript(await initrd(), script),
          initrdName,
          commandLine: commandLine(request, script !== undefined),
          memoryBytes: request.memoryBytes,
          accel: request.accel,
          ...(request.verify && { verify: true }),
          noReboot: true,
          serialPorts: 1,
          ...(disks !== undefined && { drives: disks.drives }),
          ...(request.cpu !== undefined && { cpu: request.cpu }),
          ...(request.logCategories.length > 0 && { log: { categories: request.logCategories, write: log.write } }),
        },
        { scripted: script !== undefined, verbose: request.verbose, observe: request.observe },
        createMachine,
      );
    } finally {
      log.close();
      await disks?.close();
    }
  },
};
