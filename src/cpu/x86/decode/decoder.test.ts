import { describe, expect, test } from 'vitest';
import { allRows, cloneInsn, createInsn, decode, MAX_INSN_BYTES } from './decoder.ts';
import { formatInsn } from './format.ts';
import { type Bits, DecodeStatus, type Insn, NO_REGISTER, OperandKind, RIP_BASE } from './insn.ts';

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.trim().split(/\s+/), (b) => Number.parseInt(b, 16));
}

/** Decodes exactly these bytes, all of them. */
function decoded(hex: string, bits: Bits = 64): Insn {
  const bytes = bytesOf(hex);
  const insn = createInsn();
  expect(decode(bytes, 0, bytes.length, bits, insn), `${hex} decodes`).toBe(DecodeStatus.ok);
  expect(insn.length, `${hex} length`).toBe(bytes.length);
  return insn;
}

function textOf(hex: string, bits: Bits = 64): string {
  return formatInsn(decoded(hex, bits), 0n);
}

function statusOf(hex: string, bits: Bits = 64): DecodeStatus {
  const bytes = bytesOf(hex);
  return decode(bytes, 0, bytes.length, bits, createInsn());
}

describe('prefixes', () => {
  test('REX counts only immediately before the opcode', () => {
    expect(decoded('48 66 89 d8').operandSize).toBe(16);
    expect(decoded('66 48 89 d8').operandSize).toBe(64);
    expect(decoded('48 66 89 d8').hasRex).toBe(false);
  });

  test('the last of several REX prefixes wins', () => {
    expect(decoded('48 41 89 d8').operands[0]).toEqual({ kind: OperandKind.gpr, reg: 8, bytes: 4 });
  });

  test('40..4F are INC and DEC outside 64-bit code', () => {
    expect(decoded('48', 32).row.name).toBe('DEC');
    expect(decoded('43', 16).operands[0]).toEqual({ kind: OperandKind.gpr, reg: 3, bytes: 2 });
  });

  test('66 and 67 swap sizes in 16 and 32-bit code', () => {
    expect(decoded('66 89 d8', 16).operandSize).toBe(32);
    expect(decoded('66 89 d8', 32).operandSize).toBe(16);
    expect(decoded('67 8b 00', 16).addressSize).toBe(32);
    expect(decoded('67 8b 00', 32).addressSize).toBe(16);
    expect(decoded('67 8b 00', 64).addressSize).toBe(32);
  });

  test('the last of F2 and F3 chooses the row and both beat 66', () => {
    expect(decoded('f3 f2 0f 10 c1').row.name).toBe('MOVSD');
    expect(decoded('f2 f3 0f 10 c1').row.name).toBe('MOVSS');
    expect(decoded('f3 66 0f 10 c1').row.name).toBe('MOVSS');
    expect(decoded('66 0f 10 c1').row.name).toBe('MOVUPD');
  });

  test('66 is an operand size with CRC32 and MOVBE and nothing with a mandatory 66', () => {
    expect(decoded('66 f2 0f 38 f1 c1').operands[1].bytes).toBe(2);
    expect(decoded('66 0f 38 f0 08').operands[0].bytes).toBe(2);
    expect(decoded('66 0f 58 c1').operandSize).toBe(32);
  });

  test('a prefix that no row allows is invalid', () => {
    expect(statusOf('f3 0f 14 c1')).toBe(DecodeStatus.invalid);
    expect(statusOf('66 0f ae 00')).toBe(DecodeStatus.invalid); // FXSAVE takes none
    expect(statusOf('0f b8 c1')).toBe(DecodeStatus.invalid); // POPCNT without F3
  });

  test('LOCK needs a memory destination of an instruction that allows it', () => {
    expect(decoded('f0 48 0f b1 0f').lock).toBe(true);
    expect(statusOf('f0 01 c0')).toBe(DecodeStatus.invalid);
    expect(statusOf('f0 03 00')).toBe(DecodeStatus.invalid); // memory is the source
    expect(statusOf('f0 39 00')).toBe(DecodeStatus.invalid); // CMP
    expect(statusOf('f0 0f a3 00')).toBe(DecodeStatus.invalid); // BT
    expect(statusOf('f0 90')).toBe(DecodeStatus.invalid);
  });

  test('TZCNT and BSF, LZCNT and BSR, PAUSE and NOP and XCHG', () => {
    expect(decoded('f3 0f bc c1').row.name).toBe('TZCNT');
    expect(decoded('0f bc c1').row.name).toBe('BSF');
    expect(decoded('f2 0f bd c1').row.name).toBe('BSR');
    expect(decoded('f3 90').row.name).toBe('PAUSE');
    expect(decoded('48 90').row.name).toBe('NOP');
    expect(decoded('49 90').row.name).toBe('XCHG');
    expect(decoded('91').row.name).toBe('XCHG');
  });
});

