import { expect, it } from 'vitest';
import { mountsOf, parseMountTable, readMounts } from '../../../src/attach/mount-table.ts';

const table = [
  '22 27 0:21 / /proc rw,relatime - proc proc rw',
  '98 27 7:3 / /mnt/with\\040space rw,relatime shared:1 master:2 - ext4 /dev/loop3 rw',
  '99 27 0:39 / /run/a.attach rw,nosuid - fuse /dev/fuse rw,user_id=0',
  'a line that makes no sense',
  '',
].join('\n');

it('reads mount points, types and sources, with any number of optional fields and with escaped blanks', () => {
  expect(parseMountTable(table)).toEqual([
    { deviceNumber: '0:21', mountPoint: '/proc', type: 'proc', source: 'proc' },
    { deviceNumber: '7:3', mountPoint: '/mnt/with space', type: 'ext4', source: '/dev/loop3' },
    { deviceNumber: '0:39', mountPoint: '/run/a.attach', type: 'fuse', source: '/dev/fuse' },
  ]);
});

it('finds a device by its number when it was mounted under another name, and does not take no number for a match', () => {
  const mounts = parseMountTable(table);
  expect(mountsOf(mounts, '/dev/other-name', '7:3').map((m) => m.mountPoint)).toEqual(['/mnt/with space']);
  expect(mountsOf(mounts, '/dev/loop3', undefined).map((m) => m.mountPoint)).toEqual(['/mnt/with space']);
  expect(mountsOf(mounts, '/dev/loop4', undefined)).toEqual([]);
});

it("knows this machine's /proc", async () => {
  expect((await readMounts()).some((m) => m.mountPoint === '/proc' && m.type === 'proc')).toBe(true);
});
