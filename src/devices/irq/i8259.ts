/**
 * One 8259A programmable interrupt controller (Intel 231468), with the edge/level control register that the PIIX added.
 * Two of them make the PC's pair: i8259-pair.ts.
 *
 * Left out: 8080 mode and LTIM (the ELCR decides the trigger mode), buffered mode (no effect visible to software).
 */
import { type SavedState, StateReader } from '../../state/state.ts';

const ICW1 = 0x10; // a command write with this bit starts initialisation
const ICW1_IC4 = 0x01; // ICW4 follows
const ICW1_SNGL = 0x02; // no cascade: ICW3 does not follow
const ICW4_AEOI = 0x02;
const ICW4_SFNM = 0x10; // special fully nested mode
const OCW3 = 0x08;
const OCW3_RIS = 0x01;
const OCW3_RR = 0x02; // read register command: RIS selects ISR
const OCW3_POLL = 0x04;
const OCW3_SMM = 0x20;
const OCW3_ESMM = 0x40; // set special mask mode to SMM

const NONE = 8; // priority of no interrupt at all
const SPURIOUS_IRQ = 7;

const INIT = { done: 0, icw2: 1, icw3: 2, icw4: 3 } as const;

export class I8259 {
  /** Interrupt request, in service and mask registers. */
  irr: number = 0;
  isr: number = 0;
  imr: number = 0;
  /** Bit set: that input is level-triggered. */
  elcr: number = 0;
  /** Inputs as they are. */
  lines: number = 0;
  vectorBase: number = 0;
  private highestPriority: number = 0; // the input that has priority 0
  private autoEoi: boolean = false;
  private rotateOnAutoEoi: boolean = false;
  private specialMask: boolean = false;
  private fullyNested: boolean = false;
  private poll: boolean = false;
  private readIsr: boolean = false;
  private initStep: number = INIT.done;
  private single: boolean = false;
  private wantIcw4: boolean = false;

  private readonly cascadeMask: number;
  private readonly onChange: () => void;

  /**
   * @param cascadeMask inputs that a slave is wired to
   * @param onChange called when the INT output may have changed
   */
  constructor(cascadeMask: number, onChange: () => void) {
    this.cascadeMask = cascadeMask;
    this.onChange = onChange;
  }

  reset(): void {
    this.initialise(0);
    this.initStep = INIT.done;
    this.irr = 0;
    this.elcr = 0;
    this.vectorBase = 0;
    this.onChange();
  }

  /** Chooses the trigger mode of each input; a level input asks for as long as it is up. */
  setElcr(elcr: number): void {
    this.elcr = elcr;
    this.irr = (this.irr & ~elcr) | (this.lines & elcr);
    this.onChange();
  }

  setLine(input: number, level: boolean): void {
    const bit = 1 << input;
    if (level) {
      if ((this.lines & bit) === 0 || (this.elcr & bit) !== 0) this.irr |= bit;
      this.lines |= bit;
    } else {
      if ((this.elcr & bit) !== 0) this.irr &= ~bit;
      this.lines &= ~bit;
    }
    this.onChange();
  }

  /** The input whose interrupt the INT output asks for, -1 when INT is low. */
  pending(): number {
    const requested = this.priorityOf(this.irr & ~this.imr);
    if (requested === NONE) return -1;
    let inService = this.isr;
    if (this.specialMask) inService &= ~this.imr;
    // In special fully nested mode a slave that is in service may interrupt again.
    if (this.fullyNested) inService &= ~this.cascadeMask;
    return requested < this.priorityOf(inService) ? (requested + this.highestPriority) & 7 : -1;
  }

  /** The INTA cycle: returns the input that is now in service, or 7 without putting it in service when there is none. */
  acknowledge(): number {
    const input = this.pending();
    if (input < 0) return SPURIOUS_IRQ;
    const bit = 1 << input;
    if (!this.autoEoi) this.isr |= bit;
    else if (this.rotateOnAutoEoi) this.highestPriority = (input + 1) & 7;
    if ((this.elcr & bit) === 0) this.irr &= ~bit;
    this.onChange();
    return input;
  }

  /** @param offset 0 = command port, 1 = data port */
  read(offset: number): number {
    if (this.poll) {
      this.poll = false;
      const input = this.pending();
      return input < 0 ? 0 : this.acknowledge() | 0x80;
    }
    if (offset === 1) return this.imr;
    return this.readIsr ? this.isr : this.irr;
  }