describe('length', () => {
  test('fifteen bytes are an instruction, sixteen are not', () => {
    expect(decoded('66 66 66 66 66 66 66 66 66 66 66 66 66 66 90').length).toBe(MAX_INSN_BYTES);
    expect(statusOf('66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90')).toBe(DecodeStatus.tooLong);
    expect(statusOf('2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 81 04 25 00 00 00 00 01 02 03 04')).toBe(DecodeStatus.tooLong);
  });

  test('prefixes alone are truncated until there are fifteen', () => {
    expect(statusOf('66 66 66 66 66 66 66 66 66 66 66 66 66 66')).toBe(DecodeStatus.truncated);
    expect(statusOf('66 66 66 66 66 66 66 66 66 66 66 66 66 66 66')).toBe(DecodeStatus.tooLong);
  });

  test('what lies past the limit does not count, whether it is there or not', () => {
    const bytes = bytesOf('0f ff ff');
    expect(decode(bytes, 0, 1, 64, createInsn())).toBe(DecodeStatus.truncated);
    expect(decode(bytes.subarray(0, 1), 0, 1, 64, createInsn())).toBe(DecodeStatus.truncated);
    expect(decode(bytes, 0, 0, 64, createInsn())).toBe(DecodeStatus.truncated);
  });

  test('each shorter piece of an instruction is truncated', () => {
    for (const hex of [
      '48 b8 01 02 03 04 05 06 07 08',
      '66 f2 0f 38 f1 84 8b 01 02 03 04',
      'c8 01 02 03',
      'c4 e3 7b f0 44 88 01 02',
      'f3 0f 1e fa',
    ]) {
      const bytes = bytesOf(hex);
      decoded(hex);
      for (let limit = 0; limit < bytes.length; limit++)
        expect(decode(bytes, 0, limit, 64, createInsn()), `${hex} cut at ${limit}`).toBe(DecodeStatus.truncated);
    }
  });

  test('random bytes: the same instruction with and without bytes behind it', () => {
    let seed = 0x2545f491;
    const random = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16;
    const a = createInsn();
    const b = createInsn();
    const failures: string[] = [];
    for (let n = 0; n < 20_000; n++) {
      const bytes = Uint8Array.from({ length: 20 }, random);
      for (const bits of [16, 32, 64] as const) {
        if (decode(bytes, 0, 20, bits, a) !== DecodeStatus.ok) continue;
        const alone = decode(bytes.subarray(0, a.length), 0, a.length, bits, b);
        const same =
          alone === DecodeStatus.ok &&
          b.row.id === a.row.id &&
          b.length === a.length &&
          b.immLow === a.immLow &&
          b.mem.disp === a.mem.disp;
        const cut = decode(bytes, 0, a.length - 1, bits, b);
        if (!same || a.length > MAX_INSN_BYTES || cut !== DecodeStatus.truncated)
          failures.push(`${bits}: ${bytes.join(' ')}`);
      }
    }
    expect(failures).toEqual([]);
  });
});

