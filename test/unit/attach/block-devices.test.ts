import { expect, it } from 'vitest';
import { deviceNumberOf, loopsBelow, nbdDevices, refuseWhenClaimed } from '../../../src/attach/block-devices.ts';
import { FakeSys } from './fake-sys.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

it('finds the loop devices on a file below a folder, and none of a folder whose name only begins alike', async () => {
  const sys = new FakeSys(folder());
  sys.loop('loop0', '/run/a.attach/nbd');
  sys.loop('loop1');
  sys.loop('loop2', '/run/a.attach2/nbd');
  sys.loop('loop10', '/run/a.attach/nbd (deleted)');
  expect(await loopsBelow('/run/a.attach', sys.roots)).toEqual([sys.device('loop0'), sys.device('loop10')]);
});

it('tells the nbd devices in order, held and free', async () => {
  const sys = new FakeSys(folder());
  sys.nbd('nbd10');
  sys.nbd('nbd2', 77, 2048);
  expect(await nbdDevices(sys.roots)).toEqual([
    { device: sys.device('nbd2'), pid: 77, sizeBytes: 1024 * 1024 },
    { device: sys.device('nbd10'), pid: undefined, sizeBytes: 0 },
  ]);
});

it('gives the number of a device, and none for one that is not there', async () => {
  const sys = new FakeSys(folder());
  sys.loop('loop0');
  expect(await deviceNumberOf('/dev/loop0', sys.roots)).toBe('7:0');
  expect(await deviceNumberOf('/dev/loop1', sys.roots)).toBeUndefined();
});

it('has no devices where there is no /sys', async () => {
  expect(await nbdDevices({ sysBlockDir: '/no/such', devDir: '/dev' })).toEqual([]);
});

it('lets a device pass that is gone', async () => {
  await expect(refuseWhenClaimed('/dev/no-such-device')).resolves.toBeUndefined();
});
