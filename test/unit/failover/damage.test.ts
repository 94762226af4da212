import { describe, expect, it } from 'vitest';
import { methods, sessionAnswerSchema } from '../../../src/failover/protocol.ts';
import type { MirrorNode } from '../../../src/failover/node.ts';
import { REGION, Sim } from '../control/sim.ts';

const WRITES = 60;

/** Messages between nodes are shorter, and few of these are headers. */
const PAYLOAD_BYTES = 16_384;

const mirrorOf = (sim: Sim, node: string): MirrorNode | undefined => sim.daemon(node).mirrors.get('t');

/** Writes one after the other while bits are flipped in some of the payloads between the nodes. */
async function writeThrough(sim: Sim, share: number): Promise<void> {
  const c = await sim.client('server1');
  sim.world.flipBits('server1', 'server2', share, PAYLOAD_BYTES);
  for (let i = 0; i < WRITES; i += 1) await c.writeBytes((i % 16) * REGION, new Uint8Array(REGION).fill(i + 1), i % 7 === 0);
  sim.world.flipBits('server1', 'server2', 0);
  await c.disconnect();
}

describe('damage on the way between a source and its target', () => {
  it('is sent again and counted on both sides, and no leg holds it', async () => {
    await Sim.run({ seed: 3 }, async (sim) => {
      await sim.mirror();
      expect((await sim.status('server1')).targets[0]?.checksums).toEqual({ on: true, mismatches: 0 });
      await writeThrough(sim, 0.2);
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      const mismatches = (await sim.status('server1')).targets[0]?.checksums.mismatches ?? 0;
      expect(mismatches).toBeGreaterThan(0);
      expect((await sim.status('server2')).mismatchesReceived).toBe(mismatches);
    });
  });

  it('of a header, which nobody answers, is told to the source and counted there too', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const headerDamaged = (): void => mirrorOf(sim, 'server2')?.replica.session?.device.damaged(true);
      const counted = async (): Promise<unknown[]> => [
        (await sim.status('server1')).targets[0]?.checksums.mismatches,
        (await sim.status('server2')).mismatchesReceived,
      ];
      headerDamaged();
      await sim.until('the source knows', async () => (await counted())[0] === 1);
      expect(await counted()).toEqual([1, 1]);
      // Of another term it is none of this source's.
      const { epoch } = mirrorOf(sim, 'server1')?.source ?? { epoch: { number: 0, owner: '', random: '' } };
      const earlier = { tag: 't', epoch: { ...epoch, number: epoch.number - 1 } };
      expect(await sim.daemon('server2').env.cluster.request('server1', 'session.damaged', earlier, 1000)).toBe(true);
      expect(await counted()).toEqual([1, 1]);
      // A source that can not be told: nothing else comes of it.
      sim.crash('server1');
      headerDamaged();
      await sim.world.sleep(5000);
      expect((await sim.status('server2')).mismatchesReceived).toBe(2);
    });
  });

  it('of nearly all that passes drops the target, which is left alone for longer each time, and comes back whole', async () => {
    await Sim.run({ seed: 4 }, async (sim) => {
      await sim.mirror();
      const c = await sim.client('server1');
      const before = sim.world.counters.get('connections');
      const stop = sim.world.now() + 60_000;
      sim.world.flipBits('server1', 'server2', 0.9, PAYLOAD_BYTES);
      for (let i = 0; sim.world.now() < stop; i += 1) {
        await c.writeBytes((i % 4) * REGION, new Uint8Array(REGION).fill(i));
        await sim.world.sleep(50);
      }
      expect(sim.world.counters.get('connections') - before).toBeLessThan(60);
      sim.world.flipBits('server1', 'server2', 0);
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      await c.disconnect();
    });
  });

  it('is written to the target where one of the nodes does not want checksums', async () => {
    await Sim.run({ seed: 3, tunables: { checksums: false } }, async (sim) => {
      await sim.mirror();
      expect((await sim.status('server1')).targets[0]?.checksums).toEqual({ on: false, mismatches: 0 });
      await writeThrough(sim, 0.2);
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBeGreaterThanOrEqual(0);
    });
  });
});

describe('a node of before there were checksums', () => {
  it('asks for a session without, and is given one without', () => {
    const id = '0123456789abcdef';
    const epoch = { number: 1, owner: 'server1', random: id };
    const asked = methods['session.open'].parse({ tag: 't', epoch, session: id, kind: 'none', generation: id, definition: {} });
    expect(asked.checksums).toBe(false);
    expect(sessionAnswerSchema.parse({ token: id, daemonStart: 'server2 1' }).checksums).toBe(false);
  });
});
