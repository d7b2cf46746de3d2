/** Calls 700 deep, three times, of a function whose translation has a frame of several KiB; prints how many there were. */
import { RAX, RCX, RDI, RSI } from './assembler.ts';
import { GuestProgram } from './guest-program.ts';

const DEPTH = 700;

const program = new GuestProgram(64, { tier: 'jit', hotAfter: 1 }, (asm) => {
  asm.db(0x0f, 0x20, 0xe0, 0x48, 0x0d, 0, 2, 0, 0, 0x0f, 0x22, 0xe0); // CR4.OSFXSR
  asm.movImm(RDI, 3).movImm(RSI, 0).label('again').movImm(RCX, DEPTH);
  asm.movLabel(RAX, 'f').callReg(RAX).dec(RDI).jcc('ne', 'again').hlt();
  asm.label('f').inc(RSI).dec(RCX).jcc('e', 'bottom');
  asm.movLabel(RAX, 'f').callReg(RAX).label('bottom');
  for (let i = 0; i < 300; i++) asm.db(0x66, 0x0f, 0x38, 0x00, 0xc0 | (i & 63)); // PSHUFB
  asm.ret();
});
program.run();
console.log(program.reg(RSI));
