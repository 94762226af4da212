import { describe, expect, it } from 'vitest';
import { closeAfter, openExisting, ReplaceFailed, replaceFile, writeAtLeast } from '../../../src/bitmap/file-steps.ts';
import { DamagedBitmapError } from '../../../src/bitmap/sector.ts';
import { Errno, IoError } from '../../../src/io/types.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const PATH = '/var/file';
const OLD = Buffer.from('the old content, longer than the new');
const NEW = Buffer.from('new content');

describe('replacing a file', () => {
  it('leaves the old or the new one whole, wherever the process dies and whatever power failure takes', async () => {
    let news = 0;
    for (let budget = 0; budget <= 20; budget += 1) {
      const files = new MemoryFiles();
      files.put(PATH, OLD);
      files.budget = budget;
      let done = true;
      try {
        await (await replaceFile(files, PATH, NEW)).file.close();
      } catch (e: unknown) {
        expect(e).toBeInstanceOf(ReplaceFailed);
        done = false;
      }
      for (const after of [files.afterCrash(), files.afterPowerLoss(() => false), files.afterPowerLoss(() => true)]) {
        const content = Buffer.from(after.peek(PATH)).toString();
        expect([OLD.toString(), 'new content']).toContain(content);
        if (done) expect(content).toBe('new content');
        if (content === 'new content') news += 1;
      }
    }
    expect(news).toBeGreaterThan(3);
  });

  it('overwrites what an earlier attempt left, and gives the room back when it fails', async () => {
    const files = new MemoryFiles();
    files.put(`${PATH}.tmp`, OLD);
    files.fault = (o) => (o === 'sync' ? { errno: Errno.ENOSPC } : undefined);
    await expect(replaceFile(files, PATH, NEW)).rejects.toMatchObject({ renamed: false, cause: { errno: Errno.ENOSPC } });
    expect([files.openFiles, await files.list('/var')]).toEqual([0, []]);
    files.put(`${PATH}.tmp`, OLD);
    files.fault = () => undefined;
    await (await replaceFile(files, PATH, NEW)).file.close();
    expect(Buffer.from(files.peek(PATH)).toString()).toBe('new content');
  });

  it('says when the new name may be there although it failed', async () => {
    const files = new MemoryFiles();
    files.fault = (o) => (o === 'syncDirectory' ? { errno: Errno.EIO } : undefined);
    await expect(replaceFile(files, PATH, NEW)).rejects.toMatchObject({ renamed: true, cause: { errno: Errno.EIO } });
  });

  it('says when tidying up failed as well', async () => {
    const files = new MemoryFiles();
    files.fault = (o) => (o === 'sync' || o === 'unlink' ? { errno: Errno.EIO } : undefined);
    let cause: unknown;
    try {
      await replaceFile(files, PATH, NEW);
    } catch (e: unknown) {
      cause = e instanceof Error ? e.cause : e;
    }
    expect(String(cause)).toContain('removing the new file failed too');
  });
});

describe('steps with files', () => {
  it('writes on after short writes, and fails when the file takes no more', async () => {
    const files = new MemoryFiles();
    const f = await files.open(PATH, { write: true, create: true });
    files.fault = (o) => (o === 'write' ? { atMostBytes: 3 } : undefined);
    expect(await writeAtLeast(f, OLD, 2, OLD.length)).toBe(OLD.length);
    expect(Buffer.from(files.peek(PATH).subarray(2)).equals(OLD)).toBe(true);
    files.fault = (o) => (o === 'write' ? { atMostBytes: 0 } : undefined);
    await expect(writeAtLeast(f, OLD, 0, OLD.length)).rejects.toThrow(IoError);
  });

  it('is content with enough on a full disk, and with nothing less or another error', async () => {
    const files = new MemoryFiles();
    const f = await files.open(PATH, { write: true, create: true });
    const limited = async (takes: number, errno: number): Promise<number> => {
      const faults = [{ atMostBytes: takes }, { errno }];
      files.fault = (o) => (o === 'write' ? faults.shift() : undefined);
      return writeAtLeast(f, OLD, 0, 10);
    };
    expect(await limited(10, Errno.ENOSPC)).toBe(10);
    expect(await limited(13, Errno.EFBIG)).toBe(13);
    await expect(limited(9, Errno.ENOSPC)).rejects.toMatchObject({ errno: Errno.ENOSPC });
    await expect(limited(13, Errno.EIO)).rejects.toMatchObject({ errno: Errno.EIO });
  });

  it('knows an absent file from one that it can not look at', async () => {
    const files = new MemoryFiles();
    await expect(openExisting(files, PATH, true)).rejects.toThrow(DamagedBitmapError);
    files.put(PATH, OLD);
    files.fault = () => ({ errno: Errno.EACCES });
    await expect(openExisting(files, PATH, true)).rejects.toThrow(IoError);
    files.fault = () => ({ errno: Errno.EIO });
    await expect(openExisting(files, PATH, true)).rejects.toThrow(DamagedBitmapError);
  });

  it('adds to a failure that the close failed too, and lets it pass where the content no longer matters', async () => {
    const files = new MemoryFiles();
    const f = await files.open(PATH, { write: true, create: true });
    const broken = { ...f, close: () => Promise.reject(new IoError(Errno.EIO, 'close')) };
    const failure = new Error('the write failed');
    await closeAfter(broken, failure);
    expect(failure.message).toBe('the write failed; closing failed too: IoError: close');
    await expect(closeAfter(broken, undefined)).resolves.toBeUndefined();
  });
});
