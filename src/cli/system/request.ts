/** What a command line asks for, before any file is opened: the machine's description plus what only a host can provide. */
import { nothingObserved, type ObserveRequest } from '../observe/observe.ts';
import type { DeviceConfig } from '../../machine/config.ts';
import type { GlobalProperty } from './board-options.ts';
import type { OptionList } from './option-text.ts';
import { noStorage, type StorageRequest } from './storage/storage-request.ts';

/** A listing asked for instead of a machine: `-device help` and its like. */
export interface Listing {
  readonly of:
    'usage' | 'version' | 'machine' | 'accel' | 'cpu' | 'device' | 'device-properties' | 'log' | 'display' | 'chardev';
  /** The driver of `device-properties`. */
  readonly name?: string;
}

export interface SystemRequest {
  machine: string;
  accel: 'jit' | 'interp';
  verify: boolean;
  cpu: string | undefined;
  memoryBytes: number | undefined;
  vcpus: number;
  /** Paths. */
  kernel: string | undefined;
  initrd: string | undefined;
  append: string | undefined;
  devices: DeviceConfig[];
  readonly storage: StorageRequest;
  globals: GlobalProperty[];
  chardevs: Map<string, OptionList>;
  /** Texts of `-serial`, first port first. */
  serials: string[];
  monitor: string | undefined;
  /** `none`, or nothing said. */
  display: 'none' | undefined;
  nographic: boolean;
  nodefaults: boolean;
  noReboot: boolean;
  /** Wait for the monitor's `cont` before the first instruction. */
  paused: boolean;
  logCategories: string[];
  logFile: string | undefined;
  trace: string[];
  nsPerInstruction: number | undefined;
  startTimeMs: number | undefined;
  pidFile: string | undefined;
  observe: ObserveRequest;
  /** What was asked for and changes nothing, a sentence each. */
  warnings: string[];
  listing: Listing | undefined;
}

export function emptyRequest(): SystemRequest {
  return {
    machine: 'pc',
    accel: 'jit',
    verify: false,
    cpu: undefined,
    memoryBytes: undefined,
    vcpus: 1,
    kernel: undefined,
    initrd: undefined,
    append: undefined,
    devices: [],
    storage: noStorage(),
    globals: [],
    chardevs: new Map(),
    serials: [],
    monitor: undefined,
    display: undefined,
    nographic: false,
    nodefaults: false,
    noReboot: false,
    paused: false,
    logCategories: [],
    logFile: undefined,
    trace: [],
    nsPerInstruction: undefined,
    startTimeMs: undefined,
    pidFile: undefined,
    observe: nothingObserved(),
    warnings: [],
    listing: undefined,
  };
}
