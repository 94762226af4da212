/**
 * What an engine must do in any world. A world calls `describeEngine` from a test file of its own:
 *
 *   describeEngine('node world', () => Promise.resolve({ io, path, address, drive, dispose }))
 */
import { describe } from 'vitest';
import { describeChecksums } from './conformance-checksums.ts';
import { describeClientRole } from './conformance-client.ts';
import { describeClientLongSends } from './conformance-client-long-sends.ts';
import { describeClientReplies } from './conformance-client-replies.ts';
import { describeExtendedClient } from './conformance-extended-client.ts';
import { describeExtendedServer } from './conformance-extended-server.ts';
import { describeHandlesAndEvents } from './conformance-handles.ts';
import { describeInjectedLegs } from './conformance-injected-legs.ts';
import { describeLegs } from './conformance-legs.ts';
import { describeServe } from './conformance-serve.ts';
import { describeServeLong } from './conformance-serve-long.ts';
import { describeServeSettling } from './conformance-serve-settling.ts';
import { describeServeLongReads } from './conformance-serve-long-reads.ts';
import { describeServeAsks } from './conformance-serve-asks.ts';
import { describeServedInOrder, describeServeMarks } from './conformance-serve-marks.ts';
import { describeServedAlone, describeServeTogether } from './conformance-serve-together.ts';
import { describeServedTogetherHard } from './conformance-serve-together-hard.ts';
import { describeServedTogetherInOrder } from './conformance-serve-together-in-order.ts';
import { describeServerClosing } from './conformance-server-closing.ts';
import { describeServerRole } from './conformance-server.ts';
import { type EngineWorld, Rig } from './engine-rig.ts';

export type { EngineWorld } from './engine-rig.ts';

/** Runs a test's body in a fresh world, then checks that nothing was left behind. */
export type InRig = (body: (rig: Rig) => Promise<void>) => () => Promise<void>;

/** `serves`: whether its connections can be served without telling, and whether what is executed so is executed in the order in which it came. */
export function describeEngine(
  name: string,
  makeWorld: () => Promise<EngineWorld>,
  serves: 'in order' | 'in any order' | false = 'in any order',
): void {
  const inRig: InRig = (body) => async () => {
    const world = await makeWorld();
    const rig = new Rig(world);
    await world.drive(async () => {
      await body(rig);
      await rig.finish();
    });
  };
  describe(`engine in the ${name}`, () => {
    describeLegs(inRig);
    describeInjectedLegs(inRig);
    describeServerRole(inRig);
    describeServerClosing(inRig);
    if (serves !== false) {
      describeServe(inRig);
      describeServeLong(inRig);
      describeServeLongReads(inRig, serves === 'in order');
      describeServeMarks(inRig);
      describeServeAsks(inRig);
    }
    if (serves === 'in any order') describeServedAlone(inRig);
    if (serves === 'in order') {
      describeServedInOrder(inRig);
      describeServeTogether(inRig);
      describeServedTogetherInOrder(inRig);
      describeServedTogetherHard(inRig);
      describeServeSettling(inRig);
    }
    describeClientRole(inRig);
    describeClientReplies(inRig);
    describeClientLongSends(inRig, serves === 'in order');
    describeExtendedServer(inRig);
    describeExtendedClient(inRig);
    describeChecksums(inRig);
    describeHandlesAndEvents(inRig);
  });
}