describe('registers', () => {
  test('one-byte registers 4..7 are AH CH DH BH without REX, SPL BPL SIL DIL with it', () => {
    expect(decoded('88 e0').operands[1]).toEqual({ kind: OperandKind.gpr8high, reg: 0, bytes: 1 });
    expect(decoded('40 88 e0').operands[1]).toEqual({ kind: OperandKind.gpr, reg: 4, bytes: 1 });
    expect(decoded('b7 01').operands[0]).toEqual({ kind: OperandKind.gpr8high, reg: 3, bytes: 1 });
    expect(decoded('41 b7 01').operands[0]).toEqual({ kind: OperandKind.gpr, reg: 15, bytes: 1 });
  });

  test('segment registers 6 and 7 and a load of CS do not exist', () => {
    expect(statusOf('8c f0')).toBe(DecodeStatus.invalid);
    expect(statusOf('8e c8')).toBe(DecodeStatus.invalid);
    expect(decoded('8c c8').row.name).toBe('MOV_from_SEG');
    expect(decoded('8e d0').row.name).toBe('MOV_to_SEG');
  });

  test('CR0 2 3 4 8 and DR0..7 exist; ModRM.mod is not looked at', () => {
    expect(decoded('44 0f 22 c0').operands[0]).toEqual({ kind: OperandKind.control, reg: 8, bytes: 8 });
    expect(decoded('0f 20 18', 64).operands[0]).toEqual({ kind: OperandKind.gpr, reg: 0, bytes: 8 });
    expect(decoded('0f 20 18', 32).operands[0].bytes).toBe(4);
    expect(statusOf('0f 20 c8')).toBe(DecodeStatus.invalid);
    expect(statusOf('44 0f 21 c0')).toBe(DecodeStatus.invalid);
  });

  test('VEX.L chooses xmm or ymm registers, where it may be set at all', () => {
    expect(textOf('c5 f1 fe c2')).toBe('vpaddd xmm0, xmm1, xmm2');
    expect(textOf('c5 f5 fe c2')).toBe('vpaddd ymm0, ymm1, ymm2');
    expect(textOf('c4 c1 75 fe 02')).toBe('vpaddd ymm0, ymm1, ymmword ptr [r10]');
    expect(textOf('c4 e3 7d 39 c8 01')).toBe('vextracti128 xmm0, ymm1, 0x1');
    expect(statusOf('c4 e3 79 39 c8 01')).toBe(DecodeStatus.invalid); // 128 bits have no half
    expect(statusOf('c5 fd 6e c0')).toBe(DecodeStatus.invalid); // VMOVD with VEX.L
  });

  test('a fourth register stands in the upper half of the immediate byte', () => {
    expect(textOf('c4 e3 71 4a c2 3f')).toBe('vblendvps xmm0, xmm1, xmm2, xmm3');
    expect(textOf('c4 e3 75 4b c2 f0')).toBe('vblendvpd ymm0, ymm1, ymm2, ymm15');
    expect(textOf('c4 e3 71 4a c2 f0', 32)).toBe('vblendvps xmm0, xmm1, xmm2, xmm7');
  });

  test('the index of a gather is a vector, another one than destination and mask', () => {
    expect(textOf('c4 e2 69 90 04 8b')).toBe('vpgatherdd xmm0, dword ptr [rbx+xmm1*4], xmm2');
    expect(textOf('c4 e2 6d 91 04 23')).toBe('vpgatherqd xmm0, dword ptr [rbx+ymm4], xmm2');
    expect(textOf('c4 a2 ed 92 04 23')).toBe('vgatherdpd ymm0, qword ptr [rbx+xmm12], ymm2');
    for (const hex of ['c4 e2 71 90 04 8b', 'c4 e2 79 90 04 8b', 'c4 e2 69 90 0c 8b'])
      expect(statusOf(hex), hex).toBe(DecodeStatus.invalid);
    expect(statusOf('c4 e2 69 90 00')).toBe(DecodeStatus.invalid); // no SIB byte
  });

  test('VEX.vvvv names a register, inverted; unused it must be 1111', () => {
    const andn = decoded('c4 e2 f0 f2 c2'); // ANDN RAX, RCX, RDX
    expect(andn.operands.slice(0, 3).map((o) => o.reg)).toEqual([0, 1, 2]);
    expect(andn.operands[0].bytes).toBe(8);
    expect(decoded('c4 e3 7b f0 c1 05').row.name).toBe('RORX');
    expect(statusOf('c4 e3 73 f0 c1 05')).toBe(DecodeStatus.invalid);
    expect(statusOf('c4 e2 74 f2 c2')).toBe(DecodeStatus.invalid); // VEX.L
    expect(statusOf('66 c4 e2 70 f2 c2')).toBe(DecodeStatus.invalid);
    expect(statusOf('48 c4 e2 70 f2 c2')).toBe(DecodeStatus.invalid);
  });

  test('C4 and C5 are LES and LDS outside 64-bit code when memory follows', () => {
    expect(decoded('c5 00', 32).row.name).toBe('LDS');
    expect(decoded('c4 e2 70 f2 c2', 32).row.name).toBe('ANDN');
  });
});

