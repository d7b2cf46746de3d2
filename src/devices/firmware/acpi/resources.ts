/** Resource descriptors (ACPI 6.4, 6.4): the contents of _CRS and _PRS buffers. */
import { ByteBuilder, concatBytes } from '../../../base/bytes.ts';
import { type Aml, buffer } from './aml.ts';

/** A buffer of descriptors with its end tag. */
export function resourceTemplate(...descriptors: Uint8Array[]): Aml {
  return buffer(concatBytes([...descriptors, Uint8Array.of(0x79, 0)]));
}

/** Fixed ports, decoded with 16 bits. */
export function io(first: number, count: number, alignment: number = 1): Uint8Array {
  return new ByteBuilder().u8(0x47).u8(0x01).u16(first).u16(first).u8(alignment).u8(count).build();
}

/** ISA interrupts, edge-triggered, active high, not shared. */
export function irqNoFlags(...irqs: number[]): Uint8Array {
  return new ByteBuilder()
    .u8(0x22)
    .u16(irqs.reduce((mask, irq) => mask | (1 << irq), 0))
    .build();
}

/** A range of memory below 4 GiB, for reading and writing. */
export function memory32Fixed(address: number, bytes: number): Uint8Array {
  return new ByteBuilder().u8(0x86).u16(9).u8(1).u32(address).u32(bytes).build();
}

export interface InterruptFlags {
  readonly level: boolean;
  readonly activeLow: boolean;
  readonly shared: boolean;
}

/** The offset in an `interrupt` descriptor of its first number, for CreateDWordField. */
export const INTERRUPT_NUMBER_OFFSET = 5;

export function interrupt({ level, activeLow, shared }: InterruptFlags, ...gsis: number[]): Uint8Array {
  const flags = 0x01 | (level ? 0 : 0x02) | (activeLow ? 0x04 : 0) | (shared ? 0x08 : 0);
  const builder = new ByteBuilder()
    .u8(0x89)
    .u16(2 + 4 * gsis.length)
    .u8(flags)
    .u8(gsis.length);
  for (const gsi of gsis) builder.u32(gsi);
  return builder.build();
}

const TYPE_MEMORY = 0;
const TYPE_IO = 1;
const TYPE_BUS = 2;
/** Fixed minimum and maximum, positive decode, produced for what is below. */
const PRODUCER_FIXED = 0x0c;

/** A range of bus numbers behind a bridge. */
export function busNumbers(first: number, last: number): Uint8Array {
  return word(TYPE_BUS, 0, first, last);
}

/** A window of ports that a bridge passes on. */
export function ioWindow(first: number, last: number): Uint8Array {
  return word(TYPE_IO, 0x03, first, last);
}

/** A window of memory below 4 GiB that a bridge passes on. */
export function memoryWindow(first: number, last: number, cacheable: boolean = false): Uint8Array {
  const builder = new ByteBuilder()
    .u8(0x87)
    .u16(23)
    .u8(TYPE_MEMORY)
    .u8(PRODUCER_FIXED)
    .u8(0x01 | (cacheable ? 0x02 : 0));
  return builder
    .u32(0)
    .u32(first)
    .u32(last)
    .u32(0)
    .u32(last - first + 1)
    .build();
}

function word(type: number, typeFlags: number, first: number, last: number): Uint8Array {
  return new ByteBuilder()
    .u8(0x88)
    .u16(13)
    .u8(type)
    .u8(PRODUCER_FIXED)
    .u8(typeFlags)
    .u16(0)
    .u16(first)
    .u16(last)
    .u16(0)
    .u16(last - first + 1)
    .build();
}
