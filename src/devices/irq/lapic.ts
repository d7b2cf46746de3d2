/**
 * The local APIC (SDM volume 3, chapter 12): xAPIC registers in memory and x2APIC registers as MSRs over one register
 * file; priorities, local vector table, interprocessor interrupts. The timer is apic-timer.ts. One a vCPU.
 *
 * Left out: delivery status (messages arrive at once, so it always reads idle), remote read, arbitration (APR reads 0),
 * CMCI, suppression of EOI broadcasts, level-triggered LINT pins' remote IRR.
 */
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints } from '../../trace/trace.ts';
import type { Device, DeviceContext } from '../device.ts';
import {
  type ApicBus,
  type ApicBusAgent,
  type ApicMessage,
  BROADCAST,
  DELIVERY_EXTINT,
  DELIVERY_FIXED,
  DELIVERY_INIT,
  DELIVERY_LOWEST_PRIORITY,
  DELIVERY_NMI,
  DELIVERY_SMI,
  DELIVERY_STARTUP,
} from './apic-bus.ts';
import { ApicTimer, type GuestTsc } from './apic-timer.ts';
import {
  APIC_DEFAULT_BASE,
  APR,
  BASE_BSP,
  BASE_EN,
  BASE_EXTD,
  BASE_RESERVED_HIGH,
  BASE_RESERVED_LOW,
  DFR,
  EOI,
  ESR,
  ESR_ILLEGAL_REGISTER,
  ESR_RECEIVED_ILLEGAL_VECTOR,
  ESR_SEND_ILLEGAL_VECTOR,
  FIRST_LEGAL_VECTOR,
  ICR_ASSERT,
  ICR_HIGH,
  ICR_LEVEL,
  ICR_LOGICAL,
  ICR_LOW,
  ICR_WRITABLE,
  ID,
  IRR0,
  ISR0,
  LDR,
  LVT_ERROR,
  LVT_LINT0,
  LVT_LINT1,
  LVT_MASKED,
  LVT_TIMER,
  LVT_WRITABLE,
  MSR_APIC_BASE,
  MSR_TSC_DEADLINE,
  MSR_X2APIC_FIRST,
  PPR,
  RRD,
  SELF_IPI,
  SVR,
  SVR_ENABLE,
  SVR_WRITABLE,
  TIMER_CURRENT,
  TIMER_DIVIDE,
  TIMER_INITIAL,
  TMR0,
  TPR,
  VERSION,
  VERSION_VALUE,
  X2APIC_ALLOWED,
  X2APIC_READABLE,
  X2APIC_WRITABLE,
} from './lapic-registers.ts';
import { VectorSet } from './vector-set.ts';

const EVENTS = defineEvents({
  apic_read: ['id', 'register', 'value'],
  apic_write: ['id', 'register', 'value'],
  apic_accept: ['id', 'delivery', 'vector', 'level'],
  apic_eoi: ['id', 'vector'],
  apic_ipi: ['id', 'icr', 'destination'],
});

/** What a local APIC does to its CPU. */
export interface LapicCpu {
  /** The request line for maskable interrupts that the APIC itself has pending changed. */
  setInterruptRequest(active: boolean): void;
  nmi(): void;
  smi(): void;
  /** INIT: reset to wait for a startup message (the boot processor starts over). */
  init(): void;
  /** Startup message: run in real mode at vector * 0x1000. */
  startup(vector: number): void;
}

export interface LapicOptions extends Pick<DeviceContext, 'clock' | 'tracer'> {
  readonly id: number;
  readonly bootProcessor: boolean;
  readonly bus: ApicBus;
  readonly cpu: LapicCpu;
  readonly tsc: GuestTsc;
  /** IA32_APIC_BASE or LINT0's entry changed: where the registers are, and whether the 8259 reaches the CPU. */
  readonly onWiringChange: () => void;
}

