/**
 * The text of `-cpu`: a model, features added or taken away, and properties such as `vendor` or `stepping`, in all of QEMU's
 * spellings: `max,-pcid,+aes`, `max,pcid=off`, `qemu64,umip`, `max,vendor=GenuineIntel`.
 */
import { UserError } from '../base/errors.ts';
import { didYouMean } from '../base/nearest.ts';
import { CPU_MODELS, type CpuModel, familyModelStepping, signatureOf } from '../cpu/x86/cpu-models.ts';
import { PHYSICAL_BITS } from '../cpu/x86/cpuid.ts';
import { FEATURES } from '../cpu/x86/feature-places.ts';

/** Features that QEMU knows and this engine does not have: taken away silently, asked for with a warning. */
const ABSENT_FEATURES: ReadonlySet<string> = new Set(
  (
    '3dnow 3dnowext acpi amd-ssbd amd-stibp arch-capabilities arch-lbr avx-vnni avx512bw avx512cd avx512dq avx512er ' +
    'avx512f avx512ifma avx512pf avx512vbmi avx512vl avx512-bf16 avx512-bitalg avx512-vbmi2 avx512-vnni avx512-vpopcntdq ' +
    'bus-lock-detect cid cldemote clzero cmp-legacy core-capability dca ds ds-cpl dtes64 est extapic fma4 fxsr-opt ' +
    'fzrm gfni hle ht ia64 ibpb ibrs ibs intel-pt la57 lam lbrv lwp md-clear misalignsse mmxext movdir64b movdiri mp mpx ' +
    'nodeid-msr npt nrip-save osvw pause-filter pbe pcommit pdcm perfctr-core perfctr-nb pfthreshold pks pmm pn ' +
    'rtm sgx skinit smx spec-ctrl ss ssb-no ssbd sse4a stibp svm svm-lock tbm tce tm tm2 topoext tsc-adjust tsx-ctrl vaes ' +
    'virt-ssbd vme vmx vpclmulqdq waitpkg wbnoinvd wdt xop xtpr'
  ).split(' '),
);
/** Switches about the host or about how QEMU checks, which change nothing here. */
const SWITCHES_WITHOUT_EFFECT: ReadonlySet<string> = new Set(
  'check enforce fill-mtrr-mask host-cache-info host-phys-bits l3-cache migratable pmu'.split(' '),
);
/** What some features are also called. */
const ALIASES: Readonly<Record<string, string>> = {
  sse3: 'pni',
  'sse4-1': 'sse4.1',
  'sse4-2': 'sse4.2',
  pclmuldq: 'pclmulqdq',
  xd: 'nx',
  i64: 'lm',
  lzcnt: 'abm',
};

/** Features that there cannot be without another: they go with it. */
const NEEDING: Readonly<Record<string, readonly string[]>> = {
  xsave: ['xsaveopt', 'xsavec', 'xgetbv1', 'xsaves', 'avx'],
  avx: ['avx2', 'fma', 'f16c'],
};

interface Change {
  readonly name: string;
  readonly value: string;
}

const dashed = (text: string): string => text.replaceAll('_', '-');
const FEATURE_NAMES: ReadonlyMap<string, string> = new Map(Object.keys(FEATURES).map((name) => [dashed(name), name]));

function featureNamed(name: string): string | undefined {
  return FEATURE_NAMES.get(ALIASES[name] ?? name);
}

function split(text: string): { model: string; changes: Change[] } {
  const [model = '', ...rest] = text.split(',');
  const changes = rest.map((part) => {
    if (part.startsWith('+')) return { name: dashed(part.slice(1)), value: 'on' };
    if (part.startsWith('-')) return { name: dashed(part.slice(1)), value: 'off' };
    const at = part.indexOf('=');
    return at < 0
      ? { name: dashed(part), value: 'on' }
      : { name: dashed(part.slice(0, at)), value: part.slice(at + 1) };
  });
  return { model, changes };
}

function switchValue(text: string, { name, value }: Change): boolean {
  if (['on', 'yes', 'true', 'y'].includes(value)) return true;
  if (['off', 'no', 'false', 'n'].includes(value)) return false;
  throw new UserError(`-cpu ${text}: '${name}' is on or off, not '${value}'`);
}

function numberValue(text: string, { name, value }: Change, most: number): number {
  const number = /^(0x[0-9a-f]+|\d+)$/i.test(value) ? Number(value) : NaN;
  if (!(number <= most)) throw new UserError(`-cpu ${text}: '${name}' is a number from 0 to ${most}, not '${value}'`);
  return number;
}

/** The model with one property changed, undefined when there is no such property. */
function withProperty(text: string, model: CpuModel, change: Change): CpuModel | undefined {
  const { name, value } = change;
  const { family, model: number, stepping } = familyModelStepping(model.signature);
  switch (name) {
    case 'vendor':
      if (!/^[\x20-\x7e]{12}$/.test(value))
        throw new UserError(`-cpu ${text}: a vendor has 12 characters, not '${value}'`);
      return { ...model, vendor: value };
    case 'family':
      return { ...model, signature: signatureOf(numberValue(text, change, 270), number, stepping) };
    case 'model':
      return { ...model, signature: signatureOf(family, numberValue(text, change, 255), stepping) };
    case 'stepping':
      return { ...model, signature: signatureOf(family, number, numberValue(text, change, 15)) };
    case 'model-id':
      return { ...model, brand: value.slice(0, 47) };
    case 'phys-bits':
      if (numberValue(text, change, 64) !== PHYSICAL_BITS)
        throw new UserError(`-cpu ${text}: physical addresses have ${PHYSICAL_BITS} bits in this engine, not ${value}`);
      return model;
    default:
      return undefined;
  }
}

/**
 * The model that `text` describes.
 * @throws {UserError} for models, features and properties that are none.
 */
export function cpuModel(text: string): CpuModel {
  const { model: name, changes } = split(text);
  const found = CPU_MODELS.find((m) => m.name === (name === 'host' ? 'max' : name));
  if (found === undefined) {
    const known = CPU_MODELS.map((m) => m.name);
    throw new UserError(
      `-cpu ${name}: there is no such model${didYouMean(name, known) || `; there are ${known.join(', ')}`}`,
    );
  }
  let model = found;
  const features = new Set(found.features);
  for (const change of changes) {
    const feature = featureNamed(change.name);
    if (feature !== undefined) {
      if (switchValue(text, change)) features.add(feature);
      else features.delete(feature);
    } else if (ABSENT_FEATURES.has(change.name) || SWITCHES_WITHOUT_EFFECT.has(change.name)) {
      switchValue(text, change);
    } else {
      const changed = withProperty(text, model, change);
      if (changed === undefined)
        throw new UserError(
          `-cpu ${text}: there is no feature '${change.name}'${didYouMean(change.name, FEATURE_NAMES.keys()) || ' (see -cpu help)'}`,
        );
      model = changed;
    }
  }
  for (const [needed, needing] of Object.entries(NEEDING))
    if (!features.has(needed)) for (const feature of needing) features.delete(feature);
  return { ...model, features };
}

/** Features that `text` asks for and that this engine does not have. */
export function missingFeatures(text: string): string[] {
  const { changes } = split(text);
  return changes.filter(({ name, value }) => ABSENT_FEATURES.has(name) && value === 'on').map(({ name }) => name);
}
