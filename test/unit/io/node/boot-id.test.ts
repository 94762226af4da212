import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { readBootId, UNKNOWN_BOOT } from '../../../../src/io/node/boot-id.ts';
import { temporaryFolders } from './temporary-folder.ts';

const temporaryFolder = temporaryFolders();

test('the boot of this machine has a name that stays', () => {
  expect(readBootId()).toMatch(/^[0-9a-f-]{36}$/);
  expect(readBootId()).toBe(readBootId());
});

test('where nobody can tell, or what is there is no name, every time is the same boot', async () => {
  expect(readBootId('/nowhere/boot_id')).toBe(UNKNOWN_BOOT);
  const file = path.join(await temporaryFolder(), 'boot_id');
  writeFileSync(file, 'something else\n');
  expect(readBootId(file)).toBe(UNKNOWN_BOOT);
});
