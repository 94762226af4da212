/** Stories that make the situations of README.md's "When something fails", and the sections below it. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'vitest';
import { mirrorPaths } from '../../../src/failover/paths.ts';
import { run, runOk } from '../../support/programs.ts';
import { command, MIB, type Stage, type Story, TAG } from './stage.ts';

const FAILURE_TIMEOUT_MS = 1500;
const TWO = ['server1', 'server2'];
const THREE = ['server1', 'server2', 'server3'];
const IN_SERVICE = /State: Source, in service/;

async function kill(s: Stage, ...nodes: readonly string[]): Promise<void> {
  await Promise.all(nodes.map((n) => s.node(n).kill()));
}

async function extended(s: Stage, ...nodes: readonly string[]): Promise<void> {
  const { control } = s.node('server1');
  await control.call('in-service', { tag: TAG });
  let priority = 0;
  for (const node of nodes) {
    priority += 10;
    await control.call('extend', { tag: TAG, node, leg: s.leg(node), foreignUri: null, mode: 'sync', priority, zeroed: true });
  }
  await s.inSync('server1');
}

async function blankLegs(s: Stage, ...nodes: readonly string[]): Promise<void> {
  for (const n of nodes) await writeFile(s.leg(n), Buffer.alloc(MIB));
}

/** server2 has taken over, server1 was in service until the link was whole again, and both have written. */
async function splitApart(s: Stage, beforeHeal: (s: Stage) => Promise<void>): Promise<void> {
  s.relays.cut('server1', 'server2');
  s.relays.cut('server2', 'server1');
  await s.shows('server2', IN_SERVICE);
  expect(await s.write('server1', 7, 40)).toBe(0);
  expect(await s.write('server2', 8, 41)).toBe(0);
  await beforeHeal(s);
  s.relays.heal('server1', 'server2');
  await s.shows('server1', /State: Split Brain, out of service/);
  await s.shows('server2', /-> server1\n {4}Status: Split Brain[^]*State: Split Brain, in service/);
}

