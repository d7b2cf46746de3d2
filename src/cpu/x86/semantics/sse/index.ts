/** SSE to SSE4.2, AVX, AVX2, FMA, F16C, AES-NI, PCLMULQDQ and SHA: one table of definitions. */
import type { SemanticsTable } from '../context.ts';
import { approximate } from './approximate.ts';
import { arithmetic } from './arithmetic.ts';
import { avx } from './avx.ts';
import { compare } from './compare.ts';
import { convert } from './convert.ts';
import { fma } from './fma.ts';
import { half } from './half.ts';
import { masked } from './masked.ts';
import { microcoded } from './microcoded.ts';
import { moves } from './moves.ts';
import { checked } from './operands.ts';
import { packed } from './packed.ts';
import { shifts } from './shifts.ts';
import { shuffles } from './shuffles.ts';
import { strings } from './strings.ts';

export const sse: SemanticsTable = checked({
  ...moves,
  ...arithmetic,
  ...compare,
  ...convert,
  ...approximate,
  ...packed,
  ...shifts,
  ...shuffles,
  ...strings,
  ...microcoded,
  ...avx,
  ...masked,
  ...fma,
  ...half,
});
