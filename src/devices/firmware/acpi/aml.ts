/**
 * A small AML writer (ACPI 6.4, chapter 20): each function returns the bytes of one term, so that a DSDT reads as nested
 * calls shaped like its ASL.
 *
 *     scope("\\_SB", device("PCI0", name("_HID", eisaId("PNP0A03")), name("_UID", integer(0))))
 */
import { asciiBytes, ByteBuilder, concatBytes } from '../../../base/bytes.ts';
import { InternalError } from '../../../base/errors.ts';

/** The encoded bytes of an AML term. */
export type Aml = Uint8Array;

const bytes = (...values: number[]): Aml => Uint8Array.from(values);

/** A package length and what it covers; the length counts its own bytes. */
function packaged(body: Aml): Aml {
  const { length } = body;
  if (length + 1 < 0x40) return concatBytes([bytes(length + 1), body]);
  for (let extra = 1; extra <= 3; extra++) {
    const total = length + 1 + extra;
    if (total >= 2 ** (4 + 8 * extra)) continue;
    const lead = new ByteBuilder().u8((extra << 6) | (total & 0xf));
    for (let i = 0; i < extra; i++) lead.u8((total >> (4 + 8 * i)) & 0xff);
    return concatBytes([lead.build(), body]);
  }
  throw new InternalError('An AML package is too long.', { length });
}

function opWithPackage(opcode: readonly number[], ...parts: Aml[]): Aml {
  return concatBytes([Uint8Array.from(opcode), packaged(concatBytes(parts))]);
}

/** A name path: "PCI0", "\\_SB.PCI0", "^PRQ0". Segments are filled up with underscores. */
export function path(text: string): Aml {
  const prefix = /^(\\|\^*)/.exec(text)?.[0] ?? '';
  const segments = text
    .slice(prefix.length)
    .split('.')
    .filter((segment) => segment !== '');
  const names = asciiBytes(segments.map((segment) => segment.padEnd(4, '_')).join(''));
  const lead =
    segments.length === 0 ? [0] : segments.length === 1 ? [] : segments.length === 2 ? [0x2e] : [0x2f, segments.length];
  return concatBytes([asciiBytes(prefix), Uint8Array.from(lead), names]);
}

export function integer(value: number): Aml {
  if (value === 0 || value === 1) return bytes(value);
  const builder = new ByteBuilder();
  if (value <= 0xff) return builder.u8(0x0a).u8(value).build();
  if (value <= 0xffff) return builder.u8(0x0b).u16(value).build();
  if (value <= 0xffffffff) return builder.u8(0x0c).u32(value).build();
  return builder.u8(0x0e).u64(value).build();
}

export function string(text: string): Aml {
  return concatBytes([bytes(0x0d), asciiBytes(text), bytes(0)]);
}

/** A compressed identifier: three letters and four hexadecimal digits. */
export function eisaId(id: string): Aml {
  const letter = (i: number): number => id.charCodeAt(i) - 0x40;
  const product = Number.parseInt(id.slice(3), 16);
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  return bytes(0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff);
}

export function buffer(content: Uint8Array): Aml {
  return opWithPackage([0x11], integer(content.length), content);
}

export function amlPackage(...elements: Aml[]): Aml {
  return opWithPackage([0x12], bytes(elements.length), ...elements);
}

export function name(text: string, value: Aml): Aml {
  return concatBytes([bytes(0x08), path(text), value]);
}

export function scope(text: string, ...terms: Aml[]): Aml {
  return opWithPackage([0x10], path(text), ...terms);
}

export function device(text: string, ...terms: Aml[]): Aml {
  return opWithPackage([0x5b, 0x82], path(text), ...terms);
}

export function method(text: string, argumentCount: number, serialized: boolean, ...terms: Aml[]): Aml {
  return opWithPackage([0x14], path(text), bytes(argumentCount | (serialized ? 8 : 0)), ...terms);
}

/** Address spaces of operation regions. */
export const SPACE_SYSTEM_IO = 1;
export const SPACE_PCI_CONFIG = 2;

export function operationRegion(text: string, space: number, offset: number, sizeBytes: number): Aml {
  return concatBytes([bytes(0x5b, 0x80), path(text), bytes(space), integer(offset), integer(sizeBytes)]);
}

/** A field of an operation region, byte access, no lock, preserving; names (or "" for a gap) with their widths in bits. */
export function byteField(region: string, ...fields: (readonly [string, number])[]): Aml {
  const list = fields.map(([text, bits]) => concatBytes([text === '' ? bytes(0) : path(text), packageLengthOf(bits)]));
  return opWithPackage([0x5b, 0x81], path(region), bytes(0x01), ...list);
}

/** A width in a field list is written like a package length that does not count itself. */
function packageLengthOf(bits: number): Aml {
  if (bits < 0x40) return bytes(bits);
  return bytes(0x40 | (bits & 0xf), (bits >> 4) & 0xff);
}

export const arg = (index: number): Aml => bytes(0x68 + index);
export const local = (index: number): Aml => bytes(0x60 + index);
export const returns = (value: Aml): Aml => concatBytes([bytes(0xa4), value]);
export const store = (value: Aml, target: Aml): Aml => concatBytes([bytes(0x70), value, target]);
export const and = (a: Aml, b: Aml, target: Aml = bytes(0)): Aml => concatBytes([bytes(0x7b), a, b, target]);
export const or = (a: Aml, b: Aml, target: Aml = bytes(0)): Aml => concatBytes([bytes(0x7d), a, b, target]);
export const less = (a: Aml, b: Aml): Aml => concatBytes([bytes(0x95), a, b]);
export const when = (condition: Aml, ...terms: Aml[]): Aml => opWithPackage([0xa0], condition, ...terms);
export const otherwise = (...terms: Aml[]): Aml => opWithPackage([0xa1], ...terms);
export const createDwordField = (source: Aml, offset: number, text: string): Aml =>
  concatBytes([bytes(0x8a), source, integer(offset), path(text)]);
export const call = (text: string, ...args: Aml[]): Aml => concatBytes([path(text), ...args]);
