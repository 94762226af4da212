import path from 'node:path';
import { expect, it } from 'vitest';
import { oneLine, run, startBackground } from '../../../src/attach/command.ts';
import { waitUntil } from '../../../src/attach/wait.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

it('gives status and output, and hands arguments on without a shell', async () => {
  expect(await run('printf', ['%s|', 'a b', '$HOME'], { timeoutMs: 5000 })).toEqual({ status: 0, stdout: 'a b|$HOME|', stderr: '' });
});

it('fails with the command, its status and what it said on one line', async () => {
  const failing = run('sh', ['-c', 'echo first >&2; echo second >&2; exit 3'], { timeoutMs: 5000 });
  await expect(failing).rejects.toMatchObject({ kind: 'failed', message: expect.stringMatching(/^sh -c .*: status 3: first; second$/) as string });
});

it('takes a status that the caller knows for an answer', async () => {
  await expect(run('sh', ['-c', 'exit 2'], { timeoutMs: 5000, accept: [2] })).resolves.toMatchObject({ status: 2 });
});

it('kills a program that passes its deadline', async () => {
  await expect(run('sleep', ['60'], { timeoutMs: 50 })).rejects.toMatchObject({ kind: 'timeout', message: 'sleep 60: no end within 50 ms' });
});

it('tells a program that was killed from one that failed', async () => {
  await expect(run('sh', ['-c', 'kill -9 $$'], { timeoutMs: 5000 })).rejects.toMatchObject({
    kind: 'failed',
    message: expect.stringContaining('ended by SIGKILL') as string,
  });
});

it('names the Debian package of a program that is missing', async () => {
  await expect(run('no-such-program', [], { timeoutMs: 5000 })).rejects.toMatchObject({ kind: 'missing-program', message: /apt-get install/ });
});

it('bounds what it keeps of the output', async () => {
  const r = await run('sh', ['-c', 'yes x | head -c 300000; echo end'], { timeoutMs: 5000 });
  expect(r.stdout.length).toBeLessThanOrEqual(64 * 1024);
  expect(r.stdout.endsWith('end\n')).toBe(true);
});

it('starts a program in the background, tells when and how it ended, and what it said', async () => {
  const started = await startBackground('sh', ['-c', 'echo mark is $MARK; exit 4'], path.join(folder(), 'log'), { MARK: 'm' });
  expect(started.pid).toBeGreaterThan(0);
  expect(await waitUntil(5000, () => Promise.resolve(started.ended() !== undefined))).toBe(true);
  expect(started.ended()).toBe('status 4');
  expect(await started.said()).toBe('mark is m');
});

it('says at once that a background program is missing', async () => {
  await expect(startBackground('no-such-program', [], path.join(folder(), 'log'), {})).rejects.toMatchObject({ kind: 'missing-program' });
});

it('keeps the last lines of a long text', () => {
  expect(oneLine('a\n b \n\nc\nd\ne\n')).toBe('b; c; d; e');
});
