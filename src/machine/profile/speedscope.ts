/** Writes the file format of speedscope (https://www.speedscope.app/file-format-schema.json): one profile of the type `sampled`. */
import type { ProfileFrame } from './call-stacks.ts';
import type { Profile } from './profile.ts';

const NS_A_MICROSECOND = 1000;

export function speedscopeJson(profile: Profile, name: string): string {
  const numbers = new Map<ProfileFrame, number>();
  const number = (frame: ProfileFrame): number => {
    const known = numbers.get(frame);
    if (known !== undefined) return known;
    numbers.set(frame, numbers.size);
    return numbers.size - 1;
  };
  const samples = profile.samples.map(({ stack }) => stack.map(number));
  const weights = profile.samples.map(({ weightNs }) => Math.round(weightNs / NS_A_MICROSECOND));
  return JSON.stringify({
    $schema: 'https://www.speedscope.app/file-format-schema.json',
    exporter: 'orrery',
    name,
    activeProfileIndex: 0,
    shared: { frames: [...numbers.keys()].map((frame) => ({ name: frame.name, file: frame.kind })) },
    profiles: [
      {
        type: 'sampled',
        name,
        unit: 'microseconds',
        startValue: 0,
        endValue: weights.reduce((sum, weight) => sum + weight, 0),
        samples,
        weights,
      },
    ],
  });
}
