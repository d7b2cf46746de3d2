/**
 * What travels between local APICs, IOAPICs and devices with message signalled interrupts (SDM volume 3, chapter 12):
 * one message format, and the bus that finds its destinations.
 */

export const DELIVERY_FIXED = 0;
export const DELIVERY_LOWEST_PRIORITY = 1;
export const DELIVERY_SMI = 2;
export const DELIVERY_NMI = 4;
export const DELIVERY_INIT = 5;
export const DELIVERY_STARTUP = 6;
export const DELIVERY_EXTINT = 7;

/** An APIC ID that all local APICs answer to. */
export const BROADCAST = 0xffffffff;

export interface ApicMessage {
  /** APIC ID or logical destination; BROADCAST for all. */
  readonly destination: number;
  readonly logical: boolean;
  /** DELIVERY_* */
  readonly delivery: number;
  readonly vector: number;
  readonly levelTriggered: boolean;
}

/** A local APIC as the bus sees it. */
export interface ApicBusAgent {
  matches(message: ApicMessage): boolean;
  /** Takes a message meant for this APIC; false when it is off. */
  accept(message: ApicMessage): boolean;
  /** For lowest priority delivery. */
  readonly processorPriority: number;
  readonly softwareEnabled: boolean;
}

/** Whoever wants to hear of the end of level-triggered interrupts. */
export interface EoiListener {
  endOfInterrupt(vector: number): void;
}

export class ApicBus {
  private readonly agents: ApicBusAgent[] = [];
  private readonly eoiListeners: EoiListener[] = [];

  addAgent(agent: ApicBusAgent): void {
    this.agents.push(agent);
  }

  addEoiListener(listener: EoiListener): void {
    this.eoiListeners.push(listener);
  }

  /** Delivers to every destination, or to one for lowest priority. False when nobody took it. */
  deliver(message: ApicMessage, except?: ApicBusAgent): boolean {
    if (message.delivery === DELIVERY_LOWEST_PRIORITY) return this.deliverToLowest(message, except);
    let accepted = false;
    for (const agent of this.agents) {
      if (agent !== except && agent.matches(message) && agent.accept(message)) accepted = true;
    }
    return accepted;
  }

  /** A write of a device to 0xFEExxxxx. */
  deliverMsi(addressLow: number, data: number): boolean {
    const destination = (addressLow >>> 12) & 0xff;
    const logical = (addressLow & 4) !== 0;
    return this.deliver({
      destination: destination === 0xff && !logical ? BROADCAST : destination,
      logical,
      delivery: (data >> 8) & 7,
      vector: data & 0xff,
      levelTriggered: (data & 0x8000) !== 0,
    });
  }

  broadcastEoi(vector: number): void {
    for (const listener of this.eoiListeners) listener.endOfInterrupt(vector);
  }

  private deliverToLowest(message: ApicMessage, except?: ApicBusAgent): boolean {
    let lowest: ApicBusAgent | undefined;
    for (const agent of this.agents) {
      if (agent === except || !agent.softwareEnabled || !agent.matches(message)) continue;
      if (!lowest || agent.processorPriority < lowest.processorPriority) lowest = agent;
    }
    return lowest?.accept({ ...message, delivery: DELIVERY_FIXED }) ?? false;
  }
}
