/** A bit that turns over on the way between two nodes: with TLS it is found, and the mirror comes out whole. */
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

  async function started(tls: 'required' | 'off'): Promise<void> {
    relay = new FlippingRelay();
    const ca = await CertificateMaker.make(join(folder, `ca-${tls}`));
    all = await Daemons.start({
      nodes: NODES,
      config: Object.fromEntries(NODES.map((n) => [n, { tls }])),
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

  testWith(NEEDED, 'with TLS breaks the session: the target leaves, returns, and never holds what was not written', async () => {
    await started('required');
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
      await all.untilInSync('server1', TAG);
      expect([leg(1).equals(data), leg(2).equals(data)], way).toEqual([true, true]);
      expect(await all.verify('server1', TAG)).toMatchObject({ comparedBytes: SIZE, differingBytes: 0 });
    }
    expect(left()).toBe(2);
  });

  testWith(NEEDED, 'without TLS is written to the target, or this test would turn nothing over', async () => {
    await started('off');
    const flipped = relay.flip('there', LARGE);
    const data = await write();
    await flipped;
    await all.untilInSync('server1', TAG);
    expect([leg(1).equals(data), leg(2).equals(data), left()]).toEqual([true, false, 0]);
    expect((await all.verify('server1', TAG)).differingBytes).toBeGreaterThan(0);
  });
});
