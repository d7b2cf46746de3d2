/** All decode tables, in the order in which rows of one opcode are tried. A new table is one line here. */
import { AVX_FLOAT } from './avx-float.ts';
import { AVX_INT } from './avx-int.ts';
import { AVX_MOVES } from './avx-moves.ts';
import { BMI } from './bmi.ts';
import { CONTROL } from './control.ts';
import { CRYPTO } from './crypto.ts';
import { HINTS } from './hints.ts';
import { INTEGER } from './integer.ts';
import { MMX } from './mmx.ts';
import type { RowSpec } from './notation.ts';
import { SSE_FLOAT } from './sse-float.ts';
import { SSE_INT } from './sse-int.ts';
import { SYSTEM } from './system.ts';
import { X87 } from './x87.ts';

export const ALL_TABLES: readonly (readonly RowSpec[])[] = [
  INTEGER,
  CONTROL,
  SYSTEM,
  HINTS,
  BMI,
  X87,
  MMX,
  SSE_FLOAT,
  SSE_INT,
  CRYPTO,
  AVX_MOVES,
  AVX_INT,
  AVX_FLOAT,
];
