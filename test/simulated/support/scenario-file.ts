/**
 * A shrunk history in the language of scenarios, for people, as far as that language can say it. The application is a load of
 * the same kind and not the same requests, so that the comment with the seed stays the way to the exact history.
 */
import type { Action, Script } from './actions.ts';
import { LEG, PATHS, type Plan, TAG } from './plan.ts';

/** Virtual time in which the mirror comes together once all is repaired. */
const TOGETHER_MS = 20_000;

interface State {
  down: Set<string>;
  frozen: Set<string>;
  /** Legs that answer errors. */
  failing: Set<string>;
}

const list = (names: Iterable<string>): string => `[${[...names].join(', ')}]`;

/** Undefined: the language has no words for it. */
function stepsOf(plan: Plan, a: Action, s: State): string[] | undefined {
  if (a.do === 'isolate' || a.do === 'rejoin') {
    return plan.nodes.filter((n) => n !== a.node).map((n) => `${a.do === 'isolate' ? 'cut' : 'heal'}: [${a.node}, ${n}]`);
  }
  const step = stepOf(a, s);
  return step === undefined ? undefined : [step];
}

function stepOf(a: Exclude<Action, { do: 'isolate' } | { do: 'rejoin' }>, s: State): string | undefined {
  switch (a.do) {
    case 'crash':
    case 'power':
    case 'stop':
      s.down.add(a.node);
      s.frozen.delete(a.node);
      return `${a.do === 'crash' ? 'crash' : a.do === 'power' ? 'powerfail' : 'down'}: ${a.node}`;
    case 'boot':
      s.down.delete(a.node);
      return `up: ${a.node}`;
    case 'freeze':
      s.frozen.add(a.node);
      return `freeze: ${a.node}`;
    case 'thaw':
      s.frozen.delete(a.node);
      return `thaw: ${a.node}`;
    case 'cut':
    case 'heal':
      return a.network === null ? `${a.do}: [${a.a}, ${a.b}]` : undefined;
    case 'cut-one-way':
      return `cut: {from: ${a.a}, to: ${a.b}}`;
    case 'heal-all':
      return 'heal: all';
    case 'slow':
      if (a.delayMs === null || a.rateBytesPerSec === null) return `heal: [${a.a}, ${a.b}]`;
      return `slow: {link: [${a.a}, ${a.b}], rate: ${String(Math.ceil(a.rateBytesPerSec / 1024))}KiB, delay: ${String(Math.ceil(a.delayMs))}ms}`;
    case 'disk':
      if (a.pattern !== LEG || a.times !== null) return undefined;
      s.failing.add(a.node);
      return a.op === 'full' ? `diskfull: ${a.node}` : `diskerror: {on: ${a.node}, op: ${a.op}}`;
    case 'repair':
      return s.failing.delete(a.node) ? `diskok: ${a.node}` : undefined;
    case 'damage':
      return `damage: {on: ${a.node}, file: ${a.path === PATHS.bitmap ? 'bitmap' : 'state'}, at: ${String(a.at)}B, length: 1}`;
    case 'short':
    case 'slow-disk':
    case 'command':
      return undefined;
  }
}

/** `why`: what it breaks. Undefined when an action, or the mirror itself, can't be said. */
export function scenarioOf(plan: Plan, script: Script, why: string): string | undefined {
  if (plan.networks.length > 1) return undefined;
  const state: State = { down: new Set(), frozen: new Set(), failing: new Set() };
  const steps: string[] = [`up: ${list(plan.nodes)}`, 'load: {name: application, seed: 1, writes: 1000000, length: 4KiB..64KiB}'];
  let now = script.actions[0]?.at ?? 0;
  for (const { at, action } of script.actions) {
    const said = stepsOf(plan, action, state);
    if (said === undefined) return undefined;
    if (at - now >= 1) steps.push(`wait: ${String(Math.round(at - now))}ms`);
    now = at;
    steps.push(...said);
  }
  steps.push('heal: all');
  for (const n of state.frozen) steps.push(`thaw: ${n}`);
  for (const n of state.failing) steps.push(`diskok: ${n}`);
  if (state.down.size > 0) steps.push(`up: ${list(state.down)}`);
  steps.push(`wait: ${String(TOGETHER_MS)}ms`, 'endload: application', `identical: ${list(plan.nodes)}`, `acknowledged: ${plan.nodes[0] ?? ''}`);
  const async = plan.nodes.filter((_, i) => i > 0 && plan.modes[i] === 'async');
  return [
    `# From seed ${String(plan.seed)} of scripts/simulate; it breaks ${why.split('\n')[0] ?? ''}`,
    '# Exactly, in virtual ms:',
    ...script.actions.map(({ at, action }) => `#   ${at.toFixed(3)} ${JSON.stringify(action)}`),
    `scenario: shrunk from seed ${String(plan.seed)}`,
    'mirror:',
    `  tag: ${TAG}`,
    `  size: ${String(plan.sizeBytes / 1024)}KiB`,
    `  region: ${String(plan.regionBytes / 1024)}KiB`,
    ...(async.length === 0 ? [] : [`  async: ${list(async)}`]),
    `  nodes: {${plan.nodes.map((n, i) => `${n}: ${String(i === 0 ? 1 : 10 * i)}`).join(', ')}}`,
    `  failureTimeout: ${String(plan.failureTimeoutMs)}ms`,
    `  arbiter: ${plan.arbiter}`,
    'steps:',
    ...steps.map((s) => `  - ${s}`),
    '',
  ].join('\n');
}
