/** A runner that starts two daemons, says where they are, and then waits to be ended. */
import { ProcessWorld } from '../../../src/scenario/world-process.ts';
import { scenarioOf } from '../../support/scenarios.ts';

const world = await ProcessWorld.make(scenarioOf(['up: [a, b]']).mirror);
await Promise.all([world.up('a'), world.up('b')]);
process.stdout.write(`${world.folder}\n`);
setInterval(() => undefined, 1000);
