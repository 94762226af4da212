/**
 * Every history up to a length, shortest first. Each different world is walked on from once, after the shortest history that
 * leads to it: what can follow it, and how many histories pass through it, does not depend on how it came about.
 */
import { eventsOf } from './events.ts';
import { type Event, eventText } from './host.ts';
import { World } from './world.ts';

export interface Walk {
  nodes: readonly string[];
  depth: number;
  /** Stops where it is after so many different worlds, and says so. */
  worldsMax: number;
}

export interface Walked {
  worlds: number;
  /** Events carried out, each in a world of its own. */
  steps: number;
  /** Histories of one to `depth` events: sequences, each of which these steps have judged event by event. */
  histories: number;
  /** Steps, by the kind of their event. */
  kinds: ReadonlyMap<Event['kind'], number>;
  /** Nothing is left: the length ended the walk, and not `worldsMax`. */
  complete: boolean;
  /** Steps after which two served in a partition; after which a split brain was met; the same after a force; after which nobody served. */
  apart: number;
  splitBrains: number;
  forcedSplits: number;
  out: number;
  /** Each violation once, with the shortest history that leads to it. */
  violations: Map<string, { history: string; world: string }>;
}

interface Step {
  world: World;
  before: Step | null;
  event: Event | null;
  /** The worlds that one more event leads to, violated ones left out; once for each event. */
  next: Step[];
}

function historyOf(s: Step): string {
  const events: string[] = [];
  for (let at: Step | null = s; at !== null; at = at.before) if (at.event !== null) events.unshift(eventText(at.event));
  return events.join(', ');
}

/** Sequences of events along the edges, by dynamic programming: how many lead to each world in exactly so many steps. */
function countHistories(start: Step, depth: number): number {
  let total = 0;
  let ways = new Map<Step, number>([[start, 1]]);
  for (let length = 0; length < depth; length += 1) {
    const further = new Map<Step, number>();
    for (const [step, n] of ways) {
      for (const to of step.next) {
        further.set(to, (further.get(to) ?? 0) + n);
        total += n;
      }
    }
    ways = further;
  }
  return total;
}

export function walk(o: Walk): Walked {
  const world = World.inSync(o.nodes);
  const start: Step = { world, before: null, event: null, next: [] };
  const seen = new Map([[world.key, start]]);
  const kinds = new Map<Event['kind'], number>();
  const result: Walked = {
    worlds: 1,
    steps: 0,
    histories: 0,
    kinds,
    complete: true,
    apart: 0,
    splitBrains: 0,
    forcedSplits: 0,
    out: 0,
    violations: new Map(),
  };
  let layer: Step[] = [start];
  for (let depth = 0; depth < o.depth; depth += 1) {
    const next: Step[] = [];
    for (const step of layer) {
      for (const event of eventsOf(step.world)) {
        const world = step.world.copy();
        world.apply(event);
        result.steps += 1;
        kinds.set(event.kind, (kinds.get(event.kind) ?? 0) + 1);
        if (world.sources > 1) result.apart += 1;
        if (world.sources === 0) result.out += 1;
        if (world.splitBrains > 0) result.splitBrains += 1;
        if (world.splitBrains > 0 && (world.forcedAlone || world.givenUp !== 0)) result.forcedSplits += 1;
        const to: Step = { world, before: step, event, next: [] };
        for (const v of world.violations)
          if (!result.violations.has(v)) result.violations.set(v, { history: historyOf(to), world: world.describe() });
        // What follows from a violation proves nothing more.
        if (world.violations.length > 0) continue;
        const { key } = world;
        const known = seen.get(key);
        if (known !== undefined) {
          step.next.push(known);
          continue;
        }
        if (result.worlds >= o.worldsMax) {
          result.complete = false;
          continue;
        }
        step.next.push(to);
        seen.set(key, to);
        next.push(to);
        result.worlds += 1;
      }
    }
    layer = next;
  }
  result.histories = countHistories(start, o.depth);
  return result;
}
