/** A bit that turns over on the way between two nodes: with TLS or with checksums it is found, and the mirror comes out whole. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect } from 'vitest';
import { CertificateMaker } from '../support/certificates.ts';
import { Daemons } from '../support/daemons.ts';
import { FlippingRelay } from '../support/flipping-relay.ts';
import { runOk, temporaryFolder, testWith, until } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const NODES = ['server1', 'server2'];
const TAG = 'data';
const NEEDED = ['openssl', 'nbdcopy'];
const LARGE = { pieceMinBytes: 16_384, carriedMinBytes: MIB };
/** Answers are short. */
const ANY = { pieceMinBytes: 16, carriedMinBytes: MIB };

describe.each(['native', 'portable'])('a bit turned over between nodes, in the %s engine', (engine) => {
  const folder = temporaryFolder();
  let relay: FlippingRelay;
  let all: Daemons;

  async function started(tls: 'required' | 'off', checksums: Record<string, boolean> = {}, tunables: Record<string, string> = {}): Promise<void> {
    relay = new FlippingRelay();
    const ca = await CertificateMaker.make(join(folder, `ca-${tls}`));
    all = await Daemons.start({
      nodes: NODES,
      tunables,
      config: Object.fromEntries(NODES.map((n) => [n, { tls, checksums: checksums[n] ?? true }])),
      env: Object.fromEntries(NODES.map((n) => [n, { NETRAID_ENGINE: engine }])),
      reach: (_from, _to, port) => relay.open(port),
      prepare: async (node, root) => {
        await ca.node(join(root, 'etc', 'tls'), node);
      },
    });
    const legs = { server1: all.path('leg1'), server2: all.path('leg2') };
    await all.createMirror({ tag: TAG, sizeBytes: SIZE, regionBytes: 64 * 1024, legs });
  }

  afterEach(async () => {
    await relay.close();
    await all.close();
  });

  /** Writes all of the mirror anew, through its source. */
  async function write(): Promise<Buffer> {
    const data = randomBytes(SIZE);
    writeFileSync(join(folder, 'image'), data);
    await runOk('nbdcopy', ['--flush', join(folder, 'image'), all.node('server1').uri(TAG)]);
    return data;
  }

  const left = (): number => all.node('server1').logged(/server2 has left the mirror/).length;
  const leg = (n: 1 | 2): Buffer => readFileSync(all.path(`leg${String(n)}`));
  /** How many sectors of the target's disk are neither what they were before, nor what was written. */
  function harmed(before: Buffer, written: Buffer): number {
    const now = leg(2);
    let n = 0;
    for (let at = 0; at < SIZE; at += 512) {
      const is = (b: Buffer): boolean => now.compare(b, at, at + 512, at, at + 512) === 0;
      if (!is(before) && !is(written)) n += 1;
    }
    return n;
  }

  testWith(NEEDED, 'with TLS breaks the session: the target leaves, returns, and never holds what was not written', async () => {
    // Resyncs wait for a command, so that what a session left behind can be looked at.
    await started('required', {}, { LKDR_WAIT_TO_RESYNC: 'true' });
    let before: Buffer = Buffer.alloc(SIZE);
    for (const [round, [way, how]] of (
      [
        ['there', LARGE],
        ['back', ANY],
      ] as const
    ).entries()) {
      let flipped = false;
      void relay.flip(way, how).then(() => {
        flipped = true;
      });
      const data = await write();
      await until(`a bit was turned over, ${way}`, () => flipped);
      await all.until(`server2 leaves after a bit that went ${way}`, () => Promise.resolve(left() > round));
      await all.untilTarget('server1', TAG, 'server2', 'waits', (t) => /LKDR_WAIT_TO_RESYNC/.test(t.detail));
      expect(harmed(before, data), way).toBe(0);
      await all.node('server1').control.call('resume', { tag: TAG, nodes: ['server2'] });
      await all.untilInSync('server1', TAG);
      expect([leg(1).equals(data), leg(2).equals(data)], way).toEqual([true, true]);
      before = data;
      expect(await all.verify('server1', TAG)).toMatchObject({ comparedBytes: SIZE, differingBytes: 0 });
    }
    expect(left()).toBe(2);
  });

  const counted = async (): Promise<[number, number]> => [
    (await all.target('server1', TAG, 'server2')).checksums.mismatches,
    (await all.node('server2').control.call('status', { tag: TAG })).mismatchesReceived,
  ];

  testWith(NEEDED, 'without TLS, but with checksums, is sent again and never written: the target stays, and both nodes count it', async () => {
    await started('off');
    for (const round of [1, 2]) {
      const flipped = relay.flip('there', LARGE);
      const data = await write();
      await flipped;
      expect([leg(1).equals(data), leg(2).equals(data), left()]).toEqual([true, true, 0]);
      expect(await counted()).toEqual([round, round]);
    }
    expect(await all.target('server1', TAG, 'server2')).toMatchObject({ state: 'Target', checksums: { on: true, mismatches: 2 } });
    expect(all.node('server1').logged(/did not match its checksum/).length).toBe(1);
  });

  testWith(NEEDED, 'in all that passes drops the target, which is not connected again and again, and returns whole when that is over', async () => {
    await started('off');
    void relay.flip('there', LARGE, Infinity);
    const first = await write();
    await all.untilTarget('server1', TAG, 'server2', 'left for damage', (t) => /checksums/.test(t.detail) && left() > 0);
    expect(all.node('server1').logged(/did not match its checksums three times in a row/).length).toBeGreaterThan(0);
    await all.untilTarget('server1', TAG, 'server2', 'is left alone for a while', (t) => /connected again after/.test(t.detail));
    expect([leg(1).equals(first), harmed(Buffer.alloc(SIZE), first)]).toEqual([true, 0]);
    relay.forget();
    await all.node('server1').control.call('resume', { tag: TAG, nodes: ['server2'] });
    const data = await write();
    await all.untilInSync('server1', TAG);
    expect([leg(1).equals(data), leg(2).equals(data)]).toEqual([true, true]);
  });

  testWith(NEEDED, 'without TLS and checksums is written to the target, or this test would turn nothing over', async () => {
    await started('off', { server2: false });
    expect((await all.target('server1', TAG, 'server2')).checksums).toEqual({ on: false, mismatches: 0 });
    const flipped = relay.flip('there', LARGE);
    const data = await write();
    await flipped;
    await all.untilInSync('server1', TAG);
    expect([leg(1).equals(data), harmed(Buffer.alloc(SIZE), data), left()]).toEqual([true, 1, 0]);
    expect((await all.verify('server1', TAG)).differingBytes).toBeGreaterThan(0);
  });
});