export class Lapic implements Device, ApicBusAgent {
  readonly kind: string = 'lapic';
  readonly bootProcessor: boolean;
  private readonly initialId: number;
  private readonly bus: ApicBus;
  private readonly cpu: LapicCpu;
  private readonly onWiringChange: () => void;
  private readonly timer: ApicTimer;
  private readonly trace: TracePoints<typeof EVENTS>;

  private baseLow: number = 0;
  private baseHigh: number = 0;
  private id: number = 0;
  private tpr_: number = 0;
  private ldr: number = 0;
  private dfr: number = 0xffffffff;
  private svr: number = 0xff;
  private readonly inService: VectorSet = new VectorSet();
  private readonly triggerMode: VectorSet = new VectorSet();
  private readonly requested: VectorSet = new VectorSet();
  private esr: number = 0;
  /** Errors since the last write to ESR. */
  private errors: number = 0;
  private icrLow: number = 0;
  private icrHigh: number = 0;
  private readonly lvt: Uint32Array = new Uint32Array(6).fill(LVT_MASKED);
  private readonly lintLevels: boolean[] = [false, false];
  private requesting: boolean = false;

  constructor(options: LapicOptions) {
    this.initialId = options.id;
    this.bootProcessor = options.bootProcessor;
    this.bus = options.bus;
    this.cpu = options.cpu;
    this.onWiringChange = options.onWiringChange;
    this.trace = options.tracer.attach(EVENTS);
    this.timer = new ApicTimer(options.clock, options.tsc, () => this.deliverLocal(LVT_TIMER));
    this.baseLow = this.resetBase();
    this.setDefaults();
    this.bus.addAgent(this);
  }

  /** Power-up reset. */
  reset(): void {
    this.baseLow = this.resetBase();
    this.baseHigh = 0;
    this.init();
  }

  /** What an INIT message does: everything but IA32_APIC_BASE, and the ID in x2APIC mode. */
  init(): void {
    this.setDefaults();
    this.onWiringChange();
    this.update();
  }

  private setDefaults(): void {
    this.id = this.initialId;
    this.tpr_ = 0;
    this.ldr = 0;
    this.dfr = 0xffffffff;
    this.svr = 0xff;
    this.inService.clear();
    this.triggerMode.clear();
    this.requested.clear();
    this.esr = 0;
    this.errors = 0;
    this.icrLow = 0;
    this.icrHigh = 0;
    this.lvt.fill(LVT_MASKED);
    this.timer.reset();
    if (this.x2apic) this.ldr = this.x2apicLdr();
  }

  // ---- where the registers are ----

  get enabled(): boolean {
    return (this.baseLow & BASE_EN) !== 0;
  }

  get x2apic(): boolean {
    return (this.baseLow & BASE_EXTD) !== 0;
  }

  /** Where the registers are in memory, undefined when they are not. */
  get mmioBase(): number | undefined {
    if (!this.enabled || this.x2apic) return undefined;
    return (
      this.baseHigh * 0x1_0000_0000 +
      (this.baseLow & 0xfffff000) +
      ((this.baseLow & 0x80000000) !== 0 ? 0x1_0000_0000 : 0)
    );
  }

  get softwareEnabled(): boolean {
    return this.enabled && (this.svr & SVR_ENABLE) !== 0;
  }

  /** Whether the 8259's INTR reaches the CPU: past a disabled APIC, or through LINT0 as ExtINT. */
  get acceptsExtInt(): boolean {
    if (!this.enabled) return true;
    const lint0 = this.lvtEntry(LVT_LINT0);
    return (lint0 & LVT_MASKED) === 0 && deliveryOf(lint0) === DELIVERY_EXTINT;
  }

  // ---- interrupts to the CPU ----

  /** Task priority as CR8 shows it: its upper four bits. */
  get cr8(): number {
    return this.tpr_ >> 4;
  }

  set cr8(value: number) {
    this.tpr_ = (value & 0xf) << 4;
    this.update();
  }

  get processorPriority(): number {
    const servicing = Math.max(0, this.inService.highest());
    return (this.tpr_ & 0xf0) >= (servicing & 0xf0) ? this.tpr_ : servicing & 0xf0;
  }

