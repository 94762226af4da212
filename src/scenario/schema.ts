/** The fields of a mirror and of each step of the language, and what is allowed in them. */
import { z } from 'zod';
import { DEVICE_MAX_BYTES, isRegionSize, REGION_MAX_BYTES, REGION_MIN_BYTES } from '../bitmap/regions.ts';
import { shown } from '../control/config-error.ts';
import { FAILURE_TIMEOUT_MAX_MS, FAILURE_TIMEOUT_MIN_MS, PRIORITY_MAX } from '../control/schemas.ts';
import { DURATION_ALLOWED, formatDuration, parseDuration, parseSize, SIZE_ALLOWED } from '../control/units.ts';
import { isName } from '../failover/paths.ts';
import { decideRules, type NodeState, type PeerState } from '../failover/types.ts';
import { splitWords } from './command-line.ts';
import {
  choice,
  comparison,
  duration,
  field,
  fieldsOf,
  flag,
  integer,
  nameOf,
  nodeFields,
  optional,
  pattern,
  range,
  seed,
  seedOrZero,
  size,
  text,
} from './fields.ts';
import type { Action, NodeFacts, ScenarioMirror } from './types.ts';

const DEVICE_MIN_BYTES = 4096;
const SECTOR_BYTES = 512;
export const LOAD_UNIT_BYTES = 4096;
const WRITES_MAX = 1_000_000_000;
const WITHIN_MS = 10_000;
const FAILURE_TIMEOUT_MS = 2000;

/** Words that stand beside nodes' names in the language. */
const reserved: ReadonlySet<string> = new Set(['all', 'within', 'for']);

const nodesOfMirror = field('{NAME: PRIORITY}, 1 to 8 names, the first the source at the start', (v): Record<string, unknown> | undefined =>
  typeof v === 'object' && v !== null && !Array.isArray(v) && Object.keys(v).length > 0 ? (v as Record<string, unknown>) : undefined,
);

export const mirrorSchema = fieldsOf({
  tag: field('1 to 64 letters, digits, dots, dashes and underscores, the first a letter or a digit, not ending in .tmp', (v) =>
    typeof v === 'string' && isName(v) && !v.endsWith('.tmp') ? v : undefined,
  ),
  size: field(`${SIZE_ALLOWED}, in whole sectors of 512 bytes, from 4KiB to 64TiB`, (v) => {
    const n = typeof v === 'string' || typeof v === 'number' ? parseSize(String(v)) : undefined;
    return n !== undefined && n >= DEVICE_MIN_BYTES && n <= DEVICE_MAX_BYTES && n % SECTOR_BYTES === 0 ? n : undefined;
  }),
  region: optional(
    field(`a power of two from ${String(REGION_MIN_BYTES)} to ${String(REGION_MAX_BYTES)} bytes, such as 64KiB`, (v) => {
      const n = typeof v === 'string' || typeof v === 'number' ? parseSize(String(v)) : undefined;
      return n !== undefined && isRegionSize(n) ? n : undefined;
    }),
    null,
  ),
  async: z.unknown().optional(),
  nodes: nodesOfMirror,
  settings: optional(
    field('{LKDR_NAME: VALUE}', (v) => (typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Record<string, unknown>) : undefined)),
    {},
  ),
  failureTimeout: optional(
    field(`${DURATION_ALLOWED}, from ${formatDuration(FAILURE_TIMEOUT_MIN_MS)} to ${formatDuration(FAILURE_TIMEOUT_MAX_MS)}`, (v) => {
      const ms = typeof v === 'string' ? parseDuration(v) : undefined;
      return ms !== undefined && ms >= FAILURE_TIMEOUT_MIN_MS && ms <= FAILURE_TIMEOUT_MAX_MS ? ms : undefined;
    }),
    FAILURE_TIMEOUT_MS,
  ),
  arbiter: optional(choice('none', 'majority'), 'none' as const),
  failover: optional(choice('auto', 'off', 'confirm'), 'auto' as const),
});

export const priority = integer(0, PRIORITY_MAX);

/** Why a name can't be a node's; undefined: it can. */
export function nodeNameFault(name: string): string | undefined {
  const allowed = '1 to 64 letters, digits, dots, dashes and underscores, the first a letter or a digit';
  if (!isName(name)) return `is no name of a node; allowed: ${allowed}`;
  return reserved.has(name) ? `is a word of the language; allowed: ${allowed}, but for ${[...reserved].join(', ')}` : undefined;
}

const states = choice(
  ...([
    'Source',
    'Target',
    'Resyncing',
    'Paused',
    'Out of Sync',
    'Inconsistent',
    'Waiting',
    'Data Corrupt',
    'Split Brain',
  ] as const satisfies NodeState[]),
);

const peerStates = choice(
  ...([
    'Target',
    'Resyncing',
    'Paused',
    'Out of Sync',
    'Out of Sync (Wait for Previous Source)',
    'Out of Sync (Previous Source)',
    'Refused',
    'Unknown',
    'Split Brain',
  ] as const satisfies PeerState[]),
);

