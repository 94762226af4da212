/**
 * File systems and databases on the attached device of a mirror, while its targets are killed and come back.
 *
 *   fio, sqlite3, PostgreSQL -> ext4 | xfs -> /dev/loopN -> nbdfuse -> server1 -> own leg, server2 (killed), nbdkit (killed)
 *
 * NETRAID_SOAK_ROUNDS repeats the work under more kills (scripts/soak).
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mountFilesystem, unmount } from '../../src/attach/filesystem.ts';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons } from '../support/daemons.ts';
import { Postgres, postgresPrograms } from '../support/database.ts';
import { expectIdentical, kernelHas, lackingForDevices } from '../support/machine.ts';
import { NbdkitServer } from '../support/nbdkit-server.ts';
import { findProgram, runOk } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 448 * MIB;
const TAG = 'data';
/** Requests of the attached device, between two kills. */
const WRITES_BETWEEN = 50;
const ROUNDS = Number(process.env['NETRAID_SOAK_ROUNDS'] ?? '1');

const programs = ['nbdkit', 'qemu-img', 'fio', 'sqlite3', 'runuser', 'e2fsck', 'xfs_repair'];
const postgres = postgresPrograms();
const lacks = [lackingForDevices(), ...programs.filter((p) => findProgram(p) === undefined), postgres === undefined ? 'postgresql' : undefined];
const lacking = lacks.filter((l) => l !== undefined).join(', ');
if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED test/interop/mirror-filesystems.test.ts: not here: ${lacking}\n\n`);

/** A mirror with a target of each kind, attached. */
interface Site {
  cleanup: Cleanup;
  daemons: Daemons;
  foreign: NbdkitServer;
  device: string;
  file: (name: string) => string;
}

async function makeSite(cleanup: Cleanup): Promise<Site> {
  // Under load a resync may take its full speed here, so that one kill follows the other soon.
  const daemons = await Daemons.start({ nodes: ['server1', 'server2'], failureTimeoutMs: 1500, tunables: { LKDR_SPEED_LIMIT_MIN: 500_000 } });
  cleanup.add('the daemons', () => daemons.close());
  const file = (name: string): string => daemons.path(name);
  await runOk('truncate', ['-s', String(SIZE), file('leg3')]);
  const foreign = new NbdkitServer(file('foreign.sock'), ['file', file('leg3')]);
  cleanup.add('nbdkit', () => foreign.kill());
  await foreign.start();
  const legs = { server1: file('leg1'), server2: file('leg2') };
  await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, regionBytes: 256 * 1024, legs, foreign: { elsewhere: foreign.uri } });
  return { cleanup, daemons, foreign, device: await daemons.node('server1').attach(TAG), file };
}

/** Requests to write that the attached device has completed. */
function writes(s: Site): number {
  const fields = readFileSync(`/sys/block/${basename(s.device)}/stat`, 'utf8')
    .trim()
    .split(/\s+/);
  return Number(fields[4]);
}

/** Each target is killed once while it is written to, misses something, and is back in sync. */
async function killAndRevive(s: Site): Promise<void> {
  const revived = async (node: string, kill: () => Promise<void>, start: () => Promise<void>): Promise<void> => {
    const enough = writes(s) + WRITES_BETWEEN;
    await s.daemons.until('the application writes', () => Promise.resolve(writes(s) >= enough));
    await kill();
    await s.daemons.untilTarget('server1', TAG, node, 'is out, and misses something', (t) => t.state !== 'Target' && t.dirtyRegions > 0);
    await start();
    await s.daemons.untilInSync('server1', TAG, 60_000);
  };
  const server2 = s.daemons.node('server2');
  await revived(
    'server2',
    () => server2.kill(),
    () => server2.start(),
  );
  await revived(
    'elsewhere',
    () => s.foreign.kill(),
    () => s.foreign.start(),
  );
}

/** Repeats `work` until all kills are over; at least once. */
async function underKills(s: Site, work: (n: number) => Promise<void>): Promise<void> {
  const kills = { left: ROUNDS };
  const killing = async (): Promise<void> => {
    for (; kills.left > 0; kills.left -= 1) await killAndRevive(s);
  };
  const working = async (): Promise<void> => {
    let n = 0;
    do {
      await work(n);
      n += 1;
    } while (kills.left > 0);
  };
  await Promise.all([killing(), working()]);
}

async function fioVerify(dir: string): Promise<void> {
  const args = ['--name=verify', `--directory=${dir}`, '--rw=randwrite', '--bsrange=4k-64k', '--size=16m', '--fsync=32', '--ioengine=psync'];
  const out = await runOk('fio', [
    ...args,
    '--numjobs=2',
    '--verify=crc32c',
    '--verify_fatal=1',
    '--verify_state_save=0',
    '--do_verify=1',
    '--fallocate=none',
  ]);
  expect(out.match(/err= 0/g)?.length).toBe(2);
}

const SQLITE_ROWS = 300;

/** Each row is a transaction of its own, durable when sqlite3 goes on. */
async function sqlite(path: string, n: number): Promise<void> {
  const rows = Array.from({ length: SQLITE_ROWS }, (_, i) => `INSERT INTO t VALUES(${String(n * SQLITE_ROWS + i)}, randomblob(3000));`);
  const script = ['PRAGMA journal_mode=WAL;', 'PRAGMA synchronous=FULL;', 'CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v BLOB);', ...rows];
  await runOk('sqlite3', ['-bail', path], { stdin: script.join('\n') });
  const out = await runOk('sqlite3', ['-bail', path], { stdin: 'PRAGMA integrity_check; SELECT count(*), max(id) FROM t;' });
  expect(out.trim().split('\n')).toEqual(['ok', `${String((n + 1) * SQLITE_ROWS)}|${String((n + 1) * SQLITE_ROWS - 1)}`]);
}

async function pgbench(db: Postgres): Promise<void> {
  const out = await db.client('pgbench', ['-n', '-c', '4', '-j', '1', '-T', '3']);
  expect(out).toMatch(/number of failed transactions: 0 /);
}

async function work(s: Site, dir: string, programsDir: string): Promise<void> {
  const fioDir = `${dir}/fio`;
  mkdirSync(fioDir);
  await underKills(s, () => fioVerify(fioDir));
  await underKills(s, (n) => sqlite(`${dir}/rows.sqlite`, n));
  const db = await Postgres.start(programsDir, `${dir}/pg`);
  s.cleanup.add('the database', () => db.stop('immediate'));
  await db.client('pgbench', ['-i', '-q', '-s', '2']);
  await underKills(s, () => pgbench(db));
  // What every transaction adds in four places must add up to the same.
  const sums = await db.query(
    'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history), ' +
      '(SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history), ' +
      '(SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history), count(*) > 0 FROM pgbench_history',
  );
  expect(sums).toBe('t|t|t|t');
  await db.stop('fast');
  expect(await db.checksums()).toMatch(/Bad checksums:\s+0\n/);
}

describe.skipIf(lacking !== '')(`databases on a mirror whose targets are killed${lacking === '' ? '' : ` (lacks ${lacking})`}`, () => {
  // Beside each other: both wait for syncs most of the time.
  it.concurrent.for(['ext4', 'xfs'] as const)(
    'fio, sqlite3 and PostgreSQL on %s find their data, the file system is clean, and all legs are the same',
    { timeout: 120_000 * ROUNDS + 60_000 },
    async (mkfs, { skip }) => {
      if (!kernelHas(mkfs)) {
        process.stderr.write(`\nWARNING: SKIPPED ${mkfs} on a mirror: this kernel has no ${mkfs}\n\n`);
        skip(`this kernel has no ${mkfs}`);
      }
      const cleanup = new Cleanup();
      try {
        const site = await makeSite(cleanup);
        const { daemons, device, file } = site;
        const dir = file('mnt');
        await mountFilesystem({ device, dir, mkfs });
        await work(site, dir, postgres ?? '');
        await unmount({ dir });
        const check = mkfs === 'ext4' ? ['e2fsck', '-fn'] : ['xfs_repair', '-n'];
        await runOk(check[0] ?? '', [check[1] ?? '', device]);
        await daemons.node('server1').detach(TAG);
        await daemons.untilInSync('server1', TAG);
        expect(daemons.node('server1').logged(/server2 has left the mirror/).length).toBeGreaterThanOrEqual(3 * ROUNDS);
        expect(daemons.node('server1').logged(/elsewhere has left the mirror/).length).toBeGreaterThanOrEqual(3 * ROUNDS);
        const legs = [file('leg1'), file('leg2'), file('leg3')];
        await expectIdentical(legs);
        for (const leg of legs) await runOk(check[0] ?? '', mkfs === 'ext4' ? ['-fn', leg] : ['-n', '-f', leg]);
      } finally {
        await cleanup.run();
      }
    },
  );
});
