import path from 'node:path';
import { expect, it } from 'vitest';
import { mountFilesystem, unmount } from '../../../src/attach/filesystem.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

it.each(['/dev/no-such-device', '/etc/passwd'])('refuses to mount what is no block device: %s', async (device) => {
  await expect(mountFilesystem({ device, dir: path.join(folder(), 'm') })).rejects.toMatchObject({
    kind: 'invalid',
    message: /no block device; allowed/,
  });
});

it('unmounts nothing where nothing is mounted', async () => {
  expect(await unmount({ dir: folder() })).toEqual({ wasMounted: false });
  expect(await unmount({ dir: '/no/such/folder' })).toEqual({ wasMounted: false });
});