describe('memory operands', () => {
  test('16-bit forms', () => {
    expect(decoded('8b 02', 16).mem).toMatchObject({ base: 5, index: 6, segment: 2 }); // [bp+si] on the stack
    expect(decoded('8b 07', 16).mem).toMatchObject({ base: 3, index: NO_REGISTER, segment: 3 });
    expect(decoded('8b 06 34 12', 16).mem).toMatchObject({ base: NO_REGISTER, disp: 0x1234, segment: 3 });
    expect(decoded('8b 46 fe', 16).mem).toMatchObject({ base: 5, disp: -2, dispHigh: -1, segment: 2 });
  });

  test('SIB without index, without base, with both', () => {
    expect(decoded('8b 04 24').mem).toMatchObject({ base: 4, index: NO_REGISTER, segment: 2 });
    expect(decoded('42 8b 04 24').mem).toMatchObject({ base: 4, index: 12, segment: 2 });
    expect(decoded('8b 04 8d 10 00 00 00').mem).toMatchObject({
      base: NO_REGISTER,
      index: 1,
      scale: 2,
      disp: 16,
      segment: 3,
    });
    expect(decoded('41 8b 04 24').mem).toMatchObject({ base: 12, segment: 3 });
    expect(decoded('41 8b 45 00').mem).toMatchObject({ base: 13, segment: 3 });
  });

  test('rip-relative only without SIB and only in 64-bit code', () => {
    expect(decoded('8b 05 10 00 00 00').mem).toMatchObject({ base: RIP_BASE, disp: 16 });
    expect(decoded('8b 04 25 10 00 00 00').mem.base).toBe(NO_REGISTER);
    expect(decoded('8b 05 10 00 00 00', 32).mem.base).toBe(NO_REGISTER);
    expect(decoded('67 8b 05 10 00 00 00')).toMatchObject({ addressSize: 32, mem: { base: RIP_BASE } });
  });

  test('a segment override replaces the default; in 64-bit code only FS and GS do', () => {
    expect(decoded('26 8b 45 00', 32).mem.segment).toBe(0);
    expect(decoded('36 8b 00', 64)).toMatchObject({ segmentOverride: -1, mem: { segment: 3 } });
    expect(decoded('65 8b 00', 64)).toMatchObject({ segmentOverride: 5, mem: { segment: 5 } });
    expect(decoded('65 2e 8b 00', 64).mem.segment).toBe(5);
    expect(decoded('64 a4', 64).mem.segment).toBe(4);
  });

  test('moffs are as wide as addresses', () => {
    expect(decoded('48 a1 01 02 03 04 05 06 07 88').mem).toMatchObject({ disp: 0x04030201, dispHigh: 0x88070605 | 0 });
    expect(decoded('67 a1 01 02 03 04').mem).toMatchObject({ disp: 0x04030201, dispHigh: 0 });
    expect(decoded('a0 34 f2', 16).mem.disp).toBe(0xf234);
  });

  test('memory-only and register-only rows refuse the other form', () => {
    expect(statusOf('8d c0')).toBe(DecodeStatus.invalid); // LEA
    expect(statusOf('0f c7 c8')).toBe(DecodeStatus.invalid); // CMPXCHG8B
    expect(statusOf('66 0f d7 00')).toBe(DecodeStatus.invalid); // PMOVMSKB
    expect(decoded('48 0f c7 08')).toMatchObject({ row: { name: 'CMPXCHG16B' } });
    expect(decoded('0f 01 18').operands[0].bytes).toBe(10); // LIDT
    expect(decoded('0f 01 18', 32).operands[0].bytes).toBe(6);
  });
});

describe('immediates', () => {
  test('extension', () => {
    expect(decoded('48 81 c0 ff ff ff ff')).toMatchObject({ immLow: -1, immHigh: -1 });
    expect(decoded('48 b8 01 02 03 04 05 06 07 08')).toMatchObject({ immLow: 0x04030201, immHigh: 0x08070605 });
    expect(decoded('83 c0 80')).toMatchObject({ immLow: -128, immHigh: -1 });
    expect(decoded('cd 80')).toMatchObject({ immLow: 0x80, immHigh: 0 });
    expect(decoded('c2 f0 ff')).toMatchObject({ immLow: 0xfff0, immHigh: 0 });
    expect(decoded('c8 00 f0 03')).toMatchObject({ immLow: 0xf000, imm2: 3 });
    expect(decoded('ea 00 00 10 80 08 00', 32)).toMatchObject({ immLow: 0x80100000 | 0, imm2: 8 });
  });
});

