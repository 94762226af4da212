/**
 * Incremental backups as README.md has them, by tools that nobody here wrote: qemu-img and nbdinfo read what was written since a
 * checkpoint, also after the source's daemon was killed, and what they read restores to the same bytes. After a failover nothing is read.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { describe, expect } from 'vitest';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons } from '../support/daemons.ts';
import { builtProgram } from '../support/node-process.ts';
import { nbdsh, programsPath, run, runOk, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const REGION = 64 * 1024;
const TAG = 'data';
/** Longer than a daemon takes to start on a busy machine, so that nobody takes over while it does. */
const FAILURE_TIMEOUT_MS = 5000;
const NEEDED = ['qemu-img', 'qemu-io', 'nbdinfo', 'nbdcopy', 'nbdsh'];

interface Bench {
  d: Daemons;
  uri: string;
  socket: string;
  imageOpts: string;
  file: (name: string) => string;
}

async function bench(engine: string, cleanup: Cleanup): Promise<Bench> {
  const env = { NETRAID_ENGINE: engine };
  const d = await Daemons.start({ nodes: ['server1', 'server2'], failureTimeoutMs: FAILURE_TIMEOUT_MS, env: { server1: env, server2: env } });
  cleanup.add('the daemons', () => d.close());
  const file = (name: string): string => d.path(name);
  await d.createMirror({ tag: TAG, sizeBytes: SIZE, regionBytes: REGION, legs: { server1: file('leg1'), server2: file('leg2') } });
  const uri = d.node('server1').uri(TAG);
  const socket = new URL(uri).searchParams.get('socket') ?? '';
  return { d, uri, socket, imageOpts: `driver=nbd,export=${TAG},server.type=unix,server.path=${socket}`, file };
}

interface Range {
  offset: number;
  length: number;
}

/** qemu shows what a dirty bitmap calls dirty as "no data". */
async function mapByQemu(b: Bench, context: string): Promise<Range[]> {
  const text = await runOk('qemu-img', ['map', '--output=json', '--image-opts', `${b.imageOpts},x-dirty-bitmap=${context}`]);
  const all = JSON.parse(text) as { start: number; length: number; data: boolean }[];
  return all.filter((r) => !r.data).map((r) => ({ offset: r.start, length: r.length }));
}

async function mapByNbdinfo(b: Bench, context: string): Promise<Range[]> {
  const all = JSON.parse(await runOk('nbdinfo', ['--json', `--map=${context}`, b.uri])) as (Range & { type: number })[];
  return all.filter((r) => r.type === 1).map(({ offset, length }) => ({ offset, length }));
}

async function io(b: Bench, ...commands: string[]): Promise<void> {
  await runOk('qemu-io', ['-f', 'raw', ...commands.flatMap((c) => ['-c', c]), '-c', 'flush', b.uri]);
}

/** The script of README.md, with the places of this cluster; filesystems, of which there is none, are frozen by a program that does nothing. */
async function prepareScript(b: Bench): Promise<void> {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const script = /```sh\n(#![^`]*# incremental BEFORE[^`]*)```/.exec(readme)?.[1];
  if (script === undefined) throw new Error('README.md has no script for incremental backups');
  await mkdir(b.file('bin'));
  const programs = {
    incremental: script.replaceAll('/var/lib/netraid/run/nbd.sock', b.socket).replaceAll('/backup/', `${b.d.folder}/`),
    fsfreeze: '#!/bin/sh\n',
    netraid: `#!/bin/sh\nexec ${process.execPath} ${builtProgram('netraid')} "$@" --root ${b.d.node('server1').root}\n`,
  };
  for (const [name, text] of Object.entries(programs)) await writeFile(b.file(`bin/${name}`), text, { mode: 0o755 });
}

async function incremental(b: Bench, ...args: string[]): Promise<void> {
  await runOk(b.file('bin/incremental'), args, { env: { PATH: `${b.file('bin')}:${programsPath}` } });
}

async function isTheSame(b: Bench, backup: string): Promise<void> {
  expect(await runOk('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', backup, b.uri])).toContain('identical');
}

