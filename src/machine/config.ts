/** What a machine is made of: the plain description that the library takes and that every command line is turned into. */

import type { DriveOptions } from '../devices/storage/drive.ts';

/** A `-device` in QEMU's words: driver name and its properties as text. */
export interface DeviceConfig {
  readonly driver: string;
  readonly properties: Readonly<Record<string, string>>;
}

/** A disk: a node of a block graph, and what stands before it. The node stays whose it is; the machine does not close it. */
export interface DriveConfig extends DriveOptions {
  /** The device it gets: virtio-blk (default), a SCSI disk, a CD-ROM drive, or `none`: one of `devices` names it. */
  readonly interface?: 'virtio' | 'scsi' | 'cdrom' | 'none';
  readonly serial?: string;
}

/** Where a serial port's bytes go. */
export interface SerialBackend {
  /** Bytes the guest transmitted, in chunks. */
  onOutput?(bytes: Uint8Array): void;
}

/** A file's bytes, or how to get them: a function is called at power-on and at each reset, and nothing is kept in between. */
export type ImageSource = Uint8Array | (() => Promise<Uint8Array>);

export interface MachineConfig {
  /** RAM in bytes, a multiple of 4096, 1 MiB to 3 GiB. Default 512 MiB. */
  readonly memoryBytes?: number;
  /** `jit` (default): interpretation and binary translation. `interp`: the interpreter alone. */
  readonly accel?: 'jit' | 'interp';
  /**
   * With `accel: 'jit'`: runs everything by the interpreter as well, and ends the machine with a report at the first difference
   * between the two.
   */
  readonly verify?: boolean;
  /** CPU model with features added or taken away: `max`, `x86-64-v2,+aes`, `max,-pcid`. Default `max`. */
  readonly cpu?: string;
  /** Number of vCPUs; only 1 for now. */
  readonly smp?: number;
  /** Kernel image: bzImage, ELF with a PVH entry point, or multiboot. */
  readonly kernel?: ImageSource;
  /** Name of the kernel in messages, usually its path. */
  readonly kernelName?: string;
  readonly initrd?: ImageSource;
  readonly initrdName?: string;
  /** Kernel command line. */
  readonly commandLine?: string;
  /** How many 16550 ports there are (COM1 first), 0 to 4. Default 1. */
  readonly serialPorts?: number;
  readonly drives?: readonly DriveConfig[];
  /** Devices beside the board's own. */
  readonly devices?: readonly DeviceConfig[];
  /** Without the serial port and other defaults of the board. */
  readonly nodefaults?: boolean;
  /**
   * Deterministic time: virtual time counts instructions, this many nanoseconds each, and skips ahead while the guest idles.
   * The same input then gives the same instruction count and result.
   */
  readonly nsPerInstruction?: number;
  /** A reset by the guest ends the machine instead. */
  readonly noReboot?: boolean;
  /** Wall clock at start, milliseconds since 1970; default: the host's. Fix it for deterministic runs. */
  readonly startTimeMs?: number;
  /** Log categories to switch on (`int`, `in_asm`, `guest_errors` …) and where lines go. */
  readonly log?: { readonly categories: readonly string[]; readonly write: (line: string) => void };
  /** Patterns of trace events to switch on (`pic_*`). Lines go where the log's go. */
  readonly trace?: readonly string[];
}

/** How a machine ended. */
export interface MachineExit {
  readonly reason: 'poweroff' | 'reset' | 'debug-exit' | 'shutdown' | 'error' | 'stopped';
  /** Exit status that a command should give: 0 for a power-off, (value << 1) | 1 for isa-debug-exit. */
  readonly status: number;
  /** One sentence for people, where there is something to say. */
  readonly message?: string;
}
