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
 *   root=DEVICE             hand over to the system on that disk; with rootfstype=, rootflags=, init=, ro (default) or rw
 */
export const SCRIPT_START_MARK = '\x1eorrery: script starts\n';
/** Followed by the status in decimal and a line feed. */
export const SCRIPT_END_MARK = '\x1eorrery: script ended with status ';
/** Ends the line with which a shell's session starts. */
export const GREETING_END = "'exit' powers the machine off.";

/** Virtio disks whose serial number begins like this are mounted at the place that its rest names; an empty one gets a file system. */
export const DISK_SERIAL_PREFIX = 'orrery-';

const INIT = `#!/bin/sh
export PATH=/bin HOME=/root TERM="\${TERM:-vt102}" LANG=C.UTF-8 ENV=/etc/profile
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t devtmpfs -o nosuid dev /dev 2>/dev/null || { mount -t tmpfs -o nosuid dev /dev && mdev -s; }

# Drivers of what is there: the buses first, then what they brought to light.
load_drivers() {
  for alias in "$@"; do
    [ -r "$alias" ] || continue
    read -r name <"$alias" && modprobe -q -b "$name" 2>/dev/null
  done
}
load_drivers /sys/bus/pci/devices/*/modalias /sys/bus/platform/devices/*/modalias
load_drivers /sys/bus/virtio/devices/*/modalias
load_drivers /sys/bus/scsi/devices/*/modalias /sys/bus/usb/devices/*/modalias

script=/orrery-script root= root_type= root_options=ro init=/sbin/init plain= size=
for word in $(cat /proc/cmdline); do
  case "$word" in
    orrery.script=*) script="\${word#*=}" ;;
    orrery.tty=plain) plain=yes ;;
    orrery.size=*x*) size="\${word#*=}" ;;
    root=*) root="\${word#*=}" ;;
    rootfstype=*) root_type="\${word#*=}" ;;
    rootflags=*) root_options="$root_options,\${word#*=}" ;;
    init=*) init="\${word#*=}" ;;
    ro | rw) root_options="$word\${root_options#r?}" ;;
  esac
done

# Another system on a disk: hand over to it.
if [ -n "$root" ]; then
  for try in 1 2 3 4 5 6 7 8 9 10; do
    case "$root" in
      *=*) disk=$(findfs "$root" 2>/dev/null) ;;
      *) disk="$root" ;;
    esac
    [ -b "$disk" ] && break
    sleep 0.2
  done
  mkdir -p /newroot
  if mount \${root_type:+-t "$root_type"} -o "$root_options" "$disk" /newroot && [ -x "/newroot$init" -o -L "/newroot$init" ]; then
    for place in dev sys proc; do mount --move "/$place" "/newroot/$place"; done
    exec switch_root /newroot "$init"
  fi
  echo "root=$root: there is no such disk, or no $init on it"
fi

mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev shm /dev/shm
mount -t tmpfs -o nosuid,nodev tmp /tmp
ln -sf /proc/self/fd /dev/fd
hostname orrery

ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  udhcpc -i eth0 -q -n -t 5 -T 1 -S -s /etc/udhcpc.sh >/dev/null 2>&1 &
fi

# Disks that say where they belong. One that has nothing on it but zeroes gets a file system.
places=
for block in /sys/block/vd*; do
  serial=$(cat "$block/serial" 2>/dev/null)
  case "$serial" in
    ${DISK_SERIAL_PREFIX}*) ;;
    *) continue ;;
  esac
  disk="/dev/\${block##*/}" place="/\${serial#${DISK_SERIAL_PREFIX}}"
  mkdir -p "$place"
  if [ -z "$(blkid "$disk")" ] && dd if="$disk" bs=64k count=16 2>/dev/null | tr -d '\\0' | cmp -s - /dev/null; then
    mke2fs -i 65536 -m 1 "$disk" >/dev/null
  fi
  type=$(blkid "$disk" | sed -n 's/.* TYPE="\\([^"]*\\)".*/\\1/p')
  mount -t "\${type:-auto}" "$disk" "$place" || { echo "$place: there is nothing on the disk that can be mounted"; continue; }
  places="$place $places"
done

[ -z "$plain" ] || stty -echo -onlcr </dev/console
[ -z "$size" ] || stty rows "\${size%x*}" cols "\${size#*x}" </dev/console

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
for place in $places; do umount -r "$place"; done
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
