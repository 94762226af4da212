/** What a full resync would overwrite against a rule, a split brain above all, is shown first, and done only on a yes to that (M10). */
import { describe, expect, it } from 'vitest';
import { Sim } from './sim.ts';

const preview = (sim: Sim) => sim.call('server2', 'preview', { tag: 't', action: 'fullresync', nodes: ['server1'], source: 'server2' });
const order = { tag: 't', source: 'server2', nodes: ['server1'] };
const record = (sim: Sim) => sim.daemon('server2').mirrors.get('t')?.record();

/** Both wrote while the network was cut. */
async function apart(sim: Sim): Promise<void> {
  await sim.mirror();
  await sim.write('server1', 0, 4096, 10);
  sim.world.cut('server1', 'server2');
  await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
  await sim.until('server1 goes on alone', async () => (await sim.targetState('server1', 'server2')) === 'Unknown');
  await sim.write('server1', 0, 4096, 11);
  await sim.write('server2', 0, 4096, 22);
}

async function together(sim: Sim): Promise<void> {
  sim.world.heal('server1', 'server2');
  await sim.until('it is shown', async () => (await sim.targetState('server2', 'server1')) === 'Split Brain');
}

/** Nothing that was written apart has been overwritten, and nothing is about to be. */
async function untouched(sim: Sim): Promise<void> {
  expect(record(sim)?.fullOrdered ?? []).toEqual([]);
  await sim.world.sleep(5000);
  expect(await sim.targetState('server2', 'server1')).toBe('Split Brain');
  expect(sim.world.node('server1').peek('/leg')?.[0]).toBe(11);
}

describe('a full resync over a split brain', () => {
  it('shows it, with the evidence of both sides, and is done on a yes to it', async () => {
    await Sim.run({}, async (sim) => {
      await apart(sim);
      await together(sim);
      const shown = await preview(sim);
      expect(shown.lines.join('\n')).toMatch(
        /^server2: in service; generation \w{16}; [^]*\nserver1: out of service, [A-Z][\w ]+; generation \w{16}; [^]*\nserver1: split brain: each has something [^]*; what server1 has and server2 does not know is lost$/m,
      );
      expect(shown).toMatchObject({ refused: null, overrules: [expect.stringMatching(/^split-brain server1 1 \(server1\) \w{16}$/)] });
      await sim.call('server2', 'fullresync', { ...order, overrules: shown.overrules ?? [] });
      await sim.inSync('server2', 'server1');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      expect((await sim.read('server2', 0, 512))[0]).toBe(22);
    });
  });

  it('is refused without a yes to it, though the status shows it', async () => {
    await Sim.run({}, async (sim) => {
      await apart(sim);
      await together(sim);
      await sim.refuses('server2', 'fullresync', order, 'unconfirmed', /was not confirmed: server1: split brain: each has/);
      await untouched(sim);
    });
  });

  it('that was not there when he was asked is refused', async () => {
    await Sim.run({}, async (sim) => {
      await apart(sim);
      const shown = await preview(sim);
      expect(shown).toMatchObject({ refused: null, overrules: [] });
      expect(shown.lines.join('\n')).toMatch(/^server1 can not be heard: .* not overwritten before this is said again/m);
      await together(sim);
      await sim.refuses('server2', 'fullresync', { ...order, overrules: shown.overrules ?? [] }, 'unconfirmed', /server1: split brain/);
      await untouched(sim);
    });
  });

  it('is shown before the status of the source shows it', async () => {
    await Sim.run({}, async (sim) => {
      await apart(sim);
      sim.world.heal('server1', 'server2');
      while (!sim.daemon('server2').env.cluster.connected('server1')) await sim.world.sleep(1);
      await sim.until('server1 has stopped', async () => !(await sim.status('server1')).inService);
      expect(await sim.targetState('server2', 'server1')).not.toBe('Split Brain');
      const shown = await preview(sim);
      expect(shown.overrules).toHaveLength(1);
      await sim.refuses('server2', 'fullresync', order, 'unconfirmed', /server1: split brain/);
      await untouched(sim);
    });
  });

  it('of another finding than the one that was shown is refused', async () => {
    await Sim.run({}, async (sim) => {
      await apart(sim);
      await together(sim);
      const shown = await preview(sim);
      sim.world.cut('server1', 'server2');
      await sim.call('server1', 'force', { tag: 't', withoutLastOwner: true, confirmed: ['force'] });
      await sim.write('server1', 0, 4096, 11);
      await sim.call('server1', 'out-of-service', { tag: 't' });
      sim.world.heal('server1', 'server2');
      await sim.until('server2 has stopped for it', async () => !(await sim.status('server2')).inService);
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: true, confirmed: ['force'] });
      await sim.until('it is shown', async () => (await sim.targetState('server2', 'server1')) === 'Split Brain');
      await sim.refuses('server2', 'fullresync', { ...order, overrules: shown.overrules ?? [] }, 'unconfirmed', /server1: split brain/);
      await untouched(sim);
    });
  });
});

it('a node that still serves is not overwritten by an order, nor once it has stopped', async () => {
  await Sim.run({}, async (sim) => {
    await apart(sim);
    // The order is given while it is silent, and stands: what has come since is not given up.
    await sim.call('server2', 'fullresync', order);
    expect(record(sim)).toMatchObject({ fullOrdered: ['server1'], orderedOver: {} });
    await together(sim);
    await sim.world.sleep(5000);
    expect(await sim.targetState('server2', 'server1')).toBe('Split Brain');
    expect(sim.world.node('server1').peek('/leg')?.[0]).toBe(11);
  });
});
