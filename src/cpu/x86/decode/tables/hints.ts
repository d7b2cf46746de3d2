/**
 * Instructions that may do nothing: prefetches and the NOP space 0F 0D, 0F 18..1F. Their operand is decoded and never accessed.
 * ENDBR64, CLDEMOTE, MPX and the shadow stack's RDSSP live in this space and are NOPs where those features are off.
 * SDM volume 2; notation in notation.ts.
 */
import { row, type RowSpec } from './notation.ts';

// prettier-ignore
export const HINTS: readonly RowSpec[] = [
  row('0F 0D /0', 'NOP', 'Mb', 0, 'PREFETCH'),
  row('0F 0D /1', 'NOP', 'Mb', 0, 'PREFETCHW'),
  row('0F 0D /2', 'NOP', 'Mb', 0, 'PREFETCHWT1'),
  row('0F 0D /3', 'NOP', 'Mb', 0, 'PREFETCHW'),
  row('0F 0D /r', 'NOP', 'Mb', 0, 'PREFETCH'), // reserved, run as PREFETCH
  row('0F 0D /r', 'NOP', 'Ev Gv'),
  row('0F 18 /0', 'NOP', 'Mb', 0, 'PREFETCHNTA'),
  row('0F 18 /1', 'NOP', 'Mb', 0, 'PREFETCHT0'),
  row('0F 18 /2', 'NOP', 'Mb', 0, 'PREFETCHT1'),
  row('0F 18 /3', 'NOP', 'Mb', 0, 'PREFETCHT2'),
  row('0F 18 /r', 'NOP', 'Ev Gv'),
  row('0F 19 /r', 'NOP', 'Ev Gv'),
  row('0F 1A /r', 'NOP', 'Ev Gv'),
  row('0F 1B /r', 'NOP', 'Ev Gv'),
  row('0F 1C /r', 'NOP', 'Ev Gv'),
  row('0F 1D /r', 'NOP', 'Ev Gv'),
  row('F3 0F 1E FA', 'NOP', '', 0, 'ENDBR64'),
  row('F3 0F 1E FB', 'NOP', '', 0, 'ENDBR32'),
  row('0F 1E /r', 'NOP', 'Ev Gv'),
  row('0F 1F /0', 'NOP', 'Ev'), // the recommended multi-byte NOP
  row('0F 1F /r', 'NOP', 'Ev Gv'),
];
