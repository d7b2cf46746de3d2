import { expect, it } from 'vitest';
import { defineEvents, LogTraceBackend, Tracer } from './trace.ts';

const EVENTS = defineEvents({ pic_set_irq: ['irq', 'level'], pit_load: ['count'] });

it('trace points are silent until a pattern turns them on, also one given before they exist', () => {
  const lines: string[] = [];
  const tracer = new Tracer();
  tracer.addBackend(new LogTraceBackend((line) => lines.push(line)));
  tracer.enable('pic_*');
  const trace = tracer.attach(EVENTS);
  trace.pic_set_irq.emit(14, true);
  trace.pit_load.emit(3);
  expect(lines).toEqual(['pic_set_irq irq=0xe level=true']);
  expect(tracer.enable('-pic_*')).toBe(1);
  trace.pic_set_irq.emit(1, true);
  expect(lines.length).toBe(1);
});