  /** The vector the APIC wants delivered now, -1 when none has enough priority. */
  pendingVector(): number {
    if (!this.softwareEnabled) return -1;
    const vector = this.requested.highest();
    return (vector & 0xf0) > (this.processorPriority & 0xf0) && vector >= 0 ? vector : -1;
  }

  /** The CPU takes the interrupt: it is in service until EOI. -1 when the request went away. */
  acknowledge(): number {
    const vector = this.pendingVector();
    if (vector < 0) return -1;
    this.requested.remove(vector);
    this.inService.add(vector);
    this.update();
    return vector;
  }

  /** LINT0 (the 8259's INTR) or LINT1 (NMI) changed. */
  setLint(pin: 0 | 1, level: boolean): void {
    const rises = level && !this.lintLevels[pin];
    this.lintLevels[pin] = level;
    if (rises && this.enabled) this.deliverLocal(pin === 0 ? LVT_LINT0 : LVT_LINT1);
  }

  // ---- messages ----

  matches(message: ApicMessage): boolean {
    if (!this.enabled) return false;
    const { destination } = message;
    if (destination === BROADCAST) return true;
    if (!message.logical) return destination === this.id || (!this.x2apic && destination === 0xff);
    if (this.x2apic) return destination >>> 16 === this.ldr >>> 16 && (destination & this.ldr & 0xffff) !== 0;
    if (destination === 0xff) return true;
    const logicalId = this.ldr >>> 24;
    if (this.dfr >>> 28 === 0xf) return (destination & logicalId) !== 0;
    return destination >> 4 === logicalId >> 4 && (destination & logicalId & 0xf) !== 0;
  }

  accept(message: ApicMessage): boolean {
    const { delivery, vector, levelTriggered } = message;
    if (this.trace.apic_accept.on) this.trace.apic_accept.emit(this.id, delivery, vector, levelTriggered);
    switch (delivery) {
      case DELIVERY_FIXED:
      case DELIVERY_LOWEST_PRIORITY:
        if (!this.softwareEnabled) return false;
        if (vector < FIRST_LEGAL_VECTOR) {
          this.raiseError(ESR_RECEIVED_ILLEGAL_VECTOR);
          return true;
        }
        this.requested.add(vector);
        if (levelTriggered) this.triggerMode.add(vector);
        else this.triggerMode.remove(vector);
        this.update();
        return true;
      case DELIVERY_NMI:
        this.cpu.nmi();
        return true;
      case DELIVERY_SMI:
        this.cpu.smi();
        return true;
      case DELIVERY_INIT:
        this.init();
        this.cpu.init();
        return true;
      case DELIVERY_STARTUP:
        this.cpu.startup(vector);
        return true;
      default:
        return false;
    }
  }

  // ---- registers in memory ----

  read(offset: number, size: number): number {
    const value = this.readRegister((offset >> 4) & 0xff);
    // Registers are 32 bits wide at 16-byte steps; what lies between reads as the rest of the register, then 0.
    const shift = (offset & 0xf) * 8;
    return shift >= 32 ? 0 : size === 4 ? value >>> shift : (value >>> shift) & ((1 << (size * 8)) - 1);
  }

  write(offset: number, size: number, value: number): void {
    if (size !== 4 || (offset & 0xf) !== 0) return; // undefined by the SDM; ignored
    this.writeRegister((offset >> 4) & 0xff, value >>> 0);
  }

  // ---- registers as MSRs ----

  /** Reads IA32_APIC_BASE, IA32_TSC_DEADLINE or an x2APIC register; undefined = #GP. */
  readMsr(msr: number): { low: number; high: number } | undefined {
    if (msr === MSR_APIC_BASE) return { low: this.baseLow, high: this.baseHigh };
    if (msr === MSR_TSC_DEADLINE) {
      const ticks = this.timer.tscDeadline;
      return { low: ticks >>> 0, high: Math.floor(ticks / 0x1_0000_0000) >>> 0 };
    }
    if (!this.x2apic) return undefined;
    const register = msr - MSR_X2APIC_FIRST;
    if (!X2APIC_READABLE.has(register)) return undefined;
    return { low: this.readRegister(register), high: register === ICR_LOW ? this.icrHigh : 0 };
  }

