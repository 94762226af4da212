import { expect, it } from 'vitest';
import { FakeDaemon, run } from '../fake-daemon.ts';
import { nodeView } from './node-view.ts';

const daemon = () =>
  new FakeDaemon({
    explain: () => ({
      facts: nodeView('server2', { flags: { lastOwner: true, source: 'server1', dataCorrupt: true }, intentBytes: 65536 }),
      peers: {
        server3: nodeView('server3', {
          state: 'Source',
          inService: true,
          outOfSyncBytes: { server2: 65536 },
          record: { ...nodeView('server3').record, epochServed: { number: 4, owner: 'server3', random: 'r' } },
        }),
      },
      decision: { action: 'stay-out', rule: 'target-alone', why: 'it has not heard\nits source', changesIf: ['server1 is heard'] },
      compares: [{ rule: 'both-targets', direction: null, kind: 'wait', waitFor: 'server1', why: 'neither was the last server' }],
    }),
  });

it('explains decision, facts and comparisons', async () => {
  const d = daemon();
  const { code, out } = await run(['netraid', 'explain', 'datarep-ext3', '--what-if', 'server1 lost'], d);
  expect(code).toBe(0);
  expect(out).toEqual([
    'datarep-ext3 on server2, if server1 lost: stay-out',
    '  Rule: target-alone',
    '  Why: it has not heard its source',
    '  Changes If: server1 is heard',
    'Facts:',
    '  NODE     STATE               GENERATION        EPOCH SERVED  FLAGS                                     MARKED',
    '  server2  Waiting             0123456789abcdef  none          last_owner, data_corrupt, source server1  64 KiB',
    '  server3  Source, in service  0123456789abcdef  4 of server3  none                                      64 KiB',
    'Compare:',
    '  both-targets: wait, waits for server1: neither was the last server',
  ]);
  expect(d.calls).toEqual([['explain', { tag: 'datarep-ext3', whatIf: 'server1 lost' }]]);
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
  const explained = { facts: nodeView('server2'), peers: {}, compares: [] };
  const asking = new FakeDaemon({ explain: () => ({ ...explained, decision: { action: 'wait', rule: 'takeover', why: 'w', asks } }) });
  expect((await run('netraid explain a', asking)).out).toContain(
    '  Asks: take over from server1? netraid confirm a, or --no; in 00:00:42 it goes in service',
  );
  const settled = new FakeDaemon({
    explain: () => ({ ...explained, decision: { action: 'stay-out', rule: 'takeover', why: 'w', asks: { ...asks, leftMs: null } } }),
  });
  expect((await run('netraid explain a', settled)).out).toContain('  Asks: settled; to go in service all the same: netraid confirm a');
});
