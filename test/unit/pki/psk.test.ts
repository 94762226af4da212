import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { nodeFiles } from '../../../src/io/node/files.ts';
import { addPreSharedKey } from '../../../src/pki/psk.ts';
import { temporaryFolders } from '../io/node/temporary-folder.ts';
import { modeOf, testWorld } from './ca-world.ts';

const folder = temporaryFolders();
const { w } = testWorld();

it('gives each user a line with a key of its own, in a file of its owner', async () => {
  const path = join(await folder(), 'keys');
  await addPreSharedKey(w, path, 'a');
  await addPreSharedKey(w, path, 'b');
  const m = /^a:([0-9a-f]{64})\nb:([0-9a-f]{64})\n$/.exec(readFileSync(path, 'utf8'));
  expect(m?.[1]).not.toBe(m?.[2]);
  expect([m === null, modeOf(path)]).toEqual([false, 0o600]);
});

it('keeps the lines that are there, and closes one that has no end and a file that others could read', async () => {
  const path = join(await folder(), 'keys');
  writeFileSync(path, 'caf\u00e9:00FF', 'latin1');
  chmodSync(path, 0o644);
  await addPreSharedKey(w, path, 'b');
  expect(readFileSync(path, 'latin1')).toMatch(/^caf\u00e9:00FF\nb:[0-9a-f]{64}\n$/);
  expect(modeOf(path)).toBe(0o600);
});

it.each([
  ['a user who has one', 'a:00\n', 'a has a key in'],
  ['a file of something else', 'b:11\nroot:x:0:0\n', 'line 2 is not USER:HEX; it is left alone'],
  ['a key of half a byte', 'b:123\n', 'line 1 is not USER:HEX'],
  ['a file that is too long', 'b:11\n'.repeat(300_000), 'longer than 1048576 bytes'],
])('refuses %s, and leaves the file alone', async (_, text, message) => {
  const path = join(await folder(), 'keys');
  writeFileSync(path, text);
  const before = statSync(path);
  await expect(addPreSharedKey(w, path, 'a')).rejects.toThrow(message);
  expect([readFileSync(path, 'utf8') === text, statSync(path).ino]).toEqual([true, before.ino]);
});

it('refuses what is no file: it would be replaced by one', async () => {
  await expect(addPreSharedKey(w, '/dev/null', 'a')).rejects.toThrow('/dev/null is no file');
  await expect(addPreSharedKey(w, await folder(), 'a')).rejects.toThrow('is no file');
});

it('refuses while somebody else gives a key', async () => {
  const path = join(await folder(), 'keys');
  const lock = await nodeFiles.open(`${path}.lock`, { write: true, create: true });
  await lock.tryLock();
  await expect(addPreSharedKey(w, path, 'a')).rejects.toThrow('another netraid pki is at work');
  await lock.close();
});
