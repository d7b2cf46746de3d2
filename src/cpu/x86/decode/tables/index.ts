/** All decode tables, in the order in which rows of one opcode are tried. A new table is one line here. */
import { BMI } from './bmi.ts';
import { CONTROL } from './control.ts';
import { HINTS } from './hints.ts';
import { INTEGER } from './integer.ts';
import type { RowSpec } from './notation.ts';
import { SYSTEM } from './system.ts';

export const ALL_TABLES: readonly (readonly RowSpec[])[] = [INTEGER, CONTROL, SYSTEM, HINTS, BMI];
