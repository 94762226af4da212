/** A source that loses its place while its device is mounted: the device goes by itself, and the new source is mounted. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mountFilesystem, unmount } from '../../src/attach/filesystem.ts';
import { status } from '../../src/attach/status.ts';
import { Daemons } from '../support/daemons.ts';
import { lackingForDevices } from '../support/machine.ts';

const MIB = 1024 * 1024;
const TAG = 'data';
const lacking = lackingForDevices();
if (lacking !== undefined) process.stderr.write(`\nWARNING: SKIPPED test/interop/attach-lost.test.ts: not here: ${lacking}\n\n`);

let daemons: Daemons;
const file = (name: string): string => daemons.path(name);

beforeEach(async () => {
  daemons = await Daemons.start({ nodes: ['server1', 'server2'], failureTimeoutMs: 1000 });
});

afterEach(async () => {
  await daemons.close();
});

async function attachedOn(node: string): Promise<string[]> {
  return (await status({ runDir: `${daemons.node(node).root}/run` })).map((a) => `${a.tag} ${a.condition}`);
}

/** server1 stands still until server2 has taken over, and wakes up. */
async function losePlace(): Promise<void> {
  const { pid } = daemons.node('server1');
  process.kill(pid, 'SIGSTOP');
  await daemons.until('server2 is in service', async () => (await daemons.node('server2').control.call('status', { tag: TAG })).inService);
  process.kill(pid, 'SIGCONT');
}

describe.skipIf(lacking !== undefined)('a source that loses its place', () => {
  it('has its device detached, in the end also one that is in use; the files are on the new source', { timeout: 120_000 }, async () => {
    await daemons.createMirror({ tag: TAG, sizeBytes: 64 * MIB, legs: { server1: file('leg1'), server2: file('leg2') } });
    const [first, second] = [file('mnt1'), file('mnt2')];
    const device = await daemons.node('server1').attach(TAG);
    await mountFilesystem({ device, dir: first, mkfs: 'ext4' });
    writeFileSync(`${first}/kept`, 'kept', { flush: true });
    const inUse = openSync(first, 'r');
    try {
      await losePlace();
      await daemons.until('server1 shows that its device is broken', async () => (await attachedOn('server1')).includes(`${TAG} broken`));
      await daemons.until('server1 is a target', async () => (await daemons.node('server1').control.call('status', { tag: TAG })).state === 'Target');
      expect(await attachedOn('server1')).toEqual([`${TAG} broken`]);
    } finally {
      closeSync(inUse);
    }
    await daemons.until('nothing is attached on server1', async () => (await attachedOn('server1')).length === 0);
    expect(daemons.node('server1').logged(/was taken away/).length).toBe(1);
    await mountFilesystem({ device: await daemons.node('server2').attach(TAG), dir: second, check: true });
    expect(readFileSync(`${second}/kept`, 'utf8')).toBe('kept');
    await unmount({ dir: second });
    await daemons.node('server2').detach(TAG);
  });

  it('and whose daemon was killed has its device detached when the daemon starts', { timeout: 60_000 }, async () => {
    await daemons.createMirror({ tag: TAG, sizeBytes: 16 * MIB, legs: { server1: file('leg1'), server2: file('leg2') } });
    await daemons.node('server1').attach(TAG);
    await daemons.node('server1').kill();
    await daemons.node('server1').start();
    await daemons.until('nothing is attached on server1', async () => (await attachedOn('server1')).length === 0);
  });
});
