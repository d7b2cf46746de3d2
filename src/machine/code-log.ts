/** The log category `jit` and the trace events of the same: what happens to translated code. */
import type { Vcpu } from '../accel/contract.ts';
import type { Log } from '../base/log.ts';
import type { CodeEvent } from '../cpu/code-events.ts';
import { defineEvents, type TracePoints, type Tracer } from '../trace/trace.ts';

const CODE_EVENTS = defineEvents({
  jit_translate: ['rip', 'physical', 'insns', 'blocks', 'guest_bytes', 'wasm_bytes', 'decode_us', 'generate_us', 'again'],
  jit_compile: ['functions', 'wasm_bytes', 'compile_us'],
  jit_evict: ['physical', 'wasm_bytes'],
  jit_invalidate: ['physical', 'blocks', 'translations'],
  jit_flush: ['blocks'],
}); // prettier-ignore

function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

const microseconds = (ms: number): number => Math.round(ms * 1000);

/** One line of the log. `rip` is where the guest stands. */
export function formatCodeEvent(event: CodeEvent, rip: bigint): string {
  switch (event.what) {
    case 'translate': {
      const { insns, blocks, guestBytes, wasmBytes, decodeMs, generateMs } = event;
      return (
        `${event.again ? 'retranslate' : 'translate'} ${hex(rip)} physical ${hex(event.physical)}: ${insns} instructions, ` +
        `${blocks} blocks, ${guestBytes} bytes -> ${wasmBytes} bytes of wasm, ` +
        `decoded in ${microseconds(decodeMs)} us, generated in ${microseconds(generateMs)} us`
      );
    }
    case 'compile':
      return `compile ${event.functions} functions, ${event.wasmBytes} bytes of wasm in ${microseconds(event.compileMs)} us`;
    case 'evict':
      return `evict physical ${hex(event.physical)}, ${event.wasmBytes} bytes of wasm`;
    case 'invalidate':
      return `invalidate page ${hex(event.physical)}: ${event.blocks} blocks, ${event.translations} translations`;
    case 'flush':
      return `flush ${event.blocks} blocks`;
  }
}

function emit(trace: TracePoints<typeof CODE_EVENTS>, event: CodeEvent, rip: bigint): void {
  switch (event.what) {
    case 'translate': {
      const { physical, insns, blocks, guestBytes, wasmBytes, decodeMs, generateMs, again } = event;
      const times = [microseconds(decodeMs), microseconds(generateMs)] as const;
      trace.jit_translate.emit(hex(rip), physical, insns, blocks, guestBytes, wasmBytes, ...times, again);
      break;
    }
    case 'compile':
      trace.jit_compile.emit(event.functions, event.wasmBytes, microseconds(event.compileMs));
      break;
    case 'evict':
      trace.jit_evict.emit(event.physical, event.wasmBytes);
      break;
    case 'invalidate':
      trace.jit_invalidate.emit(event.physical, event.blocks, event.translations);
      break;
    case 'flush':
      trace.jit_flush.emit(event.blocks);
  }
}

/** The listener for code events, or undefined when neither the log nor a trace event wants them. */
export function codeListener(vcpu: Vcpu, log: Log, tracer: Tracer): ((event: CodeEvent) => void) | undefined {
  const trace = tracer.attach(CODE_EVENTS);
  const traced = Object.values(trace).some((point) => point.on);
  if (!log.on.jit && !traced) return undefined;
  return (event) => {
    const rip = vcpu.registers.get('rip');
    if (log.on.jit) log.write('jit', formatCodeEvent(event, rip));
    if (traced) emit(trace, event, rip);
  };
}
