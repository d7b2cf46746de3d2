/** The log categories that look into a vCPU: -d int, exec, in_asm, mmu, jit. */
import type { MmuEvent, Vcpu } from '../accel/contract.ts';
import type { Log } from '../base/log.ts';
import { formatInsn } from '../cpu/x86/decode/format.ts';
import type { Tracer } from '../trace/trace.ts';
import { codeListener } from './code-log.ts';

const EXCEPTION_NAMES: readonly string[] = [
  '#DE', '#DB', 'NMI', '#BP', '#OF', '#BR', '#UD', '#NM', '#DF', '', '#TS', '#NP', '#SS', '#GP', '#PF', '', '#MF', '#AC', '#MC', '#XM',
]; // prettier-ignore

function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

/** The bits of a fill's rights, lowest first; L and H are 2 or 4 MiB and 1 GiB pages. */
const RIGHT_LETTERS = 'rwxgLH';

export function formatMmuEvent({ what, linear, physical, rights }: MmuEvent): string {
  switch (what) {
    case 'fill': {
      const letters = RIGHT_LETTERS.split('')
        .map((letter, i) => ((rights >> i) & 1 ? letter : '-'))
        .join('');
      return `fill ${hex(linear)} -> ${hex(physical)} ${letters}`;
    }
    case 'fault':
      return `page fault ${hex(linear)} error ${hex(rights)}`;
    case 'flush':
      return rights === 0 ? 'flush all' : 'flush all but global pages';
    case 'drop-page':
      return `drop page ${hex(linear)}`;
  }
}

/** Connects the categories that are on; a vCPU that nobody watches runs at full speed. */
export function observeVcpu(vcpu: Vcpu, log: Log, tracer: Tracer): void {
  const code = codeListener(vcpu, log, tracer);
  vcpu.observe({
    ...(code !== undefined && { code }),
    ...(log.on.int && {
      exception: (vector, errorCode) => {
        const { registers } = vcpu;
        const at = `${hex(registers.get('cs'))}:${hex(registers.get('rip'))}`;
        const address = vector === 14 ? ` address ${hex(vcpu.faultAddress())}` : '';
        const name = EXCEPTION_NAMES[vector] ?? '';
        log.write(
          'int',
          `exception ${vector} ${name} error ${hex(errorCode)} at ${at} rsp ${hex(registers.get('rsp'))}${address}`,
        );
      },
      interrupt: (vector) => log.write('int', `interrupt ${hex(vector)} at ${hex(vcpu.registers.get('rip'))}`),
    }),
    ...(log.on.mmu && { mmu: (event) => log.write('mmu', formatMmuEvent(event)) }),
    ...(log.on.exec && { block: (rip) => log.write('exec', `block ${hex(rip)}`) }),
    ...(log.on.in_asm && {
      decoded: (insns) => {
        let rip = vcpu.registers.get('rip');
        log.write('in_asm', '----------------');
        for (const insn of insns) {
          log.write('in_asm', `${hex(rip)}:  ${formatInsn(insn, rip)}`);
          rip += BigInt(insn.length);
        }
      },
    }),
  });
}
