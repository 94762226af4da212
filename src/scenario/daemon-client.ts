/** The client that a command has on a node: the daemon is asked for when the command calls it, and may be down or frozen. */
import { DaemonUnreachableError } from '../control/http-client.ts';
import type { ControlClient } from '../control/types.ts';
import type { NodeName } from '../failover/types.ts';
import type { ScenarioWorld } from './world.ts';

/** Calls reject with DaemonUnreachableError while nothing answers there, as outside. */
export function daemonClient(world: ScenarioWorld, node: NodeName): ControlClient {
  const running = (): ControlClient => {
    const state = world.running(node);
    if (state === 'up') return world.control(node);
    throw new DaemonUnreachableError(state === 'down' ? `netraidd is not running on ${node}` : `netraidd does not answer: ${node} is frozen`);
  };
  return {
    call: async (action, params) => await running().call(action, params),
    events: async (onEvent, onEnd) => await running().events(onEvent, onEnd),
  };
}
