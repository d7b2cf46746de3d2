/**
 * A page that boots a guest: kernel and initial file systems named by the query (`?kernel=…&initrd=…&initrd=…`), its console as
 * text, typed keys going in. `?accel=interp` chooses the interpreter, `?append=…` adds to the kernel's command line.
 *
 * When the machine ends, the status line says so and `document.body.dataset.exit` holds the reason.
 */
import { Machine } from '../src/browser.ts';

const query = new URLSearchParams(location.search);
const status = element('status');
const output = element('console');

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

async function fetched(path: string): Promise<Uint8Array> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Several archives behind each other are one initial file system to Linux, each at a multiple of 4 bytes. */
function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const padded = (bytes: number): number => (bytes + 3) & ~3;
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + padded(part.length), 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += padded(part.length);
  }
  return whole;
}

async function boot(): Promise<void> {
  const kernel = await fetched(query.get('kernel') ?? 'vmlinuz');
  const names = query.getAll('initrd');
  const initrd = concatenated(await Promise.all((names.length > 0 ? names : ['initrd.cpio']).map(fetched)));
  const machine = await Machine.create({
    kernel,
    initrd,
    accel: query.get('accel') === 'interp' ? 'interp' : 'jit',
    commandLine: `console=ttyS0 quiet ${query.get('append') ?? ''}`,
  });
  const port = machine.serial[0];
  const decoder = new TextDecoder();
  port?.onOutput((bytes) => {
    output.textContent += decoder.decode(bytes, { stream: true });
  });
  output.addEventListener('keydown', (event) => {
    const text = event.key === 'Enter' ? '\r' : event.key.length === 1 ? event.key : '';
    if (text !== '') port?.push(new TextEncoder().encode(text));
  });
  status.textContent = 'running';
  machine.start();
  const exit = await machine.exited;
  const { instructions } = machine.statistics();
  status.textContent = `${exit.reason} after ${Math.round(instructions / 1e6)} million instructions`;
  document.body.dataset['exit'] = exit.message === undefined ? exit.reason : `${exit.reason}: ${exit.message}`;
}

boot().catch((error: unknown) => {
  status.textContent = String(error);
  document.body.dataset['exit'] = String(error);
});
