/** A mirror that can not be made larger in service: nothing of it outlives the refusal. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { MIB, Sim } from './sim.ts';

const NODES = { nodes: ['server1', 'server2', 'server3'] };
const larger = { tag: 't', sizeBytes: 2 * MIB, force: false };
const definition = (sim: Sim, node: string) => sim.daemon(node).mirrors.get('t')?.record().definition;

/** server2 has taken the size, server3 can not. */
async function halfWay(sim: Sim): Promise<void> {
  await sim.mirror();
  await sim.write('server1', 0, 99_840, 6);
  sim.world.node('server3').fail('/leg', { op: 'write', errno: Errno.ENOSPC, times: 1 });
  await expect(sim.call('server1', 'resize', larger)).rejects.toThrow();
  expect((await sim.status('server1')).sizeBytes).toBe(MIB);
}

describe('a grow that one target can not follow', () => {
  it('is taken back everywhere, and the targets come back by themselves with what was written meanwhile', async () => {
    await Sim.run(NODES, async (sim) => {
      await halfWay(sim);
      await sim.write('server1', 65_536, 4096, 7);
      await sim.inSync('server1', 'server2', 'server3');
      for (const t of (await sim.status('server1')).targets) if (t.lastResync !== null) expect(t.lastResync.bytes).toBeLessThan(MIB);
      for (const n of NODES.nodes) expect(definition(sim, n)?.sizeBytes).toBe(MIB);
      for (const n of ['server2', 'server3']) expect(sim.daemon(n).mirrors.get('t')?.bitmap).toBeDefined();
      await sim.call('server1', 'resize', larger);
      await sim.inSync('server1', 'server2', 'server3');
      await sim.write('server1', 2 * MIB - 4096, 4096, 8);
      for (const n of ['server2', 'server3']) expect(sim.legsDiffer('server1', n)).toBe(-1);
    });
  });

  it('does not outrank what an operator says next: no takeover where it was switched off', async () => {
    await Sim.run(NODES, async (sim) => {
      await halfWay(sim);
      await sim.call('server1', 'set', { tag: 't', failover: 'off' });
      await sim.inSync('server1', 'server2', 'server3');
      for (const n of NODES.nodes) expect(definition(sim, n)?.failover).toBe('off');
      sim.crash('server1');
      await sim.world.sleep(20_000);
      for (const n of ['server2', 'server3']) expect((await sim.status(n)).inService).toBe(false);
    });
  });

  it('because it does not answer in time is not carried out there later', async () => {
    await Sim.run(NODES, async (sim) => {
      await sim.mirror();
      sim.world.node('server3').stall('/leg');
      await expect(sim.call('server1', 'resize', larger)).rejects.toThrow();
      sim.world.node('server3').repairDisk();
      await sim.call('server1', 'set', { tag: 't', failover: 'off' });
      await sim.inSync('server1', 'server2', 'server3');
      for (const n of NODES.nodes) expect(definition(sim, n)).toMatchObject({ sizeBytes: MIB, failover: 'off' });
      for (const n of ['server2', 'server3']) expect(sim.legsDiffer('server1', n)).toBe(-1);
    });
  });
});

it('a definition that a returning node would keep is outranked before a mirror grows or after it, and not in between', async () => {
  await Sim.run(NODES, async (sim) => {
    await sim.mirror();
    const source = sim.daemon('server1').mirrors.get('t')?.source;
    const kept = definition(sim, 'server1');
    if (source === undefined || kept === undefined) throw new Error('server1 does not serve');
    sim.world.node('server3').stall('/leg');
    const done = sim.call('server1', 'resize', larger);
    await sim.until('server2 has the size', () => definition(sim, 'server2')?.sizeBytes === 2 * MIB);
    const { revision } = kept;
    await expect(source.outrank({ ...kept, failover: 'off', revision: revision + 5 })).rejects.toThrow('the mirror is being made larger');
    sim.world.node('server3').repairDisk();
    await Promise.allSettled([done]);
    await sim.inSync('server1', 'server2', 'server3');
    for (const n of NODES.nodes) expect(definition(sim, n)?.revision).toBe(revision + 1);
    await source.outrank({ ...kept, sizeBytes: definition(sim, 'server1')?.sizeBytes ?? 0, failover: 'off', revision: revision + 5 });
    for (const n of NODES.nodes) expect(definition(sim, n)).toMatchObject({ failover: 'auto', revision: revision + 6 });
  });
});

