/** The PC's DSDT: the PCI root with its interrupt routing, the ISA devices, the processors and the way to switch off. */
import { SLEEP_TYPE_S5 } from '../../power/acpi-pm.ts';
import { VIRTIO_MMIO_BYTES } from '../../virtio/virtio-mmio.ts';
import {
  type Aml,
  amlPackage,
  and,
  arg,
  byteField,
  call,
  createDwordField,
  device,
  eisaId,
  integer,
  less,
  method,
  name,
  operationRegion,
  or,
  otherwise,
  path,
  returns,
  scope,
  SPACE_PCI_CONFIG,
  store,
  string,
  when,
} from './aml.ts';
import {
  busNumbers,
  interrupt,
  INTERRUPT_NUMBER_OFFSET,
  io,
  ioWindow,
  irqNoFlags,
  memory32Fixed,
  memoryWindow,
  resourceTemplate,
} from './resources.ts';

export interface DsdtOptions {
  readonly cpuCount: number;
  /** First address of the window for memory BARs; it ends below the I/O APIC. */
  readonly pciMemoryStart: number;
  readonly pciMemoryEnd: number;
  readonly serialPorts: readonly { readonly iobase: number; readonly irq: number }[];
  /** Whether a PS/2 mouse is plugged in. */
  readonly mouse: boolean;
  /** Virtio devices with registers in memory. */
  readonly virtioMmio: readonly { readonly address: number; readonly gsi: number }[];
}

const LINKS = ['LNKA', 'LNKB', 'LNKC', 'LNKD'] as const;
const PCI_IRQ = { level: true, activeLow: false, shared: true } as const;
/** What the links may be routed to. */
const LINK_CHOICES = [5, 10, 11] as const;

/** The term list of the DSDT, to go below a table header. */
export function dsdtTerms(options: DsdtOptions): Aml[] {
  return [
    scope(
      '\\_SB',
      pciRoot(options),
      ...LINKS.map((link, i) => linkDevice(link, i)),
      sciLink(),
      irqStatusMethod(),
      irqCurrentMethod(),
    ),
    scope('\\_SB.PCI0.ISA', ...isaDevices(options)),
    scope('\\_SB', ...processors(options.cpuCount), ...virtioDevices(options)),
    name('\\_S5', amlPackage(integer(SLEEP_TYPE_S5), integer(SLEEP_TYPE_S5), integer(0), integer(0))),
  ];
}

function pciRoot(options: DsdtOptions): Aml {
  const windows = [
    busNumbers(0, 0xff),
    io(0xcf8, 8),
    ioWindow(0x0000, 0x0cf7),
    ioWindow(0x0d00, 0xffff),
    memoryWindow(0xa0000, 0xbffff, true),
    memoryWindow(options.pciMemoryStart, options.pciMemoryEnd),
  ];
  const isa = device(
    'ISA',
    name('_ADR', integer(0x00010000)),
    operationRegion('PIRQ', SPACE_PCI_CONFIG, 0x60, 4),
    byteField('PIRQ', ['PRQ0', 8], ['PRQ1', 8], ['PRQ2', 8], ['PRQ3', 8]),
  );
  return device(
    'PCI0',
    name('_HID', eisaId('PNP0A03')),
    name('_UID', integer(0)),
    name('_BBN', integer(0)),
    name('_CRS', resourceTemplate(...windows)),
    name('_PRT', amlPackage(...routingTable())),
    isa,
  );
}

/** Slot and pin to link: one further with each slot, slot 1's INTA# straight to the SCI. */
function routingTable(): Aml[] {
  const entries: Aml[] = [];
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      // INVARIANT: two bits index four names.
      const link = slot === 1 && pin === 0 ? 'LNKS' : LINKS[((slot + pin + 3) & 3) as 0 | 1 | 2 | 3];
      entries.push(amlPackage(integer(slot * 0x10000 + 0xffff), integer(pin), path(link), integer(0)));
    }
  }
  return entries;
}

function linkDevice(link: string, index: number): Aml {
  const route = path(`\\_SB.PCI0.ISA.PRQ${index}`);
  return device(
    link,
    name('_HID', eisaId('PNP0C0F')),
    name('_UID', integer(index)),
    name('_PRS', resourceTemplate(interrupt(PCI_IRQ, ...LINK_CHOICES))),
    method('_STA', 0, false, returns(call('IQST', route))),
    method('_DIS', 0, false, or(route, integer(0x80), route)),
    method('_CRS', 0, false, returns(call('IQCR', route))),
    method('_SRS', 1, false, createDwordField(arg(0), INTERRUPT_NUMBER_OFFSET, 'PRRI'), store(path('PRRI'), route)),
  );
}

