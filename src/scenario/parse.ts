/** A scenario file, from its text to typed steps. Pure; says of every fault its file, line and field, and what is allowed. */
import { z } from 'zod';
import { ConfigError, shown } from '../control/config-error.ts';
import { parseTunables, tunableNames } from '../control/tunables.ts';
import { NODES_MAX } from '../failover/limits.ts';
import { ScenarioSyntaxError } from './errors.ts';
import { nodeFields } from './fields.ts';
import { fieldName, type Path, readYaml } from './read-yaml.ts';
import { mirrorSchema, nodeNameFault, priority, type StepForm, stepForms } from './schema.ts';
import type { Action, Scenario, ScenarioMirror, Step } from './types.ts';

type Fail = (path: Path, what: string) => never;

const topLevel = ['scenario', 'mirror', 'steps'];

/** Throws ScenarioSyntaxError. */
export function parseScenario(source: string, file: string): Scenario {
  const yaml = readYaml(source, file);
  const fail: Fail = (path, what) => {
    throw new ScenarioSyntaxError(file, yaml.lineAt(path), fieldName(path), what);
  };
  const { value } = yaml;
  if (value === undefined) return fail([], `the file is empty; allowed: fields with values, ${topLevel.join(', ')}`);
  if (!isRecord(value)) return fail([], `${shown(value)} is no scenario; allowed: fields with values, ${topLevel.join(', ')}`);
  for (const key of Object.keys(value)) if (!topLevel.includes(key)) fail([key], `is not known; allowed: ${topLevel.join(', ')}`);
  const title = value['scenario'];
  if (typeof title !== 'string' || title.trim() === '' || title.includes('\n')) {
    return fail(['scenario'], `${title === undefined ? 'is missing' : `${shown(title)} is not allowed`}; allowed: one line of text`);
  }
  const mirror = parseMirror(value['mirror'], yaml.namesAt(['mirror', 'nodes']), fail);
  const list = value['steps'];
  if (!Array.isArray(list) || list.length === 0) {
    return fail(['steps'], `${list === undefined ? 'is missing' : `${shown(list)} is not allowed`}; allowed: a list of at least one step`);
  }
  const forms = stepForms(mirror);
  const steps = list.map(
    (item: unknown, i): Step => ({ number: i + 1, line: yaml.lineAt(['steps', i]), action: parseStep(item, ['steps', i], forms, fail) }),
  );
  checkLoads(steps, fail);
  checkFirstUp(steps, mirror, fail);
  return { file, title: title.trim(), mirror, steps };
}

function parseMirror(value: unknown, order: readonly string[], fail: Fail): ScenarioMirror {
  if (value === undefined) return fail(['mirror'], 'is missing; allowed: fields with values, such as tag, size and nodes');
  const m = take(mirrorSchema, value, ['mirror'], fail);
  const entries = Object.entries(m.nodes).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  const nodes = entries.map(([name, p]) => {
    const fault = nodeNameFault(name);
    if (fault !== undefined) fail(['mirror', 'nodes', name], fault);
    return { name, priority: take(priority, p, ['mirror', 'nodes', name], fail) };
  });
  if (nodes.length > NODES_MAX) fail(['mirror', 'nodes'], `${String(nodes.length)} are too many; allowed: at most ${String(NODES_MAX)}`);
  const [first, ...others] = nodes;
  if (first === undefined) return fail(['mirror', 'nodes'], 'is empty; allowed: at least one node');
  for (const [i, n] of nodes.entries()) {
    const twin = nodes.slice(0, i).find((x) => x.priority === n.priority);
    if (twin !== undefined)
      fail(['mirror', 'nodes', n.name], `${String(n.priority)} is the priority of ${twin.name} too; allowed: one of its own for each node`);
  }
  const targets = others.map((n) => n.name);
  if (m.async !== undefined && targets.length === 0) fail(['mirror', 'async'], 'there are no targets; allowed: nothing');
  return {
    tag: m.tag,
    sizeBytes: m.size,
    regionBytes: m.region,
    async: m.async === undefined ? [] : take(nodeFields(targets).nodes(0), m.async, ['mirror', 'async'], fail),
    nodes,
    settings: parseSettings(m.settings, fail),
    failureTimeoutMs: m.failureTimeout,
    arbiter: m.arbiter,
    failover: m.failover,
  };
}