const lookFirst: Story = {
  title: 'a node dies, and then the other while the first is being resynced',
  section: 'When something fails',
  nodes: TWO,
  links: true,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  steps: [
    (s) => s.mirror(...TWO),
    command('# netraid status data', { on: 'server1', prints: IN_SERVICE }),
    command('# netraid explain data', { on: 'server2', prints: /^data on server2: stay-out\n {2}Rule: better-candidate/ }),
    command('# ls /var/lib/netraid/subsys/scsi/resources/netraid', { on: 'server1', prints: /data_last_owner\ndata_source/ }),
    (s) =>
      s
        .node('server1')
        .control.call('pause', { tag: TAG, nodes: [] })
        .then(() => s.shows('server2', /State: Paused/)),
    command('mirror_action data resume', { on: 'server1' }),
    (s) => s.inSync('server1'),
    async (s) => {
      await kill(s, 'server1');
      await s.shows('server2', IN_SERVICE);
      expect(await s.write('server2', 3, 0, 32)).toBe(0);
      s.relays.slow('server1', 'server2', { rateBytesPerSec: MIB, delayMs: 1 });
      await s.node('server1').start();
    },
    command('mirror_status data --watch', { on: 'server2', prints: /Status: Resynchronizing\n.*\[=?.*%/, follows: true }),
    async (s) => {
      await kill(s, 'server2');
      await s.shows('server1', /State: Inconsistent, out of service/);
    },
    command('# netraid explain data --what-if force', {
      on: 'server1',
      prints: /if force: refuse[^]*last_owner is not set on server1[^]*--without-last-owner is given/,
    }),
    command('netraid explain data', { on: 'server1', prints: /Rule: cut-short[^]*Changes If: the resync is finished by server2/ }),
    async (s) => {
      s.relays.heal('server1', 'server2');
      await s.node('server2').start();
      await s.shows('server2', IN_SERVICE);
      await s.inSync('server2');
    },
  ],
};

const bothDead: Story = {
  title: 'both nodes died, and one is forced',
  section: 'Force',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  steps: [
    (s) => s.mirror(...TWO),
    async (s) => {
      await kill(s, ...TWO);
      await s.node('server1').start();
      await s.shows('server1', /State: Data Corrupt, out of service[^]*rule source-alone/);
    },
    command('server1# mirror_action data force server1', { asks: true, prints: /data is in service on server1/ }),
    async (s) => {
      await s.shows('server1', /in service[^]*rule forced/);
      await kill(s, 'server1');
      await s.node('server1').start();
      await s.shows('server1', /State: Data Corrupt/);
      rmSync(mirrorPaths(s.node('server1').root, TAG).dataCorrupt);
    },
    command('netraid in-service data', { on: 'server1', asks: true, prints: /in service/ }),
    async (s) => {
      await s.shows('server1', IN_SERVICE);
      await s.node('server2').start();
      await s.inSync('server1');
      await kill(s, ...TWO);
      await s.node('server2').start();
      await s.shows('server2', /State: Waiting, out of service[^]*rule target-alone/);
      const r = await s.typed('mirror_action data force server2 --yes', 'server2');
      expect([r.code, r.stderr]).toEqual([1, expect.stringContaining('add --without-last-owner')]);
    },
    command('mirror_action data force server2 --without-last-owner', { section: 'Two nodes', on: 'server2', asks: true }),
    async (s) => {
      await s.shows('server2', IN_SERVICE);
      await s.node('server1').start();
      await s.inSync('server2');
      await s.node('server2').control.call('out-of-service', { tag: TAG });
      await s.node('server1').control.call('in-service', { tag: TAG });
      await s.inSync('server1');
      await kill(s, ...TWO);
      await s.node('server1').start();
      await s.shows('server1', /State: Data Corrupt/);
    },
    command('mirror_action data force server1', { section: 'Two nodes', on: 'server1', asks: true }),
    (s) => s.shows('server1', IN_SERVICE),
  ],
};

const threeNodes: Story = {
  title: 'the source of three nodes never returns, and the wait for it is ended',
  section: 'Three nodes',
  nodes: THREE,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  steps: [
    (s) => blankLegs(s, ...THREE),
    command('netraid create data /dev/sdb1 --wait-for-previous-source 3600', { on: 'server1', prints: /data is made on server1: 1 MiB/ }),
    async (s) => {
      await extended(s, 'server2', 'server3');
      await kill(s, 'server1');
      await s.shows('server2', /-> server3\n {4}Status: Out of Sync \(Wait for Previous Source\)[^]*Flags: last_owner, source server1/);
    },
    command('server2# mirror_action data fullresync server2 server3 --yes', { prints: /a full resync is ordered/ }),
    (s) => s.shows('server2', /-> server3\n {4}Status: Target[^]*Last Resync: full/),
  ],
};

const majority: Story = {
  title: 'with an arbiter, a source that hears nobody answers nothing',
  section: 'Split brain',
  nodes: THREE,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  steps: [
    (s) => blankLegs(s, ...THREE),
    command('netraid create data /dev/sdb1 --arbiter majority', { on: 'server1' }),
    async (s) => {
      await extended(s, 'server2', 'server3');
      await kill(s, 'server2', 'server3');
      await s.shows('server1', /Suspended: no quorum[^]*rule no-quorum/);
    },
  ],
};

const splitBrain: Story = {
  title: 'a cut network, and the data of the node that stopped is given up',
  section: 'Split brain',
  nodes: TWO,
  links: true,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  devices: true,
  steps: [
    async (s) => {
      await s.mirror(...TWO);
      const r = await s.typed('netraid mount data /srv/data --mkfs ext4', 'server1');
      expect([r.code, r.stderr]).toEqual([0, '']);
      await writeFile(path.join(s.dir('server1'), 'before'), 'the cut', { flush: true });
      // Only what is on the leg when the mirror stops can be saved from it.
      await splitApart(s, () => writeFile(path.join(s.dir('server1'), 'after'), 'the cut too', { flush: true }));
      const dir = s.dir('server1', 'mnt');
      mkdirSync(dir);
      mkdirSync(s.dir('server1', 'backup'));
      s.cleanup.add('what is mounted from the leg', async () => {
        if ((await run('mountpoint', ['-q', dir])).code === 0) await runOk('umount', [dir]);
      });
    },
    command('server1# netraid detach data --unmount', { prints: /data (is detached|was not attached)/ }),
    command('server1# dd if=/dev/sdb1 of=/backup/sdb1.img bs=1M conv=sparse'),
    command('server1# mount -o loop /backup/sdb1.img /mnt'),
    async (s) => {
      expect(await readFile(path.join(s.dir('server1', 'mnt'), 'before'), 'utf8')).toBe('the cut');
      expect(await readFile(path.join(s.dir('server1', 'mnt'), 'after'), 'utf8')).toBe('the cut too');
    },
    command('server2# netraid status data', { prints: /Status: Split Brain/ }),
    command('server2# netraid resolve data --victim server1', { asks: true, prints: /64 MiB will be overwritten/ }),
    async (s) => {
      await s.inSync('server2');
      expect([await s.byteAt(s.leg('server1'), 40), await s.byteAt(s.leg('server1'), 41)]).toEqual([await s.byteAt(s.leg('server2'), 40), 8]);
    },
  ],
};

const splitBrainOtherSide: Story = {
  title: 'a cut network, and the data of the node that is out of service is kept',
  section: 'Split brain',
  nodes: TWO,
  links: true,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  devices: true,
  steps: [
    async (s) => {
      await s.mirror(...TWO);
      await splitApart(s, async () => {
        const r = await s.typed('netraid mount data /srv/data --mkfs ext4', 'server2');
        expect([r.code, r.stderr]).toEqual([0, '']);
      });
    },
    command('server2# netraid umount data --detach', { prints: /data is detached/ }),
    command('server2# netraid out-of-service data', { prints: /out of service/ }),
    command('server1# mirror_action data force server1 --without-last-owner', { asks: true }),
    (s) => s.shows('server1', /-> server2\n {4}Status: Split Brain[^]*State: Split Brain, in service/),
    command('server1# netraid resolve data --victim server2', { asks: true }),
    async (s) => {
      await s.inSync('server1');
      expect([await s.byteAt(s.leg('server2'), 40), await s.byteAt(s.leg('server2'), 41)]).toEqual([7, 0]);
    },
  ],
};

const asking: Story = {
  title: 'a target asks before it takes over, and is told no, and yes',
  section: 'Failover that asks',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  steps: [
    (s) => s.mirror(...TWO),
    command('server1# netraid set data --failover confirm --confirm-timeout 5m --confirm-default go', { prints: /data: failover confirm/ }),
    async (s) => {
      await kill(s, 'server1');
      await s.shows('server2', /Asks: /);
    },
    command('server2# netraid status data', {
      prints:
        /\n {4}Decision: wait, rule takeover: in sync, and server1 has been silent on every path for \d+ ms; an operator is asked .*\n {4}Asks: take over from server1\? netraid confirm data, or --no; in 00:0[45]:\d\d it goes in service\n/,
    }),
    command('netraid status data', { on: 'server2', prints: /Asks: / }),
    command('netraid explain data', { on: 'server2', prints: /Asks: take over from server1/ }),
    command('server2# netraid confirm data --no'),
    (s) => s.shows('server2', /out of service[^]*Decision: stay-out, rule takeover: .*an operator has said no/),
    command('server2# netraid confirm data'),
    async (s) => {
      await s.shows('server2', IN_SERVICE);
      await s.node('server1').start();
      await s.inSync('server2');
      const r = await s.typed('netraid set data --failover off', 'server2');
      expect(r.code).toBe(0);
      await kill(s, 'server2');
      await s.shows('server1', /Decision: wait, rule takeover: .*failover is 'off'/);
    },
    command('netraid in-service data', { on: 'server1' }),
    (s) => s.shows('server1', IN_SERVICE),
  ],
};

/** One sync of server1 fails while no target is in sync, and none is believed after it. */
async function syncFails(s: Stage): Promise<void> {
  expect(await s.write('server1', 5, 1)).toBe(0);
  s.syncsFail('server1', true);
  await s.daemons.until('a sync fails', async () => (await s.write('server1', 5, 2)) !== 0);
  s.syncsFail('server1', false);
  expect(await s.write('server1', 5, 3)).not.toBe(0);
}

async function syncsAgain(s: Stage): Promise<void> {
  expect(await s.write('server1', 5, 4)).toBe(0);
  await s.inSync('server1');
  expect([await s.byteAt(s.leg('server2'), 1), await s.byteAt(s.leg('server2'), 4)]).toEqual([5, 5]);
}

const failedSync: Story = {
  title: 'a sync of the source fails while its target is paused',
  section: 'A sync that fails',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  faults: 'server1',
  steps: [
    async (s) => {
      await s.mirror(...TWO);
      await s.node('server1').control.call('pause', { tag: TAG, nodes: [] });
      await s.shows('server2', /State: Paused/);
      await syncFails(s);
    },
    command('server1# netraid out-of-service data'),
    command('server1# netraid in-service data'),
    async (s) => {
      await s.node('server1').control.call('resume', { tag: TAG, nodes: [] });
      await syncsAgain(s);
    },
  ],
};

const failedSyncAlone: Story = {
  title: 'a sync of the source fails while its target is silent',
  section: 'A sync that fails',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  faults: 'server1',
  steps: [
    async (s) => {
      await s.mirror(...TWO);
      await kill(s, 'server2');
      await s.shows('server1', /-> server2\n {4}Status: Unknown/);
      await syncFails(s);
      await s.node('server1').control.call('out-of-service', { tag: TAG });
      const r = await s.typed('netraid in-service data', 'server1');
      expect([r.code, r.stderr]).toEqual([1, expect.stringContaining('(rule source-alone)')]);
    },
    command('mirror_action data force server1', { on: 'server1', asks: true }),
    async (s) => {
      await s.node('server2').start();
      await syncsAgain(s);
    },
  ],
};

/** The record of a node that is dead is damaged, and its daemon says so when it is started. */
async function damaged(s: Stage, node: string): Promise<void> {
  const { state } = mirrorPaths(s.node(node).root, TAG);
  writeFileSync(state, readFileSync(state).fill(0xff, 20, 36));
  await s.node(node).start();
  await s.shows(node, /state record is damaged/);
}

const damagedState: Story = {
  title: 'the state record of a node is damaged',
  section: 'Damaged state',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  steps: [
    async (s) => {
      await s.mirror(...TWO);
      expect(await s.write('server1', 6, 1)).toBe(0);
      await kill(s, 'server2');
      await damaged(s, 'server2');
      expect((await s.typed('netraid status', 'server2')).stdout).toMatch(/Broken/);
    },
    command('server2# netraid delete data', { asks: true, prints: /data is forgotten on server2;/ }),
    async (s) => {
      expect(existsSync(mirrorPaths(s.node('server2').root, TAG).state)).toBe(false);
      await s.shows('server1', IN_SERVICE);
    },
    command('server1# netraid unextend data server2', { asks: true, prints: /server2 is no longer part of data/ }),
    command('server1# netraid extend data server2 /dev/sdb1', { asks: true }),
    async (s) => {
      await s.inSync('server1');
      expect(await s.byteAt(s.leg('server2'), 1)).toBe(6);
      await kill(s, 'server1');
      await damaged(s, 'server1');
      await s.shows('server2', IN_SERVICE);
      // The same with the names exchanged.
      for (const line of ['netraid delete data', 'netraid unextend data server1', 'netraid extend data server1 /dev/sdb1']) {
        const r = await s.typed(`${line} --yes`, line.includes('delete') ? 'server1' : 'server2');
        expect([line, r.code, r.stderr]).toEqual([line, 0, '']);
      }
      await s.inSync('server2');
    },
  ],
};

/** Where a daemon sees no state record. */
function aside(state: string): string {
  return path.join(path.dirname(state), `aside_${path.basename(state)}`);
}

const unusableFiles: Story = {
  title: 'only something else keeps the files from being used',
  section: 'Damaged state',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  steps: [
    async (s) => {
      await s.mirror(...TWO);
      await kill(s, 'server2');
      expect(await s.write('server1', 6, 1)).toBe(0);
      const { state } = mirrorPaths(s.node('server2').root, TAG);
      renameSync(state, aside(state));
      mkdirSync(state);
      await s.node('server2').start();
      await s.shows('server2', /mend that and start netraidd again/);
    },
    command('netraid status', { on: 'server2', prints: /^data +Broken[^]*^data: \S*state_data: EISDIR/m }),
    async (s) => {
      await kill(s, 'server2');
      const { state } = mirrorPaths(s.node('server2').root, TAG);
      rmdirSync(state);
      renameSync(aside(state), state);
      await s.node('server2').start();
      await s.inSync('server1');
      expect(await s.byteAt(s.leg('server2'), 1)).toBe(6);
    },
  ],
};

const rules: Story = {
  title: 'rules that wait for an operator',
  section: 'Rules',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  steps: [
    (s) => s.mirror(...TWO),
    async (s) => {
      await s.node('server1').control.call('pause', { tag: TAG, nodes: [] });
      await s.shows('server2', /State: Paused/);
      await s.node('server1').control.call('out-of-service', { tag: TAG });
    },
    command('netraid explain data', { on: 'server1', prints: /Rule: stopped-on-purpose/ }),
    command('netraid in-service data', { on: 'server1' }),
    (s) => s.shows('server1', /-> server2\n {4}Status: Paused/),
    command('mirror_action data resume', { on: 'server1' }),
    (s) => s.inSync('server1'),
  ],
};

export const failures: readonly Story[] = [
  lookFirst,
  bothDead,
  threeNodes,
  splitBrain,
  splitBrainOtherSide,
  majority,
  asking,
  failedSync,
  failedSyncAlone,
  damagedState,
  unusableFiles,
  rules,
];