/** The power management function's interrupt is wired to the SCI and cannot be moved. */
function sciLink(): Aml {
  const nine = resourceTemplate(interrupt(PCI_IRQ, 9));
  return device(
    'LNKS',
    name('_HID', eisaId('PNP0C0F')),
    name('_UID', integer(4)),
    name('_PRS', nine),
    method('_STA', 0, false, returns(integer(0x0b))),
    method('_DIS', 0, false),
    method('_CRS', 0, false, returns(path('_PRS'))),
    method('_SRS', 1, false),
  );
}

/** Status of a link from its routing register: bit 7 = not routed. */
function irqStatusMethod(): Aml {
  return method('IQST', 1, false, when(and(integer(0x80), arg(0)), returns(integer(0x09))), returns(integer(0x0b)));
}

/** Current resources of a link from its routing register. */
function irqCurrentMethod(): Aml {
  return method(
    'IQCR',
    1,
    true,
    name('PRR0', resourceTemplate(interrupt(PCI_IRQ, 0))),
    createDwordField(path('PRR0'), INTERRUPT_NUMBER_OFFSET, 'PRRI'),
    when(less(arg(0), integer(0x80)), store(arg(0), path('PRRI'))),
    otherwise(store(integer(0), path('PRRI'))),
    returns(path('PRR0')),
  );
}

function isaDevice(text: string, id: string, ...descriptors: Uint8Array[]): Aml {
  return device(text, name('_HID', eisaId(id)), name('_CRS', resourceTemplate(...descriptors)));
}

function isaDevices(options: DsdtOptions): Aml[] {
  const devices = [
    isaDevice('PIC', 'PNP0000', io(0x20, 2), io(0xa0, 2), io(0x4d0, 2), irqNoFlags(2)),
    isaDevice('TIMR', 'PNP0100', io(0x40, 4), irqNoFlags(0)),
    isaDevice('DMAC', 'PNP0200', io(0x00, 0x10), io(0x81, 0x0f), io(0xc0, 0x20)),
    isaDevice('RTC', 'PNP0B00', io(0x70, 2), irqNoFlags(8)),
    isaDevice('SPKR', 'PNP0800', io(0x61, 1)),
    isaDevice('FPU', 'PNP0C04', io(0xf0, 0x10), irqNoFlags(13)),
    isaDevice('KBD', 'PNP0303', io(0x60, 1), io(0x64, 1), irqNoFlags(1)),
    device(
      'FWCF',
      name('_HID', string('QEMU0002')),
      name('_STA', integer(0x0b)),
      name('_CRS', resourceTemplate(io(0x510, 12))),
    ),
  ];
  if (options.mouse) devices.push(isaDevice('MOU', 'PNP0F13', irqNoFlags(12)));
  options.serialPorts.forEach(({ iobase, irq }, i) => {
    devices.push(
      device(
        `COM${i + 1}`,
        name('_HID', eisaId('PNP0501')),
        name('_UID', integer(i + 1)),
        name('_CRS', resourceTemplate(io(iobase, 8), irqNoFlags(irq))),
      ),
    );
  });
  return devices;
}

function virtioDevices({ virtioMmio }: DsdtOptions): Aml[] {
  return virtioMmio.map(({ address, gsi }, i) =>
    device(
      `VR${i.toString().padStart(2, '0')}`,
      name('_HID', string('LNRO0005')),
      name('_UID', integer(i)),
      name('_CCA', integer(1)),
      name(
        '_CRS',
        resourceTemplate(
          memory32Fixed(address, VIRTIO_MMIO_BYTES),
          interrupt({ level: true, activeLow: false, shared: false }, gsi),
        ),
      ),
    ),
  );
}

function processors(count: number): Aml[] {
  return Array.from({ length: count }, (_, i) =>
    device(
      `C${i.toString(16).toUpperCase().padStart(3, '0')}`,
      name('_HID', string('ACPI0007')),
      name('_UID', integer(i)),
    ),
  );
}
