/**
 * AES-NI, PCLMULQDQ, SHA. SDM volume 2; notation in notation.ts.
 */
import { row, type RowSpec, UNALIGNED } from './notation.ts';

// prettier-ignore
export const CRYPTO: readonly RowSpec[] = [
  // ---- AES-NI ----
  row('66 0F 38 DB /r', 'AESIMC', 'Vx Wx'),
  row('66 0F 38 DC /r', 'AESENC', 'Vx Wx'),
  row('66 0F 38 DD /r', 'AESENCLAST', 'Vx Wx'),
  row('66 0F 38 DE /r', 'AESDEC', 'Vx Wx'),
  row('66 0F 38 DF /r', 'AESDECLAST', 'Vx Wx'),
  row('66 0F 3A DF /r', 'AESKEYGENASSIST', 'Vx Wx Ib'),
  // ---- PCLMULQDQ ----
  row('66 0F 3A 44 /r', 'PCLMULQDQ', 'Vx Wx Ib'),
  // ---- SHA; the SDM asks for alignment (exception type 4), AMD's processors do without ----
  row('NP 0F 38 C8 /r', 'SHA1NEXTE', 'Vx Wx', UNALIGNED),
  row('NP 0F 38 C9 /r', 'SHA1MSG1', 'Vx Wx', UNALIGNED),
  row('NP 0F 38 CA /r', 'SHA1MSG2', 'Vx Wx', UNALIGNED),
  row('NP 0F 38 CB /r', 'SHA256RNDS2', 'Vx Wx XMM0', UNALIGNED),
  row('NP 0F 38 CC /r', 'SHA256MSG1', 'Vx Wx', UNALIGNED),
  row('NP 0F 38 CD /r', 'SHA256MSG2', 'Vx Wx', UNALIGNED),
  row('NP 0F 3A CC /r', 'SHA1RNDS4', 'Vx Wx Ib', UNALIGNED),
];
