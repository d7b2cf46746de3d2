/** Which blocks of a region look at the arithmetic flags that they are entered with, faults and other exits aside. */
import { OperandKind, type Insn } from '../x86/decode/insn.ts';
import type { BasicBlock } from './region.ts';

/** Set all six flags and look at none. */
const SETS_ALL: ReadonlySet<string> = new Set([
  'ADD', 'SUB', 'CMP', 'AND', 'OR', 'XOR', 'TEST', 'NEG', 'POPCNT', 'PTEST', 'UCOMISS', 'UCOMISD', 'COMISS', 'COMISD',
]); // prettier-ignore

/** Leave them alone. */
const NEUTRAL: ReadonlySet<string> = new Set([
  'MOV', 'LEA', 'MOVSXD', 'MOVZX', 'MOVSX', 'MOVBE', 'MOVNTI', 'PUSH', 'POP', 'NOP', 'NOT', 'BSWAP', 'XCHG', 'LEAVE', 'CBW', 'CWD',
  'CALL', 'CALL_indirect', 'JMP', 'JMP_indirect', 'RET', 'SHLX', 'SARX', 'SHRX', 'RORX', 'MULX', 'PDEP', 'PEXT', 'RDTSC', 'PAUSE',
]); // prettier-ignore

/** Vector instructions that do touch the flags. */
const VECTOR_FLAGS = /COMI|PTEST|TESTP|STR[IM]$|^F/;

function isVector(insn: Insn): boolean {
  if (VECTOR_FLAGS.test(insn.row.name)) return false;
  const { kind } = insn.operands[0];
  const second = insn.operands[1].kind;
  const vector = (operand: OperandKind): boolean => operand === OperandKind.xmm || operand === OperandKind.mmx;
  return insn.operandCount > 0 && (vector(kind) || (insn.operandCount > 1 && vector(second)));
}

/** First of a block's instructions that matters: 'reads' flags from before the block, or 'sets' them all; else the block 'passes' them on. */
function use(block: BasicBlock): 'reads' | 'sets' | 'passes' {
  for (const { insn } of block.insns) {
    if (SETS_ALL.has(insn.row.name)) return 'sets';
    if (!NEUTRAL.has(insn.row.name) && !isVector(insn)) return 'reads';
  }
  return 'passes';
}

/** Numbers of the blocks whose code may look at them. */
export function blocksThatNeedFlags(blocks: ReadonlyMap<number, BasicBlock>): Set<number> {
  const needs = new Set<number>();
  const passes: BasicBlock[] = [];
  for (const block of blocks.values()) {
    const what = use(block);
    if (what === 'reads') needs.add(block.id);
    else if (what === 'passes') passes.push(block);
  }
  for (let changed = true; changed;) {
    changed = false;
    for (const { id, taken, next, expected } of passes) {
      if (needs.has(id)) continue;
      if ([taken, next, expected?.block].some((to) => to !== undefined && needs.has(to))) {
        needs.add(id);
        changed = true;
      }
    }
  }
  return needs;
}