async function backUp(b: Bench, engine: string): Promise<void> {
  const { control } = b.d.node('server1');
  await prepareScript(b);
  await writeFile(b.file('in'), randomBytes(SIZE));
  await runOk('nbdcopy', ['--flush', b.file('in'), b.uri]);
  await control.call('checkpoint-create', { tag: TAG, name: 'monday' });
  await runOk('nbdcopy', [b.uri, b.file('monday.img')]);

  await io(b, 'write -P 7 1M 4k', `write -P 8 ${String(3 * MIB - 512)} 1k`, 'write -z 5M 100k', 'discard 9M 64k');
  expect(await mapByNbdinfo(b, 'qemu:dirty-bitmap:monday')).toEqual(await mapByQemu(b, 'qemu:dirty-bitmap:monday'));
  const first = await mapByQemu(b, 'qemu:dirty-bitmap:monday');
  await incremental(b, 'monday.img', 'raw', 'monday', 'tuesday');
  const bytes = first.reduce((n, r) => n + r.length, 0);
  expect(bytes).toBeGreaterThanOrEqual(6 * REGION);
  expect(bytes).toBeLessThan(SIZE / 2);
  await isTheSame(b, b.file('tuesday.qcow2'));
  expect((await control.call('status', { tag: TAG })).checkpoints).toMatchObject([{ name: 'tuesday', state: 'valid' }]);

  await io(b, 'write -P 9 12M 200k');
  await b.d.node('server1').kill();
  await b.d.node('server1').start();
  await b.d.until('server1 is in service again', async () => (await control.call('status', { tag: TAG })).inService);
  await io(b, 'write -P 10 14M 4k');
  const second = await mapByQemu(b, 'qemu:dirty-bitmap:tuesday');
  await incremental(b, 'tuesday.qcow2', 'qcow2', 'tuesday', 'wednesday');
  expect(second.some((r) => r.offset <= 14 * MIB && 14 * MIB < r.offset + r.length)).toBe(true);
  expect(second.some((r) => r.offset <= 12 * MIB && 12 * MIB < r.offset + r.length)).toBe(true);
  await isTheSame(b, b.file('wednesday.qcow2'));
  expect(JSON.parse(await runOk('nbdinfo', ['--json', b.uri]))).toMatchObject({
    exports: [{ contexts: ['base:allocation', 'qemu:dirty-bitmap:wednesday', 'netraid:dirty:server2'] }],
  });
  const asked = ['base:allocation', 'qemu:dirty-bitmap:wednesday', 'netraid:dirty:server2'];
  const told = await nbdsh(
    b.uri,
    [
      'import os',
      ...asked.map((c) => `h.add_meta_context("${c}")`),
      'h.connect_uri(os.environ["URI"])',
      `h.block_status(${String(SIZE)}, 0, lambda name, offset, entries, error: print(name, offset, sum(entries[::2]) > 0))`,
    ].join('\n'),
  );
  for (const c of asked) expect(told).toContain(`${c} 0 True`);

  await b.d.untilInSync('server1', TAG);
  if (engine === 'native') {
    await b.d.node('server1').kill();
    await b.d.until('server2 takes over', async () => (await b.d.node('server2').control.call('status', { tag: TAG })).inService);
    await b.d.node('server1').start();
  } else await control.call('switchover', { tag: TAG, node: 'server2' });
  await b.d.untilInSync('server2', TAG);
  await b.d.node('server2').control.call('switchover', { tag: TAG, node: 'server1' });
  await b.d.untilInSync('server1', TAG);
  expect((await control.call('status', { tag: TAG })).checkpoints).toMatchObject([
    { name: 'wednesday', state: 'void', void: { rule: 'was-target' } },
  ]);
  const refused = await run('nbdinfo', ['--map=qemu:dirty-bitmap:wednesday', b.uri]);
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('does not support metadata context')]);
  expect((await run('qemu-img', ['map', '--image-opts', `${b.imageOpts},x-dirty-bitmap=qemu:dirty-bitmap:wednesday`])).code).not.toBe(0);
}

// Beside each other: a killed source is waited for most of the time.
describe.concurrent.each(['native', 'portable'])('incremental backups, %s engine', (engine) => {
  testWith(
    NEEDED,
    'restore to the same bytes, also after the daemon was killed, and end with a failover',
    async () => {
      const cleanup = new Cleanup();
      try {
        await backUp(await bench(engine, cleanup), engine);
      } finally {
        await cleanup.run();
      }
    },
    120_000,
  );
});
