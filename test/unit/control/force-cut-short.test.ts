/** A force that a crash cuts short leaves what was known of others as it was. */
import { expect, it } from 'vitest';
import { DEFAULT_LATENCIES } from '../../../src/io/simulated/faults.ts';
import { Sim } from './sim.ts';

it('who has handed over, was forced, and died on its way does not go on by itself: the other may have written since (M10, M12)', async () => {
  await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, 4096, 1);
    const moved = Promise.allSettled([sim.call('server1', 'switchover', { tag: 't', node: 'server2' })]);
    // It has been asked to join, so that it holds no grant any more, and has not joined.
    const given = sim.daemon('server1').mirrors.get('t');
    while (sim.daemon('server2').mirrors.get('t')?.record().epochServed?.number !== 2 || given?.record().grant !== null) await sim.world.sleep(0.2);
    expect(given.record().epochInSync?.number).toBe(1);
    sim.crash('server2');
    await moved;
    sim.crash('server1');
    await sim.start('server2');
    await sim.until('server2 serves alone', async () => (await sim.status('server2')).inService);
    await sim.write('server2', 0, 4096, 2);
    sim.crash('server2');

    await sim.start('server1');
    await sim.until('it waits for server2', async () => (await sim.status('server1')).decision?.rule === 'source-alone');
    const disk = sim.world.node('server1');
    disk.setDisk({ latencies: { ...DEFAULT_LATENCIES, metadata: { fromMs: 50, toMs: 50 } } });
    void Promise.allSettled([sim.call('server1', 'force', { tag: 't', withoutLastOwner: true })]);
    const m = sim.daemon('server1').mirrors.get('t');
    await sim.until('it has claimed an epoch', () => m?.record().claim !== null);
    const flags = (): readonly string[] => disk.peekFolder('/var/subsys/scsi/resources/netraid') ?? [];
    while (!flags().includes('t_last_owner')) await sim.world.sleep(0.2);
    expect(m?.record().epochServed?.number).toBe(1);
    sim.crash('server1');
    disk.setDisk({ latencies: DEFAULT_LATENCIES });

    await sim.start('server1');
    await sim.world.sleep(10_000);
    expect((await sim.status('server1')).inService).toBe(false);
    expect((await sim.call('server1', 'explain', { tag: 't', whatIf: null })).decision).toMatchObject({ rule: 'source-alone' });
    await sim.start('server2');
    await sim.inSync('server2', 'server1');
    expect((await sim.read('server2', 0, 512))[0]).toBe(2);
  });
});