function parseSettings(given: Record<string, unknown>, fail: Fail): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const [key, value] of Object.entries(given)) {
    const path = ['mirror', 'settings', key];
    if (!tunableNames.includes(key)) fail(path, `is not known; allowed: ${tunableNames.join(', ')}`);
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
      fail(path, `${shown(value)} is not allowed; allowed: one value`);
    settings[key] = String(value);
  }
  try {
    parseTunables('', '', settings);
  } catch (e: unknown) {
    if (!(e instanceof ConfigError)) throw e;
    const before = `${e.file}: ${e.field}: `;
    fail(['mirror', 'settings', e.field], e.message.startsWith(before) ? e.message.slice(before.length) : e.message);
  }
  return settings;
}

function parseStep(item: unknown, path: Path, forms: ReturnType<typeof stepForms>, fail: Fail): Action {
  const allowed = Object.keys(forms).join(', ');
  if (!isRecord(item)) return fail(path, `${shown(item)} is no step; allowed: one of ${allowed}, with what belongs to it`);
  const keys = Object.keys(item);
  const word = keys.find((k) => Object.hasOwn(forms, k));
  const [first] = keys;
  if (word === undefined) return fail(first === undefined ? path : [...path, first], `is not known; allowed: ${allowed}`);
  const form = forms[word];
  if (form === undefined) throw new Error(`no form for ${word}`);
  const { schema, more } = form;
  for (const key of keys) {
    if (key === word || more?.includes(key) === true) continue;
    fail([...path, key], misplaced(key, word, form));
  }
  return more === undefined ? take(schema, item[word], [...path, word], fail) : take(schema, item, path, fail);
}

/** What to say of a field that stands beside the word of its step, and should not. */
function misplaced(key: string, word: string, form: StepForm): string {
  if (form.more !== undefined) return `does not belong beside ${word}; allowed: ${form.more.join(', ')}`;
  if (!fieldsInside(form).includes(key)) return `does not belong beside ${word}; allowed: nothing else in this step`;
  return `belongs inside the braces of ${word}, not beside it; allowed: ${word}: {…, ${key}: …}, or a line indented deeper than ${word}`;
}

function fieldsInside({ schema, inside }: StepForm): readonly string[] {
  let from: z.core.$ZodType = schema;
  while (from instanceof z.ZodPipe) from = from.in;
  return inside ?? (from instanceof z.ZodObject ? Object.keys(from.shape) : []);
}

/** Only a load that was begun can end. Whether one of the same name still runs is known when its turn comes. */
function checkLoads(steps: readonly Step[], fail: Fail): void {
  const begun = new Set<string>();
  for (const [i, { action }] of steps.entries()) {
    if (action.kind === 'load') {
      begun.add(action.name);
    } else if (action.kind === 'endload') {
      if (!begun.delete(action.name)) {
        fail(['steps', i, 'endload'], `no load ${shown(action.name)} runs there; allowed: ${begun.size === 0 ? 'none' : [...begun].join(', ')}`);
      }
    }
  }
}

/** The mirror is made by the first `up`, on the source. */
function checkFirstUp(steps: readonly Step[], mirror: ScenarioMirror, fail: Fail): void {
  const source = mirror.nodes[0]?.name ?? '';
  for (const [i, { action }] of steps.entries()) {
    if (action.kind !== 'up') continue;
    if (!action.nodes.includes(source)) fail(['steps', i, 'up'], `the first up makes the mirror; allowed: ${source}, alone or among others`);
    return;
  }
}

function take<T>(schema: z.ZodType<T>, value: unknown, path: Path, fail: Fail): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue === undefined) return fail(path, 'is not as agreed');
  const at = [...path, ...issue.path];
  if (issue.code === 'unrecognized_keys') return fail([...at, issue.keys[0] ?? ''], issue.message);
  if (issue.code === 'invalid_key') return fail(at, issue.issues[0]?.message ?? issue.message);
  return fail(at, issue.message);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
