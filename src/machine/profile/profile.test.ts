import { describe, expect, it } from 'vitest';
import { Profile, type ProfileFrame } from './profile.ts';

const frame = (name: string, kind: ProfileFrame['kind'] = 'kernel'): ProfileFrame => ({ name, kind, address: 0x1000n });
const kernel = frame('kernel', 'root');
const shell = frame('user: /bin/sh', 'root');
const [read, copy, main] = [frame('read<int>'), frame('copy'), frame('main', 'user')] as const;
const profile = new Profile({
  rateHz: 1000,
  samples: [
    { stack: [kernel, read, copy], weightNs: 3e6 },
    { stack: [kernel, read], weightNs: 1e6 },
    { stack: [shell, main], weightNs: 4e6 },
    { stack: [kernel, read, copy], weightNs: 2e6 },
  ],
});

describe('a profile', () => {
  it('adds up where time went', () => {
    expect(profile.durationNs).toBe(1e7);
    expect(profile.hottest(2)).toEqual([
      { name: 'copy', owner: 'kernel', timeNs: 5e6, share: 0.5 },
      { name: 'main', owner: 'user: /bin/sh', timeNs: 4e6, share: 0.4 },
    ]);
  });

  it('becomes folded stacks', () => {
    expect(profile.toFolded()).toBe('kernel;read<int> 1000\nkernel;read<int>;copy 5000\nuser: /bin/sh;main 4000\n');
  });

  it('becomes a speedscope file', () => {
    const file = JSON.parse(profile.toSpeedscope('test')) as {
      shared: { frames: { name: string }[] };
      profiles: { type: string; unit: string; endValue: number; samples: number[][]; weights: number[] }[];
    };
    const [only] = file.profiles;
    expect(only).toMatchObject({
      type: 'sampled',
      unit: 'microseconds',
      endValue: 10000,
      weights: [3000, 1000, 4000, 2000],
    });
    expect(only?.samples.map((stack) => stack.map((i) => file.shared.frames[i]?.name).join(' '))).toEqual([
      'kernel read<int> copy',
      'kernel read<int>',
      'user: /bin/sh main',
      'kernel read<int> copy',
    ]);
  });

  it('becomes a flame graph with a title on each box', () => {
    const svg = profile.toFlameGraphSvg('sha256sum & co');
    expect(svg).toContain('<title>read&lt;int&gt; (kernel): 6.00 ms, 60.00 %</title>');
    expect(svg).toContain('sha256sum &amp; co');
    expect(svg).toContain('4 samples, 10.00 ms of running time');
    const boxes = [...svg.matchAll(/data-l="([\d.]+)" data-w="([\d.]+)" data-d="(\d)" data-n="([^"]*)"/g)];
    expect(boxes.map(([, left, width, depth, name]) => [Number(left), Number(width), Number(depth), name])).toEqual([
      [0, 1, 0, 'all'],
      [0, 0.6, 1, 'kernel'],
      [0, 0.6, 2, 'read&lt;int&gt;'],
      [0, 0.5, 3, 'copy'],
      [0.6, 0.4, 1, 'user: /bin/sh'],
      [0.6, 0.4, 2, 'main'],
    ]);
  });

  it('may be empty', () => {
    const empty = new Profile({ rateHz: 1, samples: [] });
    expect(empty.hottest()).toEqual([]);
    expect(empty.toFlameGraphSvg()).toContain('0 samples');
    expect(JSON.parse(empty.toSpeedscope())).toMatchObject({ profiles: [{ samples: [] }] });
  });
});
