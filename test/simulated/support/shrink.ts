/**
 * Makes a failing history short: fewer faults, then fewer nodes, then fewer requests, as long as it still breaks the same
 * promise. What is struck is the list of what was struck (see actions.ts), at the same moments.
 *
 *   run of the seed -> its script -> without what came too late -> halves, quarters, ... single actions left out -> again
 */
import { nodesOf, type Script, type TimedAction } from './actions.ts';
import type { HistoryOptions, HistoryReport } from './history.ts';
import type { PlanOptions } from './plan.ts';

/** A history that can be lived through again, as it stands in a replay file. */
export interface Replay {
  seed: number;
  options: Pick<PlanOptions, 'nodes' | 'arbiter' | 'paths' | 'requestsMax'> & { only?: string[] | undefined; without?: string[] | undefined };
  /** The promise that it breaks. */
  promise: string;
  script: Script;
}

export interface Shrunk {
  replay: Replay;
  last: HistoryReport;
  /** Histories that were lived through for it. */
  runs: number;
}

export type Run = (seed: number, o: HistoryOptions) => Promise<HistoryReport>;

export async function shrink(
  run: Run,
  seed: number,
  o: HistoryOptions,
  runsMax: number,
  say: (line: string) => void = () => undefined,
): Promise<Shrunk> {
  const first = await run(seed, o);
  const promise = first.failure?.promise;
  if (promise === undefined) throw new Error(`seed ${String(seed)} does not fail`);
  let runs = 1;
  let best: { options: HistoryOptions; script: Script; report: HistoryReport } = { options: o, script: first.script, report: first };
  const attempt = async (options: HistoryOptions, script: Script): Promise<boolean> => {
    if (runs >= runsMax) return false;
    runs += 1;
    const report = await run(seed, { ...options, script });
    if (report.failure?.promise !== promise) return false;
    best = { options, script, report };
    return true;
  };
  // It may have been broken after the last that struck, and before all was repaired.
  const untilBroken: Script = { ...first.script, endAt: Math.max(first.script.endAt, first.virtualMs) };
  // What its list does not bring about again can't be made shorter either.
  if (!(await attempt(o, first.script)) && !(await attempt(o, untilBroken)))
    throw new Error(`seed ${String(seed)} fails, and does not when it is struck by the same list: ${promise}`);
  say(`${String(first.script.actions.length)} actions on ${String(first.nodes)} nodes break ${promise}`);
  for (let before = Infinity; best.script.actions.length < before && runs < runsMax; ) {
    before = best.script.actions.length;
    await fewerActions(
      () => best.script,
      (s) => attempt(best.options, s),
    );
    say(`${String(best.script.actions.length)} actions after ${String(runs)} histories`);
  }
  for (let n = best.report.nodes - 1; n >= 2; n -= 1) {
    const kept = new Set(Array.from({ length: n }, (_, i) => `server${String(i + 1)}`));
    const actions = best.script.actions.filter(({ action }) => nodesOf(action).every((x) => kept.has(x)));
    if (!(await attempt({ ...best.options, nodes: n }, { ...best.script, actions }))) break;
  }
  for (let most = Math.floor(best.report.requests / 2); ; most = Math.floor(most / 2)) {
    if (!(await attempt({ ...best.options, requestsMax: most }, best.script)) || most === 0) break;
  }
  const last = best.script.actions.at(-1)?.at;
  if (last !== undefined && last < best.script.endAt) await attempt(best.options, { ...best.script, endAt: last });
  const { nodes, arbiter, paths, requestsMax, only, without } = best.options;
  return {
    replay: {
      seed,
      options: {
        nodes,
        arbiter,
        paths,
        requestsMax,
        only: only === undefined ? undefined : [...only],
        without: without === undefined ? undefined : [...without],
      },
      promise,
      script: best.script,
    },
    last: best.report,
    runs,
  };
}

/** Leaves out ever smaller runs of actions. `now`: the shortest list so far. */
async function fewerActions(now: () => Script, attempt: (s: Script) => Promise<boolean>): Promise<void> {
  for (let size = Math.ceil(now().actions.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < now().actions.length; ) {
      const { actions, endAt } = now();
      const shorter: TimedAction[] = [...actions.slice(0, at), ...actions.slice(at + size)];
      if (!(await attempt({ actions: shorter, endAt }))) at += size;
    }
  }
}
