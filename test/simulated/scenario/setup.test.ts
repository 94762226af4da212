import { expect, it } from 'vitest';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { Observer } from '../../../src/scenario/observe.ts';
import { joinMirror, makeMirror } from '../../../src/scenario/setup.ts';
import { SimulatedWorld } from '../../../src/scenario/world-simulated.ts';
import { scenarioOf } from '../../support/scenarios.ts';

function stage() {
  const { mirror } = scenarioOf(['up: [a, b]']);
  const sim = new SimWorld(1);
  const world = new SimulatedWorld(sim, mirror);
  return { sim, ctx: { world, mirror, observer: new Observer(world, mirror) } };
}

it('tells of nodes that do not find each other', async () => {
  const { sim, ctx } = stage();
  const run = async (): Promise<void> => {
    await Promise.all([ctx.world.up('a'), ctx.world.up('b')]);
    ctx.world.cut('a', 'b');
    ctx.world.cut('b', 'a');
    await makeMirror(ctx, ['a', 'b']);
  };
  await expect(sim.run(run())).rejects.toThrow(/the nodes do not find each other; a reaches b: expected true, last seen false/);
});

it('adds a node that comes later, and tells when nobody can take it in', async () => {
  const { sim, ctx } = stage();
  const run = async (): Promise<void> => {
    await ctx.world.up('a');
    await makeMirror(ctx, ['a']);
    expect((await ctx.observer.inService())?.targets).toEqual([]);
    await ctx.world.up('b');
    await joinMirror(ctx, 'b');
    expect((await ctx.observer.inService())?.targets.map((t) => t.node)).toEqual(['b']);
    await ctx.world.crash(['a', 'b']);
    await ctx.world.up('b');
    await expect(joinMirror(ctx, 'b')).rejects.toThrow('b can not be added to the mirror; a node in service: expected one, last seen none');
  };
  await sim.run(run());
});
