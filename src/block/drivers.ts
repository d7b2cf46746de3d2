/** All block drivers, and the order in which formats are asked whether an image is theirs. */
import type { BlockDriver } from './driver.ts';
import { blkdebug } from './filters/blkdebug/blkdebug.ts';
import { compress } from './filters/compress.ts';
import { copyOnRead } from './filters/copy-on-read.ts';
import { preallocate } from './filters/preallocate.ts';
import { throttle } from './filters/throttle/throttle.ts';
import { bochsDriver } from './formats/bochs/bochs.ts';
import { cloopDriver } from './formats/cloop/cloop.ts';
import { dmgDriver } from './formats/dmg/dmg.ts';
import { luksDriver } from './formats/luks/luks.ts';
import { parallelsDriver } from './formats/parallels/parallels.ts';
import { qcow2 } from './formats/qcow2/driver.ts';
import { raw } from './formats/raw/raw.ts';
import { vdiDriver } from './formats/vdi/vdi.ts';
import { vhdxDriver } from './formats/vhdx/vhdx.ts';
import { vmdkDriver } from './formats/vmdk/vmdk.ts';
import { vpcDriver } from './formats/vpc/vpc.ts';
import { nbdDriver } from './nbd/driver.ts';
import { file, hostCdrom, hostDevice } from './protocols/file.ts';
import { http, https } from './protocols/http.ts';
import { memory } from './protocols/memory.ts';
import { nullAio, nullCo } from './protocols/null.ts';

export const DRIVERS: readonly BlockDriver[] = [
  raw, qcow2, luksDriver, vdiDriver, vmdkDriver, vhdxDriver, vpcDriver, parallelsDriver, bochsDriver, cloopDriver, dmgDriver,
  file, hostCdrom, hostDevice, http, https, memory, nbdDriver, nullAio, nullCo,
  blkdebug, compress, copyOnRead, preallocate, throttle,
]; // prettier-ignore
