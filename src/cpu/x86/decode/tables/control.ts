/** Control transfer: jumps, calls, returns, loops, interrupts. SDM volume 2; notation in notation.ts. */
import { ENDS, F64, I64, row, type RowSpec } from './notation.ts';

// Near branches in 64-bit code are 64 bits wide and ignore 66, as Intel's processors do (AMD's honour it).
// prettier-ignore
export const CONTROL: readonly RowSpec[] = [
  row('70+cc', 'Jcc', 'Jb', ENDS | F64),
  row('0F 80+cc', 'Jcc', 'Jz', ENDS | F64),
  row('EB', 'JMP', 'Jb', ENDS | F64),
  row('E9', 'JMP', 'Jz', ENDS | F64),
  row('E8', 'CALL', 'Jz', ENDS | F64),
  row('FF /2', 'CALL_indirect', 'Ev', ENDS | F64),
  row('FF /4', 'JMP_indirect', 'Ev', ENDS | F64),
  row('C2', 'RET', 'Iw', ENDS | F64),
  row('C3', 'RET', '', ENDS | F64),
  // the counter is as wide as the address size
  row('E0', 'LOOPNE', 'Jb', ENDS | F64),
  row('E1', 'LOOPE', 'Jb', ENDS | F64),
  row('E2', 'LOOP', 'Jb', ENDS | F64),
  row('E3', 'JCXZ', 'Jb', ENDS | F64),
  // ---- far ----
  row('9A', 'CALL_far', 'Ap', ENDS | I64),
  row('EA', 'JMP_far', 'Ap', ENDS | I64),
  row('FF /3', 'CALL_far', 'Mp', ENDS),
  row('FF /5', 'JMP_far', 'Mp', ENDS),
  row('CA', 'RET_far', 'Iw', ENDS),
  row('CB', 'RET_far', '', ENDS),
  // ---- interrupts ----
  row('CC', 'INT3', '', ENDS),
  row('CD', 'INT', 'Ib', ENDS),
  row('CE', 'INTO', '', ENDS | I64),
  row('CF', 'IRET', '', ENDS),
  row('F1', 'INT1', '', ENDS),
  row('62 /r', 'BOUND', 'Gv Ma', I64),
  // ---- system calls ----
  row('0F 05', 'SYSCALL', '', ENDS), // AMD's: outside 64-bit code too
  row('0F 07', 'SYSRET', '', ENDS),
  row('0F 34', 'SYSENTER', '', ENDS),
  row('0F 35', 'SYSEXIT', '', ENDS),
  // ---- instructions that are undefined for ever ----
  row('0F 0B', 'UD2', '', ENDS),
  row('0F B9 /r', 'UD1', 'Gv Ev', ENDS),
  row('0F FF /r', 'UD0', 'Gv Ev', ENDS),
];
