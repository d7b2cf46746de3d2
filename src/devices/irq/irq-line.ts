/** An interrupt line: a level that a device drives and whatever it is wired to sees change. */

/** What a device drives. Driving the level it already has does nothing. */
export interface IrqLine {
  set(level: boolean): void;
}

/** A line wired to a function, which is called at changes only. */
export class WiredLine implements IrqLine {
  private level_: boolean = false;
  private readonly onChange: (level: boolean) => void;

  constructor(onChange: (level: boolean) => void) {
    this.onChange = onChange;
  }

  get level(): boolean {
    return this.level_;
  }

  set(level: boolean): void {
    if (this.level_ === level) return;
    this.level_ = level;
    this.onChange(level);
  }
}

/** A wire that several devices may pull: asserted while any of them asserts it. */
export class SharedWire {
  private asserted: number = 0;
  private readonly onChange: (level: boolean) => void;

  constructor(onChange: (level: boolean) => void) {
    this.onChange = onChange;
  }

  /** One more device's connection to the wire. */
  connect(): IrqLine {
    return new WiredLine((level) => {
      const before = this.asserted > 0;
      this.asserted += level ? 1 : -1;
      if (this.asserted > 0 !== before) this.onChange(level);
    });
  }
}