const rules = choice(...decideRules);

const words = field('a command of the product, such as "mirror_action TAG pause"', (v) => {
  const split = typeof v === 'string' ? splitWords(v) : undefined;
  return split === undefined || split.length === 0 ? undefined : split;
});

/** A step is one of these words with what belongs to it. `more`: fields that stand beside the word. */
export interface StepForm {
  schema: z.ZodType<Action>;
  /** Undefined: nothing stands beside the word. */
  more?: readonly string[];
  /** Fields that can stand in the word's braces; undefined: those of the schema, which shows them itself. */
  inside?: readonly string[];
}

/** The end of `at` and `length` lies on the device. */
function withinDevice(m: ScenarioMirror) {
  return (o: { at: number; length: number }, ctx: z.RefinementCtx): void => {
    if (o.at + o.length <= m.sizeBytes) return;
    const rest = m.sizeBytes - o.at;
    ctx.addIssue({
      code: 'custom',
      path: ['length'],
      message: `ends beyond the device of ${String(m.sizeBytes)} bytes; allowed: at most ${String(rest)} bytes there`,
    });
  };
}

export function stepForms(m: ScenarioMirror): Record<string, StepForm> {
  const names = m.nodes.map((n) => n.name);
  const { node, nodeOrNodes, nodes, link, perNode, listFault } = nodeFields(names);
  const at = size(0, m.sizeBytes - 1);
  const length = size(1, m.sizeBytes);
  const within = optional(duration, WITHIN_MS);
  const on = optional(node, null);
  const no = optional(flag, false);

  const facts = fieldsOf({
    up: flag.optional(),
    inService: flag.optional(),
    last_owner: flag.optional(),
    data_corrupt: flag.optional(),
    source: field(`one of ${names.join(', ')}, or none`, (v) => ['none', ...names].find((n) => n === nameOf(v))).optional(),
    state: states.optional(),
    sees: perNode(peerStates).optional(),
    dirty: perNode(comparison).optional(),
    rule: rules.optional(),
  }).transform(({ source, ...rest }): NodeFacts => {
    const all = source === undefined ? rest : { ...rest, source: source === 'none' ? null : source };
    return Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined));
  });
  // A wrong indent must not make a check of nothing.
  const someFacts = facts.refine((f) => Object.keys(f).length > 0, { error: 'expects nothing of the node; allowed: at least one fact' });

  const expectation = fieldsOf({
    within,
    for: optional(duration, 0),
    ...Object.fromEntries(names.map((n) => [n, someFacts.optional()])),
  })
    .refine((value) => names.some((n) => (value as Record<string, unknown>)[n] !== undefined), {
      error: `expects nothing; allowed: facts of at least one of ${names.join(', ')}`,
    })
    .transform((value): Action => {
      const given = Object.entries(value as Record<string, unknown>).filter(([k, v]) => names.includes(k) && v !== undefined);
      return { kind: 'expect', withinMs: value.within, forMs: value.for, nodes: Object.fromEntries(given) as Record<string, NodeFacts> };
    });

  return {
    up: { schema: nodeOrNodes.transform((n): Action => ({ kind: 'up', nodes: n })) },
    down: { schema: node.transform((n): Action => ({ kind: 'down', node: n })) },
    crash: { schema: nodeOrNodes.transform((n): Action => ({ kind: 'crash', nodes: n })) },
    powerfail: { schema: nodeOrNodes.transform((n): Action => ({ kind: 'powerfail', nodes: n })) },
    freeze: { schema: node.transform((n): Action => ({ kind: 'freeze', node: n })) },
    thaw: { schema: node.transform((n): Action => ({ kind: 'thaw', node: n })) },
    cut: { schema: cutSchema(names), inside: ['from', 'to'] },
    heal: {
      schema: field(
        `all, or [NODE, NODE], two of ${names.join(', ')}`,
        (v): Action | undefined => {
          if (v === 'all') return { kind: 'heal', link: null };
          const parsed = link.safeParse(v);
          return parsed.success ? { kind: 'heal', link: parsed.data } : undefined;
        },
        listFault,
      ),
    },
    slow: {
      schema: fieldsOf({ link, rate: optional(size(1, Number.MAX_SAFE_INTEGER, ' a second'), null), delay: optional(duration, 0) })
        .superRefine((o, ctx) => {
          if (o.rate === null && o.delay === 0) ctx.addIssue({ code: 'custom', message: 'slows nothing; allowed: rate, delay or both besides link' });
        })
        .transform((o): Action => ({ kind: 'slow', link: o.link, rateBytesPerSec: o.rate, delayMs: o.delay })),
    },
    write: {
      schema: fieldsOf({ at, length, seed: seedOrZero, on, within, flush: optional(flag, true), fails: no })
        .superRefine(withinDevice(m))
        .transform(({ within: withinMs, ...o }): Action => ({ kind: 'write', ...o, withinMs })),
    },
    read: {
      schema: fieldsOf({ at, length, seed: seedOrZero, on, within })
        .superRefine(withinDevice(m))
        .transform(({ within: withinMs, ...o }): Action => ({ kind: 'read', ...o, withinMs })),
    },
    leg: {
      schema: fieldsOf({ on: node, at, length, seed: seedOrZero })
        .superRefine(withinDevice(m))
        .transform((o): Action => ({ kind: 'leg', ...o })),
    },
    load: {
      schema: fieldsOf({
        name: text('a name'),
        seed,
        writes: integer(1, WRITES_MAX),
        length: range(LOAD_UNIT_BYTES, m.sizeBytes),
        range: optional(range(LOAD_UNIT_BYTES, m.sizeBytes), { from: 0, to: m.sizeBytes - (m.sizeBytes % LOAD_UNIT_BYTES) }),
        on,
      })
        .superRefine((o, ctx) => {
          if (o.length.from === 0)
            ctx.addIssue({ code: 'custom', path: ['length'], message: `a write of nothing; allowed: at least ${String(LOAD_UNIT_BYTES)} bytes` });
          const room = o.range.to - o.range.from;
          if (room < Math.max(o.length.to, 1)) {
            ctx.addIssue({
              code: 'custom',
              path: ['range'],
              message: `has room for ${String(room)} bytes; allowed: at least the longest write, ${String(o.length.to)} bytes`,
            });
          }
        })
        .transform((o): Action => ({ kind: 'load', ...o })),
    },
    endload: { schema: text('the name of a load').transform((name): Action => ({ kind: 'endload', name })) },
    acknowledged: { schema: node.transform((n): Action => ({ kind: 'acknowledged', node: n })) },
    run: {
      schema: fieldsOf({ run: words, on, exit: optional(integer(0, 255), 0), prints: optional(pattern, null) }).transform(
        ({ run, ...o }): Action => ({ kind: 'run', argv: run, ...o }),
      ),
      more: ['on', 'exit', 'prints'],
    },
    damage: {
      schema: fieldsOf({
        on: node,
        file: choice('bitmap', 'state', 'leg'),
        at: optional(size(0, DEVICE_MAX_BYTES), 0),
        length: optional(size(1, DEVICE_MAX_BYTES), 1),
      }).transform((o): Action => ({ kind: 'damage', ...o })),
    },
    remove: {
      schema: fieldsOf({ on: node, file: choice('bitmap', 'state', 'last_owner', 'source', 'data_corrupt') }).transform(
        (o): Action => ({ kind: 'remove', ...o }),
      ),
    },
    diskfull: { schema: node.transform((n): Action => ({ kind: 'fault', node: n, fault: 'full', word: 'diskfull' })) },
    diskerror: {
      schema: fieldsOf({ on: node, op: choice('read', 'write', 'sync') }).transform(
        (o): Action => ({ kind: 'fault', node: o.on, fault: `error ${o.op}`, word: 'diskerror' }),
      ),
    },
    diskok: { schema: node.transform((n): Action => ({ kind: 'fault', node: n, fault: null, word: 'diskok' })) },
    wait: { schema: duration.transform((ms): Action => ({ kind: 'wait', ms })) },
    identical: { schema: nodes(2).transform((n): Action => ({ kind: 'identical', nodes: n })) },
    resynced: {
      schema: fieldsOf({
        target: node,
        kind: optional(choice('partial', 'full'), null),
        bytes: optional(comparison, null),
        sent: optional(comparison, null),
      }).transform(({ kind: type, ...o }): Action => ({ kind: 'resynced', type, ...o })),
    },
    expect: { schema: expectation },
  };
}

/** `[A, B]` or `{from: A, to: B}`. */
function cutSchema(names: readonly string[]) {
  const { node, link } = nodeFields(names);
  const oneWay = fieldsOf({ from: node, to: node }).superRefine((o, ctx) => {
    if (o.from === o.to) ctx.addIssue({ code: 'custom', path: ['to'], message: `${shown(o.to)} is where it begins; allowed: another node` });
  });
  return z.unknown().transform((value, ctx): Action => {
    const direct = typeof value === 'object' && value !== null && !Array.isArray(value);
    const parsed = direct ? oneWay.safeParse(value) : link.safeParse(value);
    if (!parsed.success) {
      for (const issue of parsed.error.issues) {
        const path = issue.code === 'unrecognized_keys' ? [...issue.path, ...issue.keys] : [...issue.path];
        ctx.issues.push({ code: 'custom', path, message: issue.message, input: value });
      }
      return z.NEVER;
    }
    const { data } = parsed;
    return Array.isArray(data) ? { kind: 'cut', from: data[0], to: data[1], bothWays: true } : { kind: 'cut', ...data, bothWays: false };
  });
}
