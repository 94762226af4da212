import { describe, expect, it } from 'vitest';
import type { MirrorStatus, TargetStatus } from '../../../src/control/types.ts';
import { bar, mirrorLines, mirrorTable, plainTable, progressLine } from '../../../src/cli/render.ts';
import { mirror, resyncing, target } from './fake-daemon.ts';

const plain = { colour: false };

describe('the progress bar', () => {
  it.each([
    [0, '[                ]   0%'],
    [0.05, '[                ]   5%'],
    [0.0625, '[>               ]   6%'],
    [0.385, '[=====>          ]  38%'],
    [0.999, '[==============> ]  99%'],
    [1, '[================] 100%'],
    [7, '[================] 100%'],
    [-1, '[                ]   0%'],
  ])('shows %s', (share, text) => {
    expect(bar(share)).toBe(text);
  });

  it('is full when there is nothing to do, and says so when nobody knows how long it takes', () => {
    expect(progressLine({ kind: 'full', totalBytes: 0, doneBytes: 0, bytesPerSec: 0, secondsLeft: null })).toBe(
      '[================] 100% (0 B of 0 B), time left unknown',
    );
  });
});

describe('mirror_status', () => {
  it('shows a resync as DataKeeper does, then rule, state, flags and decision', () => {
    expect(mirrorLines(mirror({ targets: [resyncing] }), plain).join('\n')).toBe(
      `[-] server1 -> server2
    Status: Resynchronizing
      [=====>          ]  38% (1.2 GiB of 3.1 GiB), 00:00:12 left
    Resync Speed: 161793K/sec
    Type: Synchronous
    Bitmap: 16384 bits (chunks), 9921 dirty (60.6%)
    Rule: serving
[-] server1
    State: Source, in service
    Source: server1
    Flags: last_owner, source server1
    Decision: go-in-service, rule evidence: every required node is reachable
    Size: 1 GiB, 16384 regions of 64 KiB, sectors of 512 bytes
    Leg: /dev/sdb1, in
    Generation: 0123456789abcdef, epoch 3 of server1
    Intent: 0 B marked
    Failover: auto, after 2s of silence
    Arbiter: none
    Export: datarep-ext3 on /r/run/nbd.sock`,
    );
  });

  it('shows a node out of service, with all it does not know', () => {
    const s = mirror({
      node: 'server3',
      state: 'Waiting',
      inService: false,
      source: null,
      flags: { lastOwner: false, source: null, dataCorrupt: true },
      epoch: null,
      decision: null,
      localLeg: 'closed',
      targets: [],
      export: null,
      nodes: { server1: { priority: 1, mode: 'sync', foreign: false, reachable: false } },
    });
    expect(mirrorLines(s, plain).join('\n')).toBe(
      `[-] server3
    State: Waiting, out of service
    Source: unknown
    Flags: data_corrupt
    Decision: none yet
    Size: 1 GiB, 16384 regions of 64 KiB, sectors of 512 bytes
    Leg: /dev/sdb1, closed
    Generation: 0123456789abcdef, epoch none yet
    Intent: 0 B marked
    Failover: auto, after 2s of silence
    Arbiter: none
    Not Reachable: server1`,
    );
  });

  it('says at once of a source that it is suspended, why, since when, and until when requests wait', () => {
    const at = (suspended: MirrorStatus['suspended']): string[] => mirrorLines(mirror({ suspended, targets: [] }), plain).slice(1, 3);
    expect(at({ for: ['no quorum'], sinceMs: 12_400, errorsInMs: 1600 })).toEqual([
      '    State: Source, in service, but suspended: it answers nothing',
      '    Suspended: no quorum (no majority of the nodes is heard), for 12s; requests wait, and are answered with errors in 1.6s',
    ]);
    expect(at({ for: ['no quorum'], sinceMs: 61_000, errorsInMs: 0 })[1]).toMatch(/, for 1m 01s; every request is answered with an error$/);
    expect(at({ for: ['stalled', 'claim'], sinceMs: 100, errorsInMs: null })[1]).toMatch(
      /^ {4}Suspended: stalled \(.*\), claim \(another node claims a later epoch\), for 0\.1s; requests wait$/,
    );
    const [, row] = mirrorTable([mirror({ suspended: { for: ['claim'], sinceMs: 1, errorsInMs: null } })], [], plain);
    expect(row).toMatch(/^datarep-ext3 +Source +suspended +server1/);
  });

  it('shows queue, foreignness, what it waits for, and the last resync of a target', () => {
    const t = target('far', {
      state: 'Out of Sync (Wait for Previous Source)',
      detail: 'waits for server1\u001b[2J\n',
      mode: 'async',
      foreign: true,
      queuedWrites: 3,
      queuedBytes: 12288,
      lastResync: { target: 'far', kind: 'full', bytes: 2 ** 30, sent: 2 ** 20, seconds: 61 },
    });
    expect(mirrorLines(mirror({ targets: [t] }), plain).slice(0, 6)).toEqual([
      '[-] server1 -> far',
      '    Status: Out of Sync (Wait for Previous Source) (waits for server1 [2J)',
      '    Type: Asynchronous, foreign',
      '    Bitmap: 16384 bits (chunks), 0 dirty (0.0%)',
      '    Queue: 3 writes, 12 KiB',
      '    Last Resync: full, 1 GiB covered, 1 MiB sent, in 00:01:01',
    ]);
  });

  it('paints states only when asked to', () => {
    const s = mirror({ targets: [target('server2', { state: 'Split Brain' })] });
    expect(mirrorLines(s, plain).join()).not.toContain('\u001b');
    expect(mirrorLines(s, { colour: true })[1]).toBe('    Status: \u001b[31mSplit Brain\u001b[39m');
  });
});

describe('the table of mirrors', () => {
  it('has one row each, columns below each other, also when painted', () => {
    const all = [
      mirror({ targets: [resyncing, target('server3')] }),
      mirror({ tag: 'b', inService: false, source: null, state: 'Data Corrupt', targets: [] }),
    ];
    const expected = [
      'TAG           STATE         IN SERVICE  SOURCE   SIZE   TARGETS',
      'datarep-ext3  Source        yes         server1  1 GiB  server2: Resyncing 38%, server3: Target',
      'b             Data Corrupt  no          unknown  1 GiB  -',
    ];
    expect(mirrorTable(all, [], plain)).toEqual(expected);
    const bare = mirrorTable(all, [], { colour: true }).map((l) => l.replace(/\u001b\[\d+m/g, ''));
    expect(bare).toEqual(expected);
  });

  it('has a head alone when there are no rows', () => {
    expect(plainTable(['A', 'B'], [])).toEqual(['A  B']);
  });
});

describe('checksums', () => {
  const lines = (t: Partial<TargetStatus>, m: Partial<MirrorStatus> = {}): string[] =>
    mirrorLines(mirror({ ...m, targets: [target('server2', t)] }), plain).filter((l) => l.includes('Checksums'));

  it('are shown where they are off, or something did not match', () => {
    expect(lines({})).toEqual([]);
    expect(lines({ checksums: { on: null, mismatches: 0 } })).toEqual([]);
    expect(lines({ checksums: { on: false, mismatches: 0 } })).toEqual(['    Checksums: off, 0 did not match']);
    expect(lines({ checksums: { on: true, mismatches: 3 } })).toEqual(['    Checksums: on, 3 did not match']);
  });

  it('are shown on a target when something that it was sent did not match', () => {
    expect(lines({}, { mismatchesReceived: 2 })).toEqual(['    Checksums: 2 did not match of what sources sent; none of it was written']);
  });
});
