/**
 * The small root file system that guests start in: BusyBox, its applets as links, a handful of files in /etc and an /init that
 * loads the drivers of the devices at hand, gives a shell on the console and powers off when it ends.
 */
import { parentDirectories } from '../../../machine/cpio.ts';
import type { CpioEntry } from '../../../machine/cpio.ts';
import type { ModuleSet } from './kernel-modules.ts';

/**
 * /init understands these kernel command line parameters:
 *   orrery.script=PATH      run that script instead of a shell, tell its exit status between the two marks below and power off;
 *                           without it /orrery-script is run if a second initrd brings one
 *   orrery.size=ROWSxCOLS   size of the terminal on the console
 *   orrery.tty=plain        the console neither echoes nor turns line feeds into CR LF: input and output are pipes
 */
export const SCRIPT_START_MARK = '\x1eorrery: script starts\n';
/** Followed by the status in decimal and a line feed. */
export const SCRIPT_END_MARK = '\x1eorrery: script ended with status ';
/** Ends the line with which a shell's session starts. */
export const GREETING_END = "'exit' powers the machine off.";

const INIT = `#!/bin/sh
export PATH=/bin HOME=/root TERM="\${TERM:-vt102}" LANG=C.UTF-8 ENV=/etc/profile
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t devtmpfs -o nosuid dev /dev 2>/dev/null || { mount -t tmpfs -o nosuid dev /dev && mdev -s; }
mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev shm /dev/shm
mount -t tmpfs -o nosuid,nodev tmp /tmp
ln -sf /proc/self/fd /dev/fd
hostname orrery

# Drivers of what is there: the buses first, then what they brought to light.
load_drivers() {
  for alias in "$@"; do
    [ -r "$alias" ] || continue
    read -r name <"$alias" && modprobe -q -b "$name" 2>/dev/null
  done
}
load_drivers /sys/bus/pci/devices/*/modalias
load_drivers /sys/bus/virtio/devices/*/modalias
load_drivers /sys/bus/scsi/devices/*/modalias /sys/bus/usb/devices/*/modalias

ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  udhcpc -i eth0 -q -n -t 5 -T 1 -S -s /etc/udhcpc.sh >/dev/null 2>&1 &
fi

script=/orrery-script
for word in $(cat /proc/cmdline); do
  case "$word" in
    orrery.script=*) script="\${word#*=}" ;;
    orrery.tty=plain) stty -echo -onlcr </dev/console ;;
    orrery.size=*x*)
      size="\${word#*=}"
      stty rows "\${size%x*}" cols "\${size#*x}" </dev/console
      ;;
  esac
done

cd /root
if [ -r "$script" ]; then
  printf '\\036orrery: script starts\\n'
  setsid cttyhack /bin/sh "$script"
  printf '\\036orrery: script ended with status %s\\n' "$?"
else
  echo "Linux $(uname -r) with BusyBox, running on Orrery. ${GREETING_END}"
  setsid cttyhack /bin/sh -l
fi
sync
poweroff -f
`;

const PROFILE = `export PS1='root@\\h:\\w\\$ '
alias ll='ls -l'
`;

const UDHCPC = `#!/bin/sh
case "$1" in
  deconfig) ip addr flush dev "$interface" ;;
  bound | renew)
    ip addr add "$ip/\${mask:-24}" dev "$interface"
    for gateway in $router; do ip route add default via "$gateway" dev "$interface"; done
    : >/etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
    ;;
esac
`;

const TEXT_FILES: readonly CpioEntry[] = [
  { path: 'init', type: 'file', mode: 0o755, content: INIT },
  {
    path: 'etc/passwd',
    type: 'file',
    content: 'root::0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  },
  { path: 'etc/group', type: 'file', content: 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' },
  { path: 'etc/nsswitch.conf', type: 'file', content: 'passwd: files\ngroup: files\nhosts: files dns\n' },
  { path: 'etc/hosts', type: 'file', content: '127.0.0.1 localhost orrery\n::1 localhost\n' },
  { path: 'etc/hostname', type: 'file', content: 'orrery\n' },
  { path: 'etc/resolv.conf', type: 'file', content: '' },
  { path: 'etc/profile', type: 'file', content: PROFILE },
  { path: 'etc/udhcpc.sh', type: 'file', mode: 0o755, content: UDHCPC },
];

const DIRECTORIES: readonly string[] = [
  'bin',
  'dev',
  'etc',
  'lib',
  'mnt',
  'proc',
  'root',
  'run',
  'sys',
  'tmp',
  'usr',
  'var',
];
/** One folder of programs under all the names by which scripts and the kernel (/sbin/modprobe) call it. */
const LINKS: readonly (readonly [string, string])[] = [
  ['sbin', 'bin'],
  ['usr/bin', '../bin'],
  ['usr/sbin', '../bin'],
  ['var/run', '../run'],
  ['etc/mtab', '/proc/mounts'],
];

/**
 * The applets of a BusyBox binary: it holds their names, sorted and separated by NULs, starting with '[' and '[['. Reading them
 * there works for a binary of any architecture.
 */
export function busyboxApplets(binary: Uint8Array): string[] {
  const start = Buffer.from(binary.buffer, binary.byteOffset, binary.byteLength).indexOf('\0[\0[[\0', 0, 'latin1');
  if (start < 0) return [];
  const names: string[] = [];
  let at = start + 1;
  for (;;) {
    const end = binary.indexOf(0, at);
    const name = Buffer.from(binary.subarray(at, end)).toString('latin1');
    if (!/^[\w.[-]{1,32}$/.test(name)) return names;
    names.push(name);
    at = end + 1;
  }
}

/** Everything the initial file system holds, parents first. */
export function guestRoot(busybox: Uint8Array, kernelVersion: string, { modules, indices }: ModuleSet): CpioEntry[] {
  const moduleFolder = `lib/modules/${kernelVersion}`;
  const entries: CpioEntry[] = [
    ...DIRECTORIES.map((path): CpioEntry => ({ path, type: 'directory', ...(path === 'root' ? { mode: 0o700 } : {}) })),
    ...LINKS.map(([path, content]): CpioEntry => ({ path, type: 'symlink', content })),
    { path: 'dev/console', type: 'character', device: [5, 1] },
    { path: 'dev/null', type: 'character', mode: 0o666, device: [1, 3] },
    ...TEXT_FILES,
    { path: 'bin/busybox', type: 'file', mode: 0o755, content: busybox },
    ...busyboxApplets(busybox)
      .filter((name) => name !== 'busybox')
      .map((name): CpioEntry => ({ path: `bin/${name}`, type: 'symlink', content: 'busybox' })),
    ...modules.map(({ path, content }): CpioEntry => ({ path: `${moduleFolder}/${path}`, type: 'file', content })),
    ...Object.entries(indices).map(([name, content]): CpioEntry => ({
      path: `${moduleFolder}/${name}`,
      type: 'file',
      content,
    })),
  ];
  return withParents(entries);
}

function withParents(entries: readonly CpioEntry[]): CpioEntry[] {
  const seen = new Set<string>();
  const all: CpioEntry[] = [];
  for (const entry of entries) {
    for (const path of parentDirectories(entry.path)) {
      if (seen.has(path)) continue;
      seen.add(path);
      all.push({ path, type: 'directory' });
    }
    if (seen.has(entry.path)) continue;
    seen.add(entry.path);
    all.push(entry);
  }
  return all;
}
