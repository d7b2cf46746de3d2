/**
 * What a vCPU asked the machine and what it was told, so that a second vCPU can be given the same without the devices knowing of it.
 * Changes that the machine made during a call (interrupt lines, memory) belong to the call and are repeated with it.
 */
import type { VcpuBus } from '../contract.ts';

interface Call {
  readonly what: string;
  readonly at: number;
  result: unknown;
  readonly changes: (() => void)[];
}

export class BusLog {
  private calls: Call[] = [];
  private open: Call | undefined;
  private cursor = 0;
  /** Changes are being repeated for the first vCPU, which went back, and not for the second. */
  forFirst = false;
  /** The first call of the second vCPU that was not the first's. */
  mismatch: string | undefined;

  /** Whether the first vCPU is in a call at this moment. */
  get inCall(): boolean {
    return this.open !== undefined;
  }

  clear(): void {
    this.calls = [];
    this.rewind();
  }

  /** The calls are going to be repeated from the first one on. */
  rewind(): void {
    this.cursor = 0;
    this.mismatch = undefined;
  }

  /** Calls that were repeated. */
  get position(): number {
    return this.cursor;
  }

  rewindTo(position: number): void {
    this.cursor = position;
    this.mismatch = undefined;
  }

  get complete(): boolean {
    return this.cursor === this.calls.length;
  }

  /** Something the machine did during the call at hand, as it is to be done again for the second vCPU. */
  change(again: () => void): void {
    this.open?.changes.push(again);
  }

  /** The machine's bus, with what passes over it noted. `count`: instructions executed. */
  recording(bus: VcpuBus, count: () => number): VcpuBus {
    return intercept(bus, (what, call) => {
      const entry: Call = { what, at: count(), result: undefined, changes: [] };
      this.calls.push(entry);
      const outer = this.open;
      this.open = entry;
      entry.result = call();
      this.open = outer;
      return entry.result;
    });
  }

  /** A bus that gives the same answers again. `fail` is called when a call is not the one that was made. */
  replaying(bus: VcpuBus, count: () => number, fail: () => void, forFirst = false): VcpuBus {
    return intercept(bus, (what) => {
      const entry = this.calls[this.cursor];
      const at = count();
      if (entry === undefined || entry.what !== what || entry.at !== at) {
        const expected = entry === undefined ? 'nothing more' : `${entry.what} at ${entry.at}`;
        this.mismatch ??= `${what} at instruction ${at}, and not ${expected}`;
        fail();
        return entry?.what.split(' ')[0] === what.split(' ')[0] ? entry?.result : nothing(what);
      }
      this.cursor++;
      this.forFirst = forFirst;
      for (const again of entry.changes) again();
      return entry.result;
    });
  }
}

/** An answer that does no harm. */
function nothing(what: string): unknown {
  if (what.startsWith('acknowledgeInterrupt')) return -1;
  if (what.startsWith('readMsr')) return { low: 0, high: 0 };
  if (what.startsWith('writeMsr')) return true;
  if (what.startsWith('cpuid')) return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  return 0;
}

function intercept(bus: VcpuBus, pass: (what: string, call: () => unknown) => unknown): VcpuBus {
  const wrap = (name: keyof VcpuBus): unknown => {
    const method = bus[name];
    if (method === undefined) return undefined;
    return (...args: unknown[]): unknown => {
      const what = `${name} ${JSON.stringify(args)}`;
      return pass(what, () => Reflect.apply(method, bus, args));
    };
  };
  const names = Object.keys(METHODS);
  // INVARIANT: METHODS lists every method of VcpuBus, and each is replaced by one that takes and gives the same.
  return Object.fromEntries(
    names.map((name) => [name, wrap(name as keyof VcpuBus)] as const).filter(([, method]) => method !== undefined),
  ) as unknown as VcpuBus;
}

const METHODS: Readonly<Record<keyof VcpuBus, true>> = {
  ioIn: true,
  ioOut: true,
  mmioRead: true,
  mmioWrite: true,
  readMsr: true,
  writeMsr: true,
  cpuid: true,
  tsc: true,
  random32: true,
  acknowledgeInterrupt: true,
  hypercall: true,
  readTpr: true,
  writeTpr: true,
};
