/**
 * BMI1 and BMI2: the VEX-encoded general-purpose instructions. SDM volume 2; notation in notation.ts.
 */
import { PROTECTED, row, type RowSpec } from './notation.ts';

// prettier-ignore
export const BMI: readonly RowSpec[] = [
  row('VEX.LZ.NP.0F38 F2 /r', 'ANDN', 'Gy By Ey', PROTECTED),
  row('VEX.LZ.NP.0F38 F3 /1', 'BLSR', 'By Ey', PROTECTED),
  row('VEX.LZ.NP.0F38 F3 /2', 'BLSMSK', 'By Ey', PROTECTED),
  row('VEX.LZ.NP.0F38 F3 /3', 'BLSI', 'By Ey', PROTECTED),
  row('VEX.LZ.NP.0F38 F5 /r', 'BZHI', 'Gy Ey By', PROTECTED),
  row('VEX.LZ.F3.0F38 F5 /r', 'PEXT', 'Gy By Ey', PROTECTED),
  row('VEX.LZ.F2.0F38 F5 /r', 'PDEP', 'Gy By Ey', PROTECTED),
  row('VEX.LZ.F2.0F38 F6 /r', 'MULX', 'Gy By Ey', PROTECTED),
  row('VEX.LZ.NP.0F38 F7 /r', 'BEXTR', 'Gy Ey By', PROTECTED),
  row('VEX.LZ.66.0F38 F7 /r', 'SHLX', 'Gy Ey By', PROTECTED),
  row('VEX.LZ.F3.0F38 F7 /r', 'SARX', 'Gy Ey By', PROTECTED),
  row('VEX.LZ.F2.0F38 F7 /r', 'SHRX', 'Gy Ey By', PROTECTED),
  row('VEX.LZ.F2.0F3A F0 /r', 'RORX', 'Gy Ey Ib', PROTECTED),
];
