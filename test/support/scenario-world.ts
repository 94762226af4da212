/** A body that runs in a simulated world where a mirror of two nodes, a and b, is in service. */
import { SimWorld } from '../../src/io/simulated/world.ts';
import { Devices } from '../../src/scenario/devices.ts';
import { Observer } from '../../src/scenario/observe.ts';
import { makeMirror } from '../../src/scenario/setup.ts';
import type { ScenarioMirror } from '../../src/scenario/types.ts';
import { SimulatedWorld } from '../../src/scenario/world-simulated.ts';
import { scenarioOf } from './scenarios.ts';

export interface Stage {
  world: SimulatedWorld;
  mirror: ScenarioMirror;
  observer: Observer;
  devices: Devices;
}

export async function onStage(body: (s: Stage) => Promise<void>): Promise<void> {
  const { mirror } = scenarioOf(['up: [a, b]']);
  const sim = new SimWorld(1);
  const world = new SimulatedWorld(sim, mirror);
  const observer = new Observer(world, mirror);
  const run = async (): Promise<void> => {
    await Promise.all([world.up('a'), world.up('b')]);
    await makeMirror({ world, mirror, observer }, ['a', 'b']);
    await body({ world, mirror, observer, devices: new Devices(world, observer, mirror.tag) });
  };
  await sim.run(run());
}
