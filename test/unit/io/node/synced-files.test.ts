import { constants, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodeFiles } from '../../../../src/io/node/files.ts';

let folder = '';
/** Of a kind that is known to honour O_DSYNC, wherever this runs. */
const IN_MEMORY = '/dev/shm';

beforeEach(() => {
  folder = mkdtempSync(path.join(IN_MEMORY, 'netraid-synced-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Flags of the descriptor that this process has of a file, as the kernel says. */
function flagsOf(file: string): number {
  const fd = readdirSync('/proc/self/fd').find((n) => {
    try {
      return readlinkSync(`/proc/self/fd/${n}`) === file;
    } catch {
      return false;
    }
  });
  if (fd === undefined) throw new Error(`${file} is not open`);
  return Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '', 8);
}

test.runIf(process.platform === 'linux')('a file whose writes are to be durable when they end is opened so, and says it', async () => {
  const name = path.join(folder, 'file');
  for (const [options, synced] of [
    [{ write: true, create: true, synced: true }, true],
    [{ write: true }, false],
    [{ synced: true }, false],
  ] as const) {
    const file = await nodeFiles.open(name, options);
    expect([file.synced, (flagsOf(name) & constants.O_DSYNC) !== 0]).toEqual([synced, synced]);
    if (options.write) await file.write(Buffer.from('content'), 0);
    await file.close();
  }
  expect(readFileSync(name, 'latin1')).toBe('content');
});
