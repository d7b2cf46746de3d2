/**
 * The decoder against iced-x86: same length, validity, mnemonic and operands on byte strings made of random prefixes,
 * opcodes of every map and random rest. ORRERY_CONFORMANCE=full runs a million a mode and every prefix x opcode x ModRM.
 */
import { describe, expect, test } from 'vitest';
import { createInsn, decode } from '../../src/cpu/x86/decode/decoder.ts';
import { type Bits, DecodeStatus, type Insn } from '../../src/cpu/x86/decode/insn.ts';
import { describeOurs, IcedReference } from './iced-reference.ts';

const FULL = process.env['ORRERY_CONFORMANCE'] === 'full';
const STRINGS = FULL ? 1_000_000 : 30_000;
/** Bytes a string: the longest instruction and some more, so that nothing is ever truncated. */
const STRIDE = 20;
const SEED = 0x0bbe11e5;

interface Deviation {
  reason: string;
  matches(ours: string, theirs: string, insn: Insn): boolean;
}

/** Where we knowingly differ. Everything else is a bug. */
const DEVIATIONS: readonly Deviation[] = [
  {
    reason: 'an instruction set we do not offer is #UD, or a NOP in the space reserved for hints',
    matches: (ours, theirs, insn) => theirs.startsWith('other ') && (ours === 'invalid' || insn.row.name === 'NOP'),
  },
  {
    reason: 'F2/F3 0F 01 D9 is VMGEXIT only under SEV-ES; elsewhere the prefix is ignored',
    matches: (_ours, theirs, insn) => theirs === 'other VMGEXIT' && insn.row.name === 'VMMCALL',
  },
  {
    reason: 'F3 41 90 exchanges r8 with rax: tried on a processor; iced reads PAUSE',
    matches: (ours, theirs) => theirs.endsWith(' PAUSE') && ours.includes(' XCHG r8'),
  },
  {
    reason: 'ARPL always works on 16 bits (SDM); iced names the registers by operand size',
    matches: (ours, theirs) => theirs.includes(' ARPL ') && theirs.replaceAll(/ e([a-ds][xpi])/g, ' $1') === ours,
  },
];

/** Marsaglia's xorshift32. */
function generator(seed: number): () => number {
  let s = seed;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s >>> 0;
  };
}

const PREFIXES = [0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x48, 0x41];

/** Fills `bytes` with one string every STRIDE bytes. */
function randomStrings(bytes: Uint8Array, bits: Bits, random: () => number): void {
  const pick = (from: readonly number[]): number => from[random() % from.length] ?? 0;
  for (let start = 0; start < bytes.length; start += STRIDE) {
    let at = start;
    for (let n = pick([0, 0, 0, 1, 1, 1, 2, 3, 12]); n > 0; n--) bytes[at++] = pick(PREFIXES);
    if (bits === 64 && random() % 2 === 0) bytes[at++] = 0x40 | (random() & 15);
    const map = random() % 8;
    if (map < 5) bytes[at++] = 0x0f;
    if (map === 3) bytes[at++] = 0x38;
    if (map === 4) bytes[at++] = 0x3a;
    if (map === 5) {
      bytes[at++] = 0xc4;
      bytes[at++] = (random() & 0xe0) | (random() & 3);
      bytes[at++] = random() & (random() % 4 === 0 ? 0xff : 0xfb);
    }
    while (at < start + STRIDE) bytes[at++] = random();
  }
}

/** Every prefix set x map x opcode x ModRM, with a fixed rest. */
function* exhaustiveStrings(bits: Bits): Generator<Uint8Array> {
  const sets = [[], [0x66], [0xf2], [0xf3], [0x66, 0xf2], [0x67], [0xf0], [0x64], [0xf3, 0x66, 0x67]];
  if (bits === 64) sets.push([0x48], [0x41], [0x44], [0x66, 0x48], [0xf3, 0x48], [0xf2, 0x48], [0xf0, 0x48]);
  const maps = [
    [],
    [0x0f],
    [0x0f, 0x38],
    [0x0f, 0x3a],
    [0xc5, 0xf8],
    [0xc4, 0xe2, 0x78],
    [0xc4, 0xe2, 0xf9],
    [0xc4, 0xc2, 0x02],
    [0xc4, 0x63, 0xfb],
  ];
  const rest = [0x9d, 0x81, 0x72, 0xe3, 0x14, 0x95, 0xb6, 0x07, 0xc8, 0x39];
  for (const set of sets) {
    for (const map of maps) {
      const bytes = new Uint8Array(0x10000 * STRIDE);
      for (let n = 0; n < 0x10000; n++) bytes.set([...set, ...map, n >> 8, n & 0xff, ...rest], n * STRIDE);
      yield bytes;
    }
  }
}

/** Compares the decoders on each string of `bytes`; returns the disagreements as text, at most ten of them. */
function disagreements(bytes: Uint8Array, bits: Bits): { texts: string[]; valid: number } {
  const reference = new IcedReference(bits, bytes);
  const insn = createInsn();
  const texts: string[] = [];
  let valid = 0;
  for (let at = 0; at < bytes.length; at += STRIDE) {
    insn.codeSize = bits;
    const ok = decode(bytes, at, at + STRIDE, bits, insn) === DecodeStatus.ok;
    if (ok) valid++;
    const ours = ok ? describeOurs(insn) : 'invalid';
    const theirs = reference.describe(at);
    if (ours === theirs || DEVIATIONS.some((d) => d.matches(ours, theirs, insn))) continue;
    const hex = Array.from(bytes.subarray(at, at + 15), (b) => b.toString(16).padStart(2, '0')).join(' ');
    texts.push(`${hex}\n  ours ${ours} (${ok ? insn.row.encoding : ''})\n  iced ${theirs}`);
    if (texts.length === 10) break;
  }
  reference.free();
  return { texts, valid };
}

describe.each<Bits>([16, 32, 64])('decoder against iced-x86, %i-bit code', (bits) => {
  test(`${STRINGS} random strings`, { timeout: 120_000 }, () => {
    const bytes = new Uint8Array(STRINGS * STRIDE);
    randomStrings(bytes, bits, generator(SEED + bits));

    const { texts, valid } = disagreements(bytes, bits);

    expect(texts).toEqual([]);
    expect(valid).toBeGreaterThan(STRINGS / 4);
  });

  if (FULL) {
    test('every prefix set, opcode and ModRM', { timeout: 600_000 }, () => {
      const texts: string[] = [];
      for (const bytes of exhaustiveStrings(bits)) texts.push(...disagreements(bytes, bits).texts);

      expect(texts).toEqual([]);
    });
  }
});