describe('operand sizes in 64-bit code', () => {
  test('stack instructions default to 64', () => {
    expect(decoded('50').operands[0].bytes).toBe(8);
    expect(decoded('66 50').operands[0].bytes).toBe(2);
    expect(decoded('66 48 50').operandSize).toBe(64);
    expect(decoded('ff 30').operands[0].bytes).toBe(8);
    expect(decoded('9c').operandSize).toBe(64);
  });

  test('near branches are 64 bits wide and ignore 66', () => {
    expect(decoded('66 e9 01 02 03 04')).toMatchObject({ operandSize: 64, immLow: 0x04030201 });
    expect(decoded('66 0f 84 01 02 03 84')).toMatchObject({ condition: 4, immLow: 0x84030201 | 0, immHigh: -1 });
    expect(decoded('66 e9 01 82', 32)).toMatchObject({ operandSize: 16, immLow: 0xffff8201 | 0 });
    expect(decoded('ff e0').operands[0].bytes).toBe(8);
  });

  test('far returns and IRET default to 32', () => {
    expect(decoded('cf').operandSize).toBe(32);
    expect(decoded('48 cf').operandSize).toBe(64);
    expect(decoded('48 ff 2f').operands[0].bytes).toBe(10);
  });

  test('instructions that 64-bit code lost are invalid', () => {
    for (const hex of [
      '06',
      '27',
      '37',
      '60',
      '9a 00 00 00 00 00 00',
      'ce',
      'd4 0a',
      'd6',
      '82 c0 01',
      '62 00',
      'c4 00 00 00 00',
    ])
      expect(statusOf(hex), hex).toBe(DecodeStatus.invalid);
  });
});

describe('tables', () => {
  test('the condition is the low four bits of the opcode', () => {
    expect(decoded('75 fe').condition).toBe(5);
    expect(decoded('0f 9f c0').condition).toBe(15);
    expect(decoded('0f 47 c1').condition).toBe(7);
  });

  test('blocks end at control transfers and where mode or mapping may change', () => {
    for (const hex of [
      '75 fe',
      'eb fe',
      'e8 00 00 00 00',
      'c3',
      'ff e0',
      'cc',
      'cf',
      '0f 05',
      'f4',
      '0f 22 d8',
      '0f 01 38',
      '0f 30',
      '9d',
      '8e d8',
    ])
      expect(decoded(hex).row.endsBlock, hex).toBe(true);
    for (const hex of ['90', '01 c0', '50', 'fa', 'fb', '0f 01 cb', 'ec', '0f 31', 'a4'])
      expect(decoded(hex).row.endsBlock, hex).toBe(false);
  });

  test('a row is found at its id', () => {
    for (const [at, row] of allRows().entries()) expect(row.id).toBe(at);
  });

  test('every row is reached by some bytes', () => {
    const reached = new Set<number>();
    const insn = createInsn();
    const prefixSets = [[], [0x66], [0xf3], [0xf2], [0x48], [0x66, 0x48], [0x49]];
    const maps = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
    // Every map, W, L and pp; vvvv is 1111.
    const vex = Array.from({ length: 48 }, (_, i) => [0xc4, 0xe1 + (i >> 4), ((i & 8) << 4) | 0x78 | (i & 7)]);
    for (const prefixes of prefixSets) {
      for (const map of prefixes.length === 0 ? [...maps, ...vex] : maps) {
        const bytes = new Uint8Array(24);
        bytes[prefixes.length + map.length + 2] = 0x08; // as SIB: index 1
        const at = prefixes.length + map.length;
        bytes.set([...prefixes, ...map]);
        for (let n = 0; n < 0x10000; n++) {
          bytes[at] = n >> 8;
          bytes[at + 1] = n & 0xff;
          for (const bits of [32, 64] as const)
            if (decode(bytes, 0, 24, bits, insn) === DecodeStatus.ok) reached.add(insn.row.id);
        }
      }
    }
    expect(
      allRows()
        .filter((row) => !reached.has(row.id))
        .map((row) => `${row.encoding} ${row.name}`),
    ).toEqual([]);
  });

  test('a clone is not changed by the next decode', () => {
    const insn = createInsn();
    decode(bytesOf('48 8b 44 8b 10'), 0, 5, 64, insn);
    const copy = cloneInsn(insn);
    decode(bytesOf('90'), 0, 1, 64, insn);
    expect(copy).toMatchObject({ length: 5, operandCount: 2, mem: { base: 3, index: 1, scale: 2, disp: 16 } });
  });

  test('keeps nothing of the operands that the object had before', () => {
    const insn = createInsn();
    const kinds = (code: readonly number[]): number[] => {
      expect(decode(Uint8Array.from(code), 0, code.length, 64, insn)).toBe(DecodeStatus.ok);
      return insn.operands.map(({ kind }) => kind);
    };
    const { gpr, imm, none, rel } = OperandKind;
    expect(kinds([0x75, 0x10])).toEqual([rel, none, none, none]);
    expect(kinds([0x9d])).toEqual([none, none, none, none]);
    expect(kinds([0x6b, 0xc1, 7])).toEqual([gpr, gpr, imm, none]);
    expect(kinds([0xc3])).toEqual([none, none, none, none]);
  });
});