  /** False = #GP. */
  writeMsr(msr: number, low: number, high: number): boolean {
    if (msr === MSR_APIC_BASE) return this.writeBase(low >>> 0, high >>> 0);
    if (msr === MSR_TSC_DEADLINE) {
      this.timer.tscDeadline = (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
      return true;
    }
    if (!this.x2apic) return false;
    const register = msr - MSR_X2APIC_FIRST;
    if (!X2APIC_WRITABLE.has(register)) return false;
    if (register === ICR_LOW) {
      this.icrHigh = high >>> 0;
      this.writeRegister(ICR_LOW, low >>> 0);
      return true;
    }
    if (high !== 0) return false;
    // Reserved bits are checked here, unlike in memory.
    const allowed = X2APIC_ALLOWED.get(register) ?? 0xffffffff;
    if ((low & ~allowed) !== 0) return false;
    this.writeRegister(register, low >>> 0);
    return true;
  }

  /** The guest's TSC was written. */
  tscChanged(): void {
    this.timer.tscChanged();
  }

  save(): SavedState {
    const { baseLow, baseHigh, id, ldr, dfr, svr, esr, errors, icrLow, icrHigh } = this;
    return {
      kind: this.kind,
      version: 1,
      fields: {
        baseLow,
        baseHigh,
        id,
        ldr,
        dfr,
        svr,
        esr,
        errors,
        icrLow,
        icrHigh,
        tpr: this.tpr_,
        isr: [...this.inService.words],
        tmr: [...this.triggerMode.words],
        irr: [...this.requested.words],
        lvt: [...this.lvt],
        lint: [...this.lintLevels],
        timer: nested(this.timer.save()),
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.baseLow = reader.u32('baseLow');
    this.baseHigh = reader.u32('baseHigh');
    this.id = reader.u32('id');
    this.ldr = reader.u32('ldr');
    this.dfr = reader.u32('dfr');
    this.svr = reader.u32('svr') & SVR_WRITABLE;
    this.esr = reader.u32('esr');
    this.errors = reader.u32('errors');
    this.icrLow = reader.u32('icrLow');
    this.icrHigh = reader.u32('icrHigh');
    this.tpr_ = reader.u8('tpr');
    this.inService.words.set(reader.numbers('isr', 0xffffffff, 8));
    this.triggerMode.words.set(reader.numbers('tmr', 0xffffffff, 8));
    this.requested.words.set(reader.numbers('irr', 0xffffffff, 8));
    this.lvt.set(reader.numbers('lvt', 0xffffffff, 6));
    this.timer.load(reader.state('timer'));
    this.onWiringChange();
    this.update();
  }

  private resetBase(): number {
    return (APIC_DEFAULT_BASE | BASE_EN | (this.bootProcessor ? BASE_BSP : 0)) >>> 0;
  }

  private writeBase(low: number, high: number): boolean {
    if (low & BASE_RESERVED_LOW || high & BASE_RESERVED_HIGH) return false;
    const mode = low & (BASE_EN | BASE_EXTD);
    const before = this.baseLow & (BASE_EN | BASE_EXTD);
    // Legal: off to xAPIC, xAPIC to x2APIC or off, x2APIC to off, and staying.
    if (mode === BASE_EXTD) return false;
    if (mode === (BASE_EN | BASE_EXTD) && before === 0) return false;
    if (mode === BASE_EN && before === (BASE_EN | BASE_EXTD)) return false;
    this.baseLow = low;
    this.baseHigh = high;
    if (mode !== before) {
      if (mode === 0) this.init();
      else if (mode & BASE_EXTD) {
        this.id = this.initialId;
        this.ldr = this.x2apicLdr();
      }
    }
    this.onWiringChange();
    this.update();
    return true;
  }

  private x2apicLdr(): number {
    return ((this.initialId >> 4) << 16) | (1 << (this.initialId & 0xf));
  }

  private lvtEntry(register: number): number {
    // INVARIANT: called with the six LVT registers, which are consecutive.
    return this.lvt[register - LVT_TIMER]!;
  }

  private readRegister(register: number): number {
    const value = this.registerValue(register);
    if (this.trace.apic_read.on) this.trace.apic_read.emit(this.id, register << 4, value);
    return value;
  }

  private registerValue(register: number): number {
    if (register >= ISR0 && register < TMR0) return this.inService.word(register - ISR0);
    if (register >= TMR0 && register < IRR0) return this.triggerMode.word(register - TMR0);
    if (register >= IRR0 && register < ESR) return this.requested.word(register - IRR0);
    if (register >= LVT_TIMER && register <= LVT_ERROR) return this.lvtEntry(register);
    switch (register) {
      case ID:
        return this.x2apic ? this.id : (this.id << 24) >>> 0;
      case VERSION:
        return VERSION_VALUE;
      case TPR:
        return this.tpr_;
      case PPR:
        return this.processorPriority;
      case APR:
      case RRD:
      case EOI:
        return 0;
      case LDR:
        return this.ldr;
      case DFR:
        return this.dfr;
      case SVR:
        return this.svr;
      case ESR:
        return this.esr;
      case ICR_LOW:
        return this.icrLow;
      case ICR_HIGH:
        return this.icrHigh;
      case TIMER_INITIAL:
        return this.timer.initialCount;
      case TIMER_CURRENT:
        return this.timer.currentCount;
      case TIMER_DIVIDE:
        return this.timer.divideConfiguration;
      default:
        this.raiseError(ESR_ILLEGAL_REGISTER);
        return 0;
    }
  }

  private writeRegister(register: number, value: number): void {
    if (this.trace.apic_write.on) this.trace.apic_write.emit(this.id, register << 4, value);
    if (register >= LVT_TIMER && register <= LVT_ERROR) {
      this.writeLvt(register, value);
      return;
    }
    switch (register) {
      case ID:
        this.id = value >>> 24;
        break;
      case TPR:
        this.tpr_ = value & 0xff;
        this.update();
        break;
      case EOI:
        this.endOfInterrupt();
        break;
      case LDR:
        this.ldr = (value & 0xff000000) >>> 0;
        break;
      case DFR:
        this.dfr = (value | 0x0fffffff) >>> 0;
        break;
      case SVR:
        this.svr = value & SVR_WRITABLE;
        if (!(value & SVR_ENABLE)) this.lvt.forEach((entry, i) => (this.lvt[i] = entry | LVT_MASKED));
        this.onWiringChange();
        this.update();
        break;
      case ESR:
        this.esr = this.errors;
        this.errors = 0;
        break;
      case ICR_LOW:
        this.icrLow = value & ICR_WRITABLE;
        this.sendIpi();
        break;
      case ICR_HIGH:
        this.icrHigh = (value & 0xff000000) >>> 0;
        break;
      case TIMER_INITIAL:
        this.timer.initialCount = value;
        break;
      case TIMER_DIVIDE:
        this.timer.divideConfiguration = value;
        break;
      case SELF_IPI:
        if (this.x2apic) this.sendSelf(value & 0xff);
        else this.raiseError(ESR_ILLEGAL_REGISTER);
        break;
      case VERSION:
      case APR:
      case PPR:
      case RRD:
      case TIMER_CURRENT:
        break; // read only
      default:
        if (register < ISR0 || register > ESR) this.raiseError(ESR_ILLEGAL_REGISTER);
    }
  }

  private writeLvt(register: number, value: number): void {
    // INVARIANT: six entries, register is one of them.
    const writable = LVT_WRITABLE[(register - LVT_TIMER) as 0 | 1 | 2 | 3 | 4 | 5];
    const masked = this.softwareEnabled ? 0 : LVT_MASKED;
    this.lvt[register - LVT_TIMER] = ((value & writable) | masked) >>> 0;
    if (register === LVT_TIMER) {
      const mode = (value >> 17) & 3;
      this.timer.setMode(mode === 1 ? 'periodic' : mode === 2 ? 'deadline' : 'one-shot');
    }
    if (register === LVT_LINT0) this.onWiringChange();
    this.update();
  }

  private endOfInterrupt(): void {
    const vector = this.inService.highest();
    if (vector < 0) return;
    this.inService.remove(vector);
    if (this.trace.apic_eoi.on) this.trace.apic_eoi.emit(this.id, vector);
    if (this.triggerMode.has(vector)) this.bus.broadcastEoi(vector);
    this.update();
  }

  private sendIpi(): void {
    const icr = this.icrLow;
    const delivery = deliveryOf(icr);
    const vector = icr & 0xff;
    const destination = this.x2apic ? this.icrHigh : this.icrHigh >>> 24;
    if (this.trace.apic_ipi.on) this.trace.apic_ipi.emit(this.id, icr, destination);
    // INIT with level de-assert only synchronised the arbitration IDs of old APICs.
    if (delivery === DELIVERY_INIT && icr & ICR_LEVEL && !(icr & ICR_ASSERT)) return;
    if ((delivery === DELIVERY_FIXED || delivery === DELIVERY_LOWEST_PRIORITY) && vector < FIRST_LEGAL_VECTOR) {
      this.raiseError(ESR_SEND_ILLEGAL_VECTOR);
      return;
    }
    const logical = (icr & ICR_LOGICAL) !== 0;
    const broadcast = destination === (this.x2apic ? 0xffffffff : 0xff) && !logical;
    // IPIs are edge-triggered whatever the level bit says, except the INIT de-assert above.
    const message: ApicMessage = {
      destination: broadcast ? BROADCAST : destination,
      logical,
      delivery,
      vector,
      levelTriggered: false,
    };
    switch ((icr >> 18) & 3) {
      case 0:
        this.bus.deliver(message);
        break;
      case 1:
        this.sendSelf(vector);
        break;
      case 2:
        this.bus.deliver({ ...message, destination: BROADCAST, logical: false });
        break;
      default:
        this.bus.deliver({ ...message, destination: BROADCAST, logical: false }, this);
    }
  }

  private sendSelf(vector: number): void {
    if (vector < FIRST_LEGAL_VECTOR) this.raiseError(ESR_SEND_ILLEGAL_VECTOR);
    else this.accept({ destination: this.id, logical: false, delivery: DELIVERY_FIXED, vector, levelTriggered: false });
  }

  /** An interrupt of the local vector table. */
  private deliverLocal(register: number): void {
    const entry = this.lvtEntry(register);
    if (entry & LVT_MASKED) return;
    const delivery = register === LVT_TIMER || register === LVT_ERROR ? DELIVERY_FIXED : deliveryOf(entry);
    // ExtINT is a level that the board passes on: see acceptsExtInt.
    if (delivery === DELIVERY_EXTINT) return;
    this.accept({ destination: this.id, logical: false, delivery, vector: entry & 0xff, levelTriggered: false });
  }

  private raiseError(error: number): void {
    const isNew = (this.errors & error) === 0;
    this.errors |= error;
    // An error entry with an illegal vector raises that error itself: do not go round.
    if (isNew && (this.lvtEntry(LVT_ERROR) & 0xff) >= FIRST_LEGAL_VECTOR) this.deliverLocal(LVT_ERROR);
  }

  private update(): void {
    const requesting = this.pendingVector() >= 0;
    if (requesting === this.requesting) return;
    this.requesting = requesting;
    this.cpu.setInterruptRequest(requesting);
  }
}

function deliveryOf(value: number): number {
  return (value >> 8) & 7;
}
