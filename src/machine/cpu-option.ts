/** The text of `-cpu`: a model and features added or taken away. */
import { UserError } from '../base/errors.ts';
import { CPU_MODELS, type CpuModel, FEATURES } from '../cpu/x86/cpuid.ts';

/** `max,-pcid,+aes` or QEMU's `max,pcid=off`. Throws UserError for names that are none. */
export function cpuModel(text: string): CpuModel {
  const [name, ...changes] = text.split(',');
  const model = CPU_MODELS.find((m) => m.name === name);
  if (model === undefined) {
    throw new UserError(
      `-cpu ${name ?? ''}: there is no such model; there are ${CPU_MODELS.map((m) => m.name).join(', ')}`,
    );
  }
  const features = new Set(model.features);
  for (const change of changes) {
    const parsed = /^([+-])(.+)$/.exec(change) ?? /^(.+?)=(on|off)$/.exec(change);
    const [first = '', second = ''] = parsed?.slice(1) ?? [];
    const signed = first === '+' || first === '-';
    const feature = (signed ? second : first).replaceAll('_', '-');
    const known = Object.keys(FEATURES).find((f) => f.replaceAll('_', '-') === feature);
    if (parsed === null || known === undefined) {
      throw new UserError(`-cpu ${text}: there is no feature '${change.replace(/^[+-]/, '')}' (see -cpu help)`);
    }
    if (first === '+' || second === 'on') features.add(known);
    else features.delete(known);
  }
  return { ...model, features };
}
