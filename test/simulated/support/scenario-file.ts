/**
 * A shrunk history in the language of scenarios, for people, as far as that language can say it. The application is a load of
 * the same kind and not the same requests, so that the comment with the seed stays the way to the exact history; whether the
 * scenario fails too is found by running it (scenario-trial.ts), and stands in the comment as well.
 */
import type { Script, TimedAction } from './actions.ts';
import { type Plan, TAG } from './plan.ts';
import { type Step, Telling } from './scenario-steps.ts';

/** By then the mirror of a history is made, virtual ms; before its first action its load has run for so long, at most. */
const MADE_MS = 500;
const LOADED_MAX_MS = 1000;
/** From the last action until all is repaired: for what follows from it, and no longer where nothing more was to come. */
const UNFOLDS_MIN_MS = 200;
const UNFOLDS_MAX_MS = 3000;
/** After all is repaired: until the load ends, which would soon have written over whatever was lost or differs. */
const LOADED_ON_MS = 50;
/** From then on: until an operator says what is left to him, and until the mirror is looked at. */
const BY_ITSELF_MS = 3000;
const TOGETHER_MS = 8000;

/** A source with its own leg, and no target in any other state. */
const TOGETHER = '"state": "Source"[^]*"localLeg": "in"(?![^]*"state": "(?!Target"))';

export interface ShrunkScenario {
  /** The step that says whether the mirror has come together, counted from 1. */
  togetherStep: number;
  /** `exits`: those of its commands, in their order, 0 where none is known; `found`: what running it has shown. */
  text(exits?: readonly number[], found?: readonly string[]): string;
}

/** Why there is no scenario: an action, or something of the mirror, that the language has no words for. */
export interface Unsaid {
  unsaid: string;
}

/** `why`: what the history breaks. */
export function scenarioOf(plan: Plan, script: Script, why: string): ShrunkScenario | Unsaid {
  const first = script.actions[0]?.at ?? 0;
  const telling = new Telling(plan.nodes, Math.max(MADE_MS, first - LOADED_MAX_MS));
  for (const timed of script.actions) if (!telling.tell(timed)) return { unsaid: whereOf(timed) };
  const last = script.actions.at(-1)?.at ?? MADE_MS;
  telling.passUntil(Math.min(Math.max(script.endAt, last + UNFOLDS_MIN_MS), last + UNFOLDS_MAX_MS));
  telling.repair();
  telling.pass(LOADED_ON_MS);
  telling.then('endload: application');
  telling.pass(BY_ITSELF_MS);
  telling.operate();
  telling.pass(TOGETHER_MS);
  const before = [`up: ${list(plan.nodes)}`, 'load: {name: application, seed: 1, writes: 1000000, length: 4KiB..16KiB}'];
  const told: Step[] = [...before, ...telling.steps];
  const judged = [
    `{run: "netraid status ${TAG} --json", prints: '${TOGETHER}'}`,
    `identical: ${list(plan.nodes)}`,
    ...(mayLose(plan, script) ? [] : [`acknowledged: ${plan.nodes[0] ?? ''}`]),
  ];
  return {
    togetherStep: told.length + 1,
    text: (exits = [], found = []) => {
      const left = [...exits];
      const steps = told.map((s) => (typeof s === 'string' ? s : runStep(s, left.shift() ?? 0)));
      return [
        `# From seed ${String(plan.seed)} of scripts/simulate; it breaks ${oneLine(why)}`,
        ...[...found, ...limits(plan, told)].map((line) => `# ${line}`),
        '# Exactly, in virtual ms:',
        ...script.actions.map((t) => `#   ${whereOf(t)}`),
        `scenario: shrunk from seed ${String(plan.seed)}`,
        ...mirrorLines(plan),
        'steps:',
        ...[...steps, ...judged].map((s) => `  - ${s}`),
        '',
      ].join('\n');
    },
  };
}

const list = (names: Iterable<string>): string => `[${[...names].join(', ')}]`;
const oneLine = (text: string): string => text.split('\n')[0] ?? '';
const whereOf = ({ at, action }: TimedAction): string => `${at.toFixed(3)} ${JSON.stringify(action)}`;

function runStep({ run, on }: Exclude<Step, string>, exit: number): string {
  return `{run: "${run}"${on === null ? '' : `, on: ${on}`}${exit === 0 ? '' : `, exit: ${String(exit)}`}}`;
}

/** Acknowledged writes may be lost, and nothing is broken: by an operator's word, or since a target has them later. */
function mayLose(plan: Plan, script: Script): boolean {
  return asyncTargets(plan).length > 0 || script.actions.some(({ action }) => action.do === 'command' && action.command === 'force');
}

const asyncTargets = (plan: Plan): string[] => plan.nodes.filter((_, i) => i > 0 && plan.modes[i] === 'async');

function mirrorLines(plan: Plan): string[] {
  const async = asyncTargets(plan);
  const settings = [
    ...(async.length === 0 ? [] : [`LKDR_ASYNC_LIMIT: ${String(plan.settings.async.writesMax)}`]),
    `LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT: ${String(plan.waitForPreviousSourceSec)}`,
  ];
  return [
    'mirror:',
    `  tag: ${TAG}`,
    `  size: ${String(plan.sizeBytes / 1024)}KiB`,
    `  region: ${String(plan.regionBytes / 1024)}KiB`,
    ...(async.length === 0 ? [] : [`  async: ${list(async)}`]),
    `  nodes: {${plan.nodes.map((n, i) => `${n}: ${String(i === 0 ? 1 : 10 * i)}`).join(', ')}}`,
    `  settings: {${settings.join(', ')}}`,
    `  failureTimeout: ${String(plan.failureTimeoutMs)}ms`,
    `  arbiter: ${plan.arbiter}`,
  ];
}

/** What of the history is said otherwise, where it may matter. */
function limits(plan: Plan, told: readonly Step[]): string[] {
  return [
    ...(plan.networks.length > 1 ? [`There were ${String(plan.networks.length)} paths between each two nodes, and there is one here.`] : []),
    ...(told.some((s) => typeof s !== 'string')
      ? ['A command ends before the next step begins: what struck in the middle of it strikes after it.']
      : []),
  ];
}
