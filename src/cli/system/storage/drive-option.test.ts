import { describe, expect, it } from 'vitest';
import { parseDrive, shortDrive } from './drive-option.ts';
import { parseBlockdev } from './storage-options.ts';

describe('-drive', () => {
  it('tells the properties of the drive from those of the node', () => {
    const text =
      'file=a,,b.qcow2,format=qcow2,if=virtio,index=3,serial=S1,werror=stop,lazy-refcounts=on,file.locking=off';
    expect(parseDrive(text)).toMatchObject({
      text: `-drive ${text}`,
      file: 'a,b.qcow2',
      format: 'qcow2',
      interface: 'virtio',
      index: 3,
      serial: 'S1',
      werror: 'stop',
      readOnly: false,
      discard: false,
      node: { 'lazy-refcounts': 'on', file: { locking: 'off' } },
    });
  });

  it.each([
    ['cache=none', { writeback: true, direct: true, noFlush: false }],
    ['cache=writethrough', { writeback: false, direct: false, noFlush: false }],
    ['cache=directsync', { writeback: false, direct: true, noFlush: false }],
    ['cache=unsafe', { writeback: true, direct: false, noFlush: true }],
    ['cache=unsafe,cache.no-flush=off', { writeback: true, direct: false, noFlush: false }],
    ['if=none', { writeback: true, direct: false, noFlush: false }],
  ])('%s', (text, cache) => {
    expect(parseDrive(`file=x,${text}`).cache).toEqual(cache);
  });

  it('collects limits under their new names', () => {
    const { throttling, node } = parseDrive('file=x,iops=100,throttling.bps-read=5,throttling.group=g');
    expect(throttling).toEqual({ 'iops-total': '100', 'bps-read': '5', group: 'g' });
    expect(node).toEqual({});
  });

  it('takes discs for read-only', () => {
    expect(shortDrive('cdrom', 'x.iso', 2, true)).toMatchObject({ cdrom: true, readOnly: true, index: 2 });
  });

  it.each([
    ['file=x,if=ide', '-drive file=x,if=ide: this board has no IDE controller yet; if=virtio and if=scsi are there'],
    ['file=x,if=vrtio', 'if=vrtio is none of virtio, scsi, none'],
    ['file=x,cache=nne', "cache=nne; did you mean 'none'?"],
    ['file=x,werror=maybe', 'werror=maybe is none of report, ignore, stop, enospc'],
    ['file=x,detect-zeroes=unmap', 'detect-zeroes=unmap is not allowed without discard=unmap'],
    ['file=x,index=1,unit=0', 'index and bus or unit exclude each other'],
    ['x.qcow2', 'it takes properties, such as file=x.qcow2'],
    ['file=x,if=none,serial=1', 'with if=none the serial number is a property of the device'],
  ])('refuses %s in one sentence', (text, message) => {
    expect(() => parseDrive(text)).toThrow(message);
  });
});

describe('-blockdev', () => {
  it('takes a list or JSON', () => {
    const options = { driver: 'qcow2', 'node-name': 'n', file: { driver: 'file', filename: 'a' } };
    expect(parseBlockdev('driver=qcow2,node-name=n,file.driver=file,file.filename=a').options).toEqual(options);
    expect(parseBlockdev('qcow2,node-name=n,file.driver=file,file.filename=a').options).toEqual(options);
    expect(parseBlockdev(JSON.stringify(options)).options).toEqual(options);
  });

  it.each([
    ['node-name=n', 'driver= is missing'],
    ['driver=raw', 'node-name= is missing'],
    ['{"driver":', 'Could not parse the JSON options'],
  ])('refuses %s', (text, message) => {
    expect(() => parseBlockdev(text)).toThrow(message);
  });
});
