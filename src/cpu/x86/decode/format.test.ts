import { expect, test } from 'vitest';
import { createInsn, decode } from './decoder.ts';
import { formatInsn } from './format.ts';
import { type Bits, DecodeStatus } from './insn.ts';

const CASES: readonly (readonly [string, Bits, string])[] = [
  ['48 8b 44 8b 10', 64, 'mov rax, qword ptr [rbx+rcx*4+0x10]'],
  ['8a 65 fe', 64, 'mov ah, byte ptr [rbp-0x2]'],
  ['48 83 c0 ff', 64, 'add rax, 0xffffffffffffffff'],
  ['80 e1 f0', 64, 'and cl, 0xf0'],
  ['6a ff', 64, 'push 0xffffffffffffffff'],
  ['c1 e0 05', 64, 'shl eax, 0x5'],
  ['d1 f8', 64, 'sar eax, 1'],
  ['75 fe', 64, 'jne 0x401000'],
  ['e8 fb ff ff ff', 64, 'call 0x401000'],
  ['0f 9f c0', 64, 'setg al'],
  ['48 8d 05 10 00 00 00', 64, 'lea rax, [rip+0x10] # 0x401017'],
  ['65 48 8b 04 25 28 00 00 00', 64, 'mov rax, qword ptr gs:[0x28]'],
  ['f3 48 a5', 64, 'rep movsq qword ptr es:[rdi], qword ptr ds:[rsi]'],
  ['f3 a6', 64, 'repe cmpsb byte ptr ds:[rsi], byte ptr es:[rdi]'],
  ['f2 ae', 32, 'repne scasb al, byte ptr es:[edi]'],
  ['f0 48 0f b1 0f', 64, 'lock cmpxchg qword ptr [rdi], rcx'],
  ['0f 22 d8', 64, 'mov cr3, rax'],
  ['8e d8', 64, 'mov ds, eax'],
  ['48 98', 64, 'cdqe'],
  ['98', 16, 'cbw'],
  ['cf', 16, 'iret'],
  ['48 cf', 64, 'iretq'],
  ['67 e3 fe', 64, 'jecxz 0x401001'],
  ['48 0f ae 00', 64, 'fxsave64 [rax]'],
  ['0f 58 c1', 64, 'addps xmm0, xmm1'],
  ['f2 0f 10 07', 64, 'movsd xmm0, qword ptr [rdi]'],
  ['0f fc c1', 64, 'paddb mm0, mm1'],
  ['dc c1', 64, 'fadd st(1), st(0)'],
  ['db 28', 64, 'fld tbyte ptr [rax]'],
  ['f3 0f 1e fa', 64, 'endbr64'],
  ['ea 5b e0 00 f0', 16, 'jmp 0xf000:0xe05b'],
  ['8b 40 10', 16, 'mov ax, word ptr [bx+si+0x10]'],
  ['c4 e2 f0 f2 c2', 64, 'andn rax, rcx, rdx'],
];

test.each(CASES)('%s in %i-bit code is %s', (hex, bits, text) => {
  const bytes = Uint8Array.from(hex.split(' '), (b) => Number.parseInt(b, 16));
  const insn = createInsn();

  expect(decode(bytes, 0, bytes.length, bits, insn)).toBe(DecodeStatus.ok);
  expect(formatInsn(insn, 0x401000n)).toBe(text);
});
