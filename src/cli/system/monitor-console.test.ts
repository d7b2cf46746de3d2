import { describe, expect, it } from 'vitest';
import { MemoryChardev } from '../../chardev/chardev.ts';
import { MonitorConsole } from './monitor-console.ts';

function build(): { chardev: MemoryChardev; calls: string[]; monitor: MonitorConsole } {
  const chardev = new MemoryChardev();
  const calls: string[] = [];
  const note = (call: string) => async (): Promise<void> => {
    await Promise.resolve();
    calls.push(call);
  };
  const target = { status: () => 'running', pause: note('pause'), resume: note('resume'), reset: note('reset') };
  const monitor = new MonitorConsole(chardev, {
    ...target,
    blocks: () => 'drives\n',
    report: () => 'tiers and translations\n',
    powerDown: () => calls.push('powerDown'),
    quit: () => calls.push('quit'),
  });
  return { chardev, calls, monitor };
}

/** Lets the commands that were typed run to their end. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the human monitor', () => {
  it('runs what is typed, one line after the other', async () => {
    const { chardev, calls } = build();
    chardev.push(new TextEncoder().encode('stop\rinfo ststa\x7f\x7f\x7fatus\rc\rsystem_reset\rsystem_powerdown\rq\r'));
    await settle();
    expect(calls).toEqual(['pause', 'resume', 'reset', 'powerDown', 'quit']);
    expect(chardev.text).toContain('VM status: running\r\n(orrery) ');
    expect(chardev.text).toContain('ststa\b \b\b \b\b \batus\r\n');
  });

  it('knows what was meant', async () => {
    const { monitor } = build();
    expect(await monitor.execute('qiut')).toBe("unknown command: 'qiut'; did you mean 'quit'?\n");
    expect(await monitor.execute('info stats')).toBe("no information 'stats'; did you mean 'status'?\n");
    expect(await monitor.execute('info')).toContain('info status -- whether the guest runs\n');
    expect(await monitor.execute('info block')).toBe('drives\n');
    expect(await monitor.execute('info jit')).toBe('tiers and translations\n');
    expect(await monitor.execute('  ')).toBe('');
    expect(await monitor.execute('help')).toContain('system_reset -- reset the machine\n');
  });

  it('shows its prompt when it gets the terminal, with what was typed before', async () => {
    const { chardev, monitor } = build();
    monitor.show();
    chardev.push(new TextEncoder().encode('info'));
    monitor.show();
    await settle();
    expect(chardev.text.endsWith('\r\n(orrery) info')).toBe(true);
  });
});
