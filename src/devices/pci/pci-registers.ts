/** Configuration space registers and bits (PCI Local Bus 3.0, chapter 6), shared by everything PCI. */

export const PCI_VENDOR_ID = 0x00;
export const PCI_DEVICE_ID = 0x02;
export const PCI_COMMAND = 0x04;
export const PCI_STATUS = 0x06;
export const PCI_REVISION = 0x08;
export const PCI_CLASS = 0x09; // 3 bytes: programming interface, subclass, class
export const PCI_CACHE_LINE_SIZE = 0x0c;
export const PCI_LATENCY_TIMER = 0x0d;
export const PCI_HEADER_TYPE = 0x0e;
export const PCI_BAR0 = 0x10;
export const PCI_SUBSYSTEM_VENDOR = 0x2c;
export const PCI_SUBSYSTEM_ID = 0x2e;
export const PCI_ROM_ADDRESS = 0x30;
export const PCI_CAPABILITY_POINTER = 0x34;
export const PCI_INTERRUPT_LINE = 0x3c;
export const PCI_INTERRUPT_PIN = 0x3d;

export const COMMAND_IO = 0x0001;
export const COMMAND_MEMORY = 0x0002;
export const COMMAND_MASTER = 0x0004;
export const COMMAND_PARITY = 0x0040;
export const COMMAND_SERR = 0x0100;
export const COMMAND_INTX_DISABLE = 0x0400;

export const STATUS_INTERRUPT = 0x0008;
export const STATUS_CAPABILITIES = 0x0010;
/** Error bits, cleared by writing ones. */
export const STATUS_WRITE_ONE_TO_CLEAR = 0xf900;

export const BAR_IO = 0x01;
export const BAR_MEMORY_64 = 0x04;
export const BAR_PREFETCHABLE = 0x08;

export const HEADER_MULTI_FUNCTION = 0x80;

export const CAPABILITY_MSI = 0x05;
export const CAPABILITY_VENDOR = 0x09;
export const CAPABILITY_MSIX = 0x11;