  write(offset: number, value: number): void {
    if (offset === 1) this.writeData(value);
    else if (value & ICW1) this.initialise(value);
    else if (value & OCW3) this.writeOcw3(value);
    else this.writeOcw2(value);
    this.onChange();
  }

  save(): SavedState {
    const {
      irr,
      isr,
      imr,
      elcr,
      lines,
      vectorBase,
      highestPriority,
      autoEoi,
      rotateOnAutoEoi,
      specialMask,
      fullyNested,
      poll,
      readIsr,
      initStep,
      single,
      wantIcw4,
    } = this;
    return {
      kind: 'i8259',
      version: 1,
      fields: {
        irr,
        isr,
        imr,
        elcr,
        lines,
        vectorBase,
        highestPriority,
        autoEoi,
        rotateOnAutoEoi,
        specialMask,
        fullyNested,
        poll,
        readIsr,
        initStep,
        single,
        wantIcw4,
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, 'i8259', 1);
    this.irr = reader.u8('irr');
    this.isr = reader.u8('isr');
    this.imr = reader.u8('imr');
    this.elcr = reader.u8('elcr');
    this.lines = reader.u8('lines');
    this.vectorBase = reader.u8('vectorBase');
    this.highestPriority = reader.integer('highestPriority', 7);
    this.autoEoi = reader.bool('autoEoi');
    this.rotateOnAutoEoi = reader.bool('rotateOnAutoEoi');
    this.specialMask = reader.bool('specialMask');
    this.fullyNested = reader.bool('fullyNested');
    this.poll = reader.bool('poll');
    this.readIsr = reader.bool('readIsr');
    this.initStep = reader.integer('initStep', INIT.icw4);
    this.single = reader.bool('single');
    this.wantIcw4 = reader.bool('wantIcw4');
    this.onChange();
  }

  /** 0 = highest: the priority of the most urgent input in a mask. */
  private priorityOf(mask: number): number {
    if (mask === 0) return NONE;
    const rotated = ((mask >> this.highestPriority) | (mask << (8 - this.highestPriority))) & 0xff;
    return 31 - Math.clz32(rotated & -rotated);
  }

  private initialise(icw1: number): void {
    this.irr &= this.elcr; // the edge sense circuit is reset; level inputs keep asking
    this.imr = 0;
    this.isr = 0;
    this.highestPriority = 0;
    this.autoEoi = false;
    this.rotateOnAutoEoi = false;
    this.specialMask = false;
    this.fullyNested = false;
    this.poll = false;
    this.readIsr = false;
    this.single = (icw1 & ICW1_SNGL) !== 0;
    this.wantIcw4 = (icw1 & ICW1_IC4) !== 0;
    this.initStep = INIT.icw2;
  }

  private writeData(value: number): void {
    switch (this.initStep) {
      case INIT.icw2:
        this.vectorBase = value & 0xf8;
        this.initStep = this.single ? this.afterIcw3() : INIT.icw3;
        break;
      case INIT.icw3:
        this.initStep = this.afterIcw3();
        break;
      case INIT.icw4:
        this.fullyNested = (value & ICW4_SFNM) !== 0;
        this.autoEoi = (value & ICW4_AEOI) !== 0;
        this.initStep = INIT.done;
        break;
      default:
        this.imr = value;
    }
  }

  private afterIcw3(): number {
    return this.wantIcw4 ? INIT.icw4 : INIT.done;
  }

  private writeOcw2(value: number): void {
    const rotate = (value & 0x80) !== 0;
    const specific = (value & 0x40) !== 0;
    if ((value & 0x20) === 0) {
      // No end of interrupt: set priority, or choose what automatic EOI does.
      if (specific && rotate) this.highestPriority = ((value & 7) + 1) & 7;
      else if (!specific) this.rotateOnAutoEoi = rotate;
      return;
    }
    const priority = specific ? NONE : this.priorityOf(this.isr);
    if (!specific && priority === NONE) return;
    const input = specific ? value & 7 : (priority + this.highestPriority) & 7;
    this.isr &= ~(1 << input);
    if (rotate) this.highestPriority = (input + 1) & 7;
  }

  private writeOcw3(value: number): void {
    if (value & OCW3_POLL) this.poll = true;
    if (value & OCW3_RR) this.readIsr = (value & OCW3_RIS) !== 0;
    if (value & OCW3_ESMM) this.specialMask = (value & OCW3_SMM) !== 0;
  }
}
