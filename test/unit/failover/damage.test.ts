import { describe, expect, it } from 'vitest';
import { methods, sessionAnswerSchema } from '../../../src/failover/protocol.ts';
import { REGION, Sim } from '../control/sim.ts';

const WRITES = 60;

/** Messages between nodes are shorter, and few of these are headers. */
const PAYLOAD_BYTES = 16_384;

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
