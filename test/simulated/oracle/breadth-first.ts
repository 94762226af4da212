/** Every history up to a length, shortest first; worlds that have been seen are not walked again. */
import { type Event, eventText } from './host.ts';
import { World } from './world.ts';

export interface Walk {
  nodes: readonly string[];
  depth: number;
  forces: boolean;
  writesMax: number;
  /** Stops where it is after so many different worlds, and says so. */
  worldsMax: number;
}

export interface Walked {
  worlds: number;
  /** Events carried out, each the end of one history that differs from all others by the world before it. */
  steps: number;
  /** Ways of at most `depth` events through the worlds seen. */
  ways: number;
  complete: boolean;
  /** Steps after which two served in a partition; after which a split brain was met; after which nobody served. */
  apart: number;
  splitBrains: number;
  out: number;
  /** Each violation once, with the shortest history that leads to it. */
  violations: Map<string, { history: string; world: string }>;
}

interface Step {
  world: World;
  before: Step | null;
  event: Event | null;
  ways: number;
}

function historyOf(s: Step): string {
  const events: string[] = [];
  for (let at: Step | null = s; at !== null; at = at.before) if (at.event !== null) events.unshift(eventText(at.event));
  return events.join(', ');
}

export function walk(o: Walk): Walked {
  const start = World.inSync(o.nodes);
  const seen = new Set([start.key]);
  let layer: Step[] = [{ world: start, before: null, event: null, ways: 1 }];
  const result: Walked = { worlds: 1, steps: 0, ways: 0, complete: true, apart: 0, splitBrains: 0, out: 0, violations: new Map() };
  for (let depth = 0; depth < o.depth && layer.length > 0; depth += 1) {
    const next = new Map<string, Step>();
    for (const step of layer) {
      for (const event of step.world.events(o)) {
        const world = step.world.copy();
        world.apply(event);
        result.steps += 1;
        result.ways += step.ways;
        if (world.sources > 1) result.apart += 1;
        if (world.sources === 0) result.out += 1;
        if (world.splitBrains > 0) result.splitBrains += 1;
        const to: Step = { world, before: step, event, ways: step.ways };
        for (const v of world.violations)
          if (!result.violations.has(v)) result.violations.set(v, { history: historyOf(to), world: world.describe() });
        // What follows from a violation proves nothing more.
        if (world.violations.length > 0) continue;
        const { key } = world;
        const known = next.get(key);
        if (known !== undefined) known.ways += step.ways;
        if (seen.has(key)) continue;
        if (result.worlds >= o.worldsMax) {
          result.complete = false;
          continue;
        }
        seen.add(key);
        next.set(key, to);
        result.worlds += 1;
      }
    }
    layer = [...next.values()];
  }
  return result;
}
