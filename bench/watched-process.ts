/** A process under measurement: what it prints, its CPU time and memory as Linux tells them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';

const PAGE = 4096;
/** Unit of the times in /proc/PID/stat on every Linux that Node runs on. */
const TICKS_A_SECOND = 100;
/** A guest that takes longer counts as hung. */
const TIMEOUT_MS = 600_000;

export class WatchedProcess {
  readonly child: ChildProcess;
  /** Everything on standard output so far. */
  output = '';
  /** Called when there is more of it. */
  onOutput: () => void = () => undefined;
  /** Messages that the process sent. */
  readonly messages: unknown[] = [];
  private readonly startedMs = performance.now();
  private changed: () => void = () => undefined;
  private complaints = '';
  private ended: string | undefined;

  constructor(command: string, args: readonly string[], talks: boolean) {
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe', ...(talks ? (['ipc'] as const) : [])] });
    const decoder = new TextDecoder();
    this.child.stdout?.on('data', (bytes: Buffer) => {
      this.output += decoder.decode(bytes, { stream: true });
      this.onOutput();
      this.changed();
    });
    this.child.stderr?.on('data', (bytes: Buffer) => {
      this.complaints = (this.complaints + bytes.toString()).slice(-2000);
    });
    this.child.on('message', (message) => {
      this.messages.push(message);
      this.changed();
    });
    const kill = (): void => this.kill();
    process.once('exit', kill);
    this.child.on('close', () => process.off('exit', kill));
    this.child.on('error', (error) => this.end(error.message));
    this.child.on('close', (code, signal) => this.end(`ended with ${signal ?? `status ${code}`}`));
  }

  private end(why: string): void {
    this.ended ??= why;
    this.changed();
  }

  /** Waits until `ready`; gives the seconds since the process was started. */
  async until(what: string, ready: () => boolean): Promise<number> {
    while (!ready()) {
      const leftMs = TIMEOUT_MS - (performance.now() - this.startedMs);
      if (this.ended !== undefined || leftMs <= 0) {
        this.kill();
        throw new Error(`${this.ended ?? 'timed out'} before ${what}: ${this.complaints || this.output.slice(-400)}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.changed = (): void => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.seconds();
  }

  /** Seconds since it was started. */
  seconds(): number {
    return (performance.now() - this.startedMs) / 1000;
  }

  untilEnd(): Promise<number> {
    return this.until('its end', () => this.ended !== undefined);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  /** Seconds of CPU time of all its threads; undefined where there is no /proc. */
  cpuSeconds(): number | undefined {
    const fields = this.proc('stat')
      ?.replace(/^.*\) /s, '')
      .split(' ');
    if (fields === undefined) return undefined;
    return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
  }

  /**
   * Seconds that its busiest thread was ready to run while others ran, by /proc/PID/task/TID/schedstat (nanoseconds on a processor,
   * nanoseconds in the queue); 0 where the kernel does not tell.
   */
  queuedSeconds(): number {
    let busiest = { ran: -1, queued: 0 };
    try {
      for (const thread of readdirSync(`/proc/${this.child.pid}/task`)) {
        const [ran = 0, queued = 0] = (this.proc(`task/${thread}/schedstat`) ?? '').split(' ').map(Number);
        if (ran > busiest.ran) busiest = { ran, queued };
      }
    } catch {
      return 0;
    }
    return busiest.queued / 1e9;
  }

  /** Resident memory in bytes. */
  residentBytes(): number | undefined {
    const line = /^VmRSS:\s+(\d+) kB/m.exec(this.proc('status') ?? '');
    return line === null ? undefined : Number(line[1]) * 1024;
  }

  /**
   * How much of guest RAM is resident: of the mapping that holds it (at least `memoryBytes` long, the nearest in size), the
   * pages from `offset` on.
   */
  touchedRam(memoryBytes: number, offset: number, ramBytes: number): number | undefined {
    let best: { start: number; size: number } | undefined;
    for (const [, from = '', to = ''] of (this.proc('maps') ?? '').matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw/gm)) {
      const start = Number.parseInt(from, 16);
      const size = Number.parseInt(to, 16) - start;
      if (size >= memoryBytes && (best === undefined || size < best.size)) best = { start, size };
    }
    return best === undefined ? undefined : this.presentPages(best.start + offset, ramBytes) * PAGE;
  }

  /** /proc/PID/pagemap: 64 bits a page, the highest tells that it is present. */
  private presentPages(address: number, bytes: number): number {
    const entries = Buffer.alloc((bytes / PAGE) * 8);
    const file = openSync(`/proc/${this.child.pid}/pagemap`, 'r');
    readSync(file, entries, 0, entries.length, (address / PAGE) * 8);
    closeSync(file);
    let pages = 0;
    for (let at = 7; at < entries.length; at += 8) if ((entries[at] ?? 0) >= 0x80) pages++;
    return pages;
  }

  private proc(name: string): string | undefined {
    try {
      return readFileSync(`/proc/${this.child.pid}/${name}`, 'utf8');
    } catch {
      return undefined;
    }
  }
}
