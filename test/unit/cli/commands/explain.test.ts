import { expect, it } from 'vitest';
import { FakeDaemon, run } from '../fake-daemon.ts';
import { nodeView } from './node-view.ts';

const nobodyAsked = { kind: 'none' as const, voters: [], heard: [], needed: 0, overruled: false };
const rest = { failureTimeoutMs: 2000, arbiter: nobodyAsked };
const silent = { how: 'silent' as const, silentForMs: 245_000 };
const served = { number: 4, owner: 'server3', random: 'r' };

const daemon = () =>
  new FakeDaemon({
    explain: () => ({
      ...rest,
      facts: nodeView('server2', {
        flags: { lastOwner: true, source: 'server1', dataCorrupt: true },
        intentBytes: 65536,
        record: {
          ...nodeView('server2').record,
          inSync: ['server2', 'server3'],
          droppedUnconfirmed: ['server4'],
          epochInSync: served,
          epochSeen: { ...served, number: 5 },
          toldOut: { by: 'server3', epoch: served, why: 'its link\nbroke' },
          keepOut: true,
        },
      }),
      peers: {
        server3: nodeView('server3', {
          state: 'Source',
          inService: true,
          outOfSyncBytes: { server2: 65536 },
          record: { ...nodeView('server3').record, epochServed: served },
        }),
      },
      heard: {
        server2: { how: 'here', silentForMs: null },
        server3: silent,
        server4: { how: 'never', silentForMs: null },
        server5: { how: 'mute', silentForMs: 4000 },
        copy: { how: 'foreign', silentForMs: null },
      },
      arbiter: {
        kind: 'majority',
        voters: ['server2', 'server3', 'server4', 'server5'],
        heard: ['server2', 'server5'],
        needed: 3,
        overruled: false,
      },
      decision: { action: 'stay-out', rule: 'target-alone', why: 'it has not heard\nits source', changesIf: ['server1 is heard'] },
      compares: [
        {
          rule: 'both-targets',
          direction: null,
          kind: 'wait',
          waitFor: 'server1',
          why: 'neither was the last server',
          with: 'server3',
          heard: silent,
        },
      ],
    }),
  });

it('explains decision, arbiter, who is heard, the records, and comparisons', async () => {
  const d = daemon();
  const { code, out } = await run(['netraid', 'explain', 'datarep-ext3', '--what-if', 'server1 lost'], d);
  expect(code).toBe(0);
  expect(out).toEqual([
    'datarep-ext3 on server2, if server1 lost: stay-out',
    '  Rule: target-alone',
    '  Why: it has not heard its source',
    '  Changes If: server1 is heard',
    '  Arbiter: majority, 2 of 4 votes heard (server2, server5); not heard: server3, server4; 3 are needed',
    'Facts:',
    '  NODE     HEARD                            STATE                              FLAGS                                     MARKED',
    '  server2  this node                        Waiting                            last_owner, data_corrupt, source server1  64 KiB',
    '  server3  silent for 4m 05s                unknown; last: Source, in service  none                                      64 KiB',
    '  server4  never since start                -                                  -                                         -',
    '  server5  daemon runs, says nothing of it  -                                  -                                         -',
    '  copy     foreign                          -                                  -                                         -',
    'Records:',
    '  NODE                GENERATION        SERVED        IN SYNC IN    SEEN          IN-SYNC SET       LEFT UNCONFIRMED  AGAINST ITSELF',
    '  server2             0123456789abcdef  none          4 of server3  5 of server3  server2, server3  server4           told out by server3 in 4 of server3: its link broke, kept out by an operator',
    '  server3, last said  0123456789abcdef  4 of server3  none          none          none              none              none',
    'Compare:',
    '  server3, by the last it said, 4m 05s ago, should it come back: both-targets: wait, waits for server1: neither was the last server',
  ]);
  expect(d.calls).toEqual([['explain', { tag: 'datarep-ext3', whatIf: 'server1 lost' }]]);
});

it('says at once which arbiter was overruled, and compares with a node that is heard as it is now', async () => {
  const d = new FakeDaemon({
    explain: () => ({
      ...rest,
      facts: nodeView('server1'),
      peers: { server2: nodeView('server2', { state: 'Target' }) },
      heard: { server1: { how: 'here', silentForMs: null }, server2: { how: 'heard', silentForMs: 310 } },
      arbiter: { kind: 'majority', voters: ['server1', 'server2'], heard: ['server1', 'server2'], needed: 2, overruled: true },
      decision: { action: 'stay-in-service', rule: 'evidence', why: 'w' },
      compares: [
        {
          rule: 'clean',
          direction: null,
          kind: 'none',
          why: 'equal',
          with: 'server2',
          heard: { how: 'heard', silentForMs: 310 },
        },
      ],
    }),
  });
  const { out } = await run('netraid explain a', d);
  expect(out).toContain('  Arbiter: majority, 2 of 2 votes heard (server1, server2); 2 are needed; overruled by force until most nodes are heard');
  expect(out).toContain('  server2  0.3s ago   Target   none   0 B');
  expect(out.at(-1)).toBe('  server2: clean: none: equal');
});

it('answers JSON', async () => {
  const { out } = await run('netraid explain datarep-ext3 --json', daemon());
  expect(JSON.parse(out.join('\n'))).toMatchObject({ decision: { rule: 'target-alone' } });
});

it.each([[['a', '--what-if', ' ']], [['a', '--what-if', '']], [['a/b']], [[]]])('refuses %j', async (words) => {
  const d = daemon();
  const { code, errors } = await run(['netraid', 'explain', ...words], d);
  expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
});

it('shows what is asked, how to answer, and until when', async () => {
  const asks = { about: 'x', lost: 'server1', leftMs: 42_000, then: 'go' as const };
  const explained = { ...rest, facts: nodeView('server2'), peers: {}, heard: { server2: { how: 'here' as const, silentForMs: null } }, compares: [] };
  const asking = new FakeDaemon({ explain: () => ({ ...explained, decision: { action: 'wait', rule: 'takeover', why: 'w', asks } }) });
  expect((await run('netraid explain a', asking)).out).toContain(
    '  Asks: take over from server1? netraid confirm a, or --no; in 00:00:42 it goes in service',
  );
  const settled = new FakeDaemon({
    explain: () => ({ ...explained, decision: { action: 'stay-out', rule: 'takeover', why: 'w', asks: { ...asks, leftMs: null } } }),
  });
  expect((await run('netraid explain a', settled)).out).toContain('  Asks: settled; to go in service all the same: netraid confirm a');
});