it('a source that crashes while its targets grow goes on with its old size, and they come back by themselves', async () => {
  await Sim.run(NODES, async (sim) => {
    await sim.mirror({ failover: 'off' });
    await sim.write('server1', 0, 99_840, 6);
    sim.world.node('server3').stall('/leg');
    void Promise.allSettled([sim.call('server1', 'resize', larger)]);
    await sim.until('server2 has the size', () => definition(sim, 'server2')?.sizeBytes === 2 * MIB);
    sim.crash('server1');
    sim.world.node('server3').repairDisk();
    await sim.start('server1');
    await sim.until('it serves', async () => (await sim.status('server1')).inService);
    await sim.inSync('server1', 'server2', 'server3');
    for (const n of NODES.nodes) expect(definition(sim, n)?.sizeBytes).toBe(MIB);
    for (const t of (await sim.status('server1')).targets) expect(t.lastResync?.kind).not.toBe('full');
    await sim.call('server1', 'resize', larger);
    await sim.inSync('server1', 'server2', 'server3');
  });
});

it('a target that has not grown yet takes over with the old size, and who has grown comes back', async () => {
  await Sim.run(NODES, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, 99_840, 6);
    sim.world.node('server3').stall('/leg');
    void Promise.allSettled([sim.call('server1', 'resize', larger)]);
    await sim.until('server2 has the size', () => definition(sim, 'server2')?.sizeBytes === 2 * MIB);
    for (const n of ['server1', 'server2']) sim.crash(n);
    sim.crash('server3');
    sim.world.node('server3').repairDisk();
    await sim.start('server3');
    await sim.call('server3', 'force', { tag: 't', withoutLastOwner: true });
    for (const n of ['server1', 'server2']) await sim.start(n);
    await sim.inSync('server3', 'server1', 'server2');
    for (const n of NODES.nodes) expect(definition(sim, n)?.sizeBytes).toBe(MIB);
  });
});

it('targets that have grown without their source do not take each other for alike behind its end', async () => {
  await Sim.run(NODES, async (sim) => {
    for (const [i, n] of sim.names.entries()) {
      sim.world.node(n).createFile('/disk', 2 * MIB, 'block');
      const f = await sim.world.client(n).files.open('/disk', { write: true });
      await f.write(new Uint8Array(MIB).fill(i + 1), MIB);
      await f.sync();
      await f.close();
    }
    await sim.call('server1', 'create', sim.createParams({ leg: '/disk' }));
    await sim.call('server1', 'in-service', { tag: 't' });
    for (const [i, n] of ['server2', 'server3'].entries())
      await sim.call('server1', 'extend', sim.extendParams(n, 10 * (i + 1), { leg: '/disk', zeroed: false }));
    await sim.inSync('server1', 'server2', 'server3');
    sim.world.node('server3').setDisk({ latencies: { write: { fromMs: 200, toMs: 200 } } });
    void Promise.allSettled([sim.call('server1', 'resize', larger)]);
    await sim.until('server2 has the size', () => definition(sim, 'server2')?.sizeBytes === 2 * MIB);
    // The source gets no further than that both have it.
    sim.world.node('server1').setDisk({ latencies: { write: { fromMs: 5000, toMs: 5000 } } });
    await sim.until('server3 has it too', () => definition(sim, 'server3')?.sizeBytes === 2 * MIB);
    expect(definition(sim, 'server1')?.sizeBytes).toBe(MIB);
    sim.crash('server1');
    sim.world.node('server3').setDisk({ latencies: { write: { fromMs: 0.1, toMs: 0.1 } } });
    sim.world.node('server1').setDisk({ latencies: { write: { fromMs: 0.1, toMs: 0.1 } } });
    await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
    await sim.start('server1');
    await sim.inSync('server2', 'server1', 'server3');
    expect(sim.legsDiffer('server2', 'server3', '/disk')).toBe(-1);
    expect(sim.legsDiffer('server2', 'server1', '/disk')).toBe(-1);
  });
});
