import { describe, expect, it } from 'vitest';
import { parseScenario } from '../../src/scenario/parse.ts';
import { type Action as Step, wordOf } from '../../src/scenario/types.ts';
import type { Action } from './support/actions.ts';
import { drawPlan, LEG, PATHS, type Plan, ROOT } from './support/plan.ts';
import { scenarioOf } from './support/scenario-file.ts';

type Command = Extract<Action, { do: 'command' }>['command'];

interface Case {
  title: string;
  /** What happens before it. */
  after?: Action[];
  /** One after another, 20 ms apart; or all at the same moment. */
  actions: Action[];
  atOnce?: boolean;
  /** Undefined: the language has no words for the last of them. */
  steps: string[] | undefined;
}

const plan: Plan = { ...drawPlan(1, { nodes: 3, paths: 1 }), modes: ['sync', 'sync', 'sync'] };
const [one, two, three] = ['server1', 'server2', 'server3'] as const;
const leg = (op: 'read' | 'write' | 'sync' | 'full', times: number | null): Action => ({ do: 'disk', node: one, pattern: LEG, op, times });
const command = (name: Command, node: string, ...nodes: string[]): Action => ({ do: 'command', node, command: name, nodes });
const freeze: Action = { do: 'freeze', node: two, ms: 10, asSource: false };
const slow: Action = { do: 'slow', a: one, b: two, delayMs: 7.3, rateBytesPerSec: 500_000 };
const asEver: Action = { do: 'slow', a: one, b: two, delayMs: null, rateBytesPerSec: null };
const cut: Action = { do: 'cut', a: one, b: two, network: null };
const heal: Action = { do: 'heal', a: one, b: two, network: null };
const slowly = 'slow: {link: [server1, server2], rate: 500000B, delay: 7ms}';

const cases: Record<Action['do'], Case[]> = {
  crash: [
    { title: 'one', actions: [{ do: 'crash', node: one }], steps: ['crash: server1'] },
    { title: 'one that stands still', after: [freeze], actions: [{ do: 'crash', node: two }], steps: ['crash: server2'] },
    { title: 'one that is down', after: [{ do: 'stop', node: one }], actions: [{ do: 'crash', node: one }], steps: [] },
    {
      title: 'several at the same moment',
      atOnce: true,
      actions: [
        { do: 'crash', node: one },
        { do: 'crash', node: two },
        { do: 'power', node: three },
      ],
      steps: ['crash: [server1, server2]', 'powerfail: server3'],
    },
  ],
  power: [
    { title: 'one', actions: [{ do: 'power', node: one }], steps: ['powerfail: server1'] },
    {
      title: 'two, one after the other',
      actions: [
        { do: 'power', node: one },
        { do: 'power', node: two },
      ],
      steps: ['powerfail: server1', 'wait: 20ms', 'powerfail: server2'],
    },
  ],
  boot: [
    { title: 'one that is down', after: [{ do: 'power', node: one }], actions: [{ do: 'boot', node: one }], steps: ['up: server1'] },
    { title: 'one that is up', actions: [{ do: 'boot', node: one }], steps: [] },
    { title: 'one that stands still', after: [freeze], actions: [{ do: 'boot', node: two }], steps: [] },
  ],
  stop: [
    { title: 'one', actions: [{ do: 'stop', node: one }], steps: ['down: server1'] },
    { title: 'one that stands still', after: [freeze], actions: [{ do: 'stop', node: two }], steps: [] },
  ],
  freeze: [
    { title: 'one', actions: [freeze], steps: ['freeze: server2'] },
    { title: 'one that is down', after: [{ do: 'crash', node: two }], actions: [freeze], steps: [] },
  ],
  thaw: [
    { title: 'one that stands still', after: [freeze], actions: [{ do: 'thaw', node: two }], steps: ['thaw: server2'] },
    { title: 'one that is up', actions: [{ do: 'thaw', node: two }], steps: [] },
  ],
  isolate: [{ title: 'one', actions: [{ do: 'isolate', node: one }], steps: ['cut: [server1, server2]', 'cut: [server1, server3]'] }],
  rejoin: [
    {
      title: 'one',
      after: [{ do: 'isolate', node: one }],
      actions: [{ do: 'rejoin', node: one }],
      steps: ['heal: [server1, server2]', 'heal: [server1, server3]'],
    },
    { title: 'one that is cut off from one', after: [cut], actions: [{ do: 'rejoin', node: one }], steps: ['heal: [server1, server2]'] },
  ],
  cut: [
    { title: 'both ways', actions: [cut], steps: ['cut: [server1, server2]'] },
    { title: 'in one network of two', actions: [{ ...cut, network: 'lan' }], steps: undefined },
  ],
  heal: [
    { title: 'what is cut', after: [cut], actions: [heal], steps: ['heal: [server1, server2]'] },
    { title: 'what is cut and slow', after: [slow, cut], actions: [heal], steps: ['heal: [server1, server2]', slowly] },
    { title: 'what is not cut', after: [slow], actions: [heal], steps: [] },
    { title: 'in one network of two', actions: [{ ...heal, network: 'lan' }], steps: undefined },
  ],
  'cut-one-way': [{ title: 'one way', actions: [{ do: 'cut-one-way', a: two, b: one }], steps: ['cut: {from: server2, to: server1}'] }],
  'heal-all': [
    { title: 'cuts', after: [cut], actions: [{ do: 'heal-all' }], steps: ['heal: all'] },
    { title: 'cuts, and something stays slow', after: [cut, slow], actions: [{ do: 'heal-all' }], steps: ['heal: all', slowly] },
  ],
  slow: [
    { title: 'delay and rate', actions: [slow], steps: [slowly] },
    {
      title: 'a short delay alone',
      actions: [{ ...slow, delayMs: 0.2, rateBytesPerSec: null }],
      steps: ['slow: {link: [server1, server2], delay: 1ms}'],
    },
    { title: 'a rate alone', actions: [{ ...slow, delayMs: null }], steps: ['slow: {link: [server1, server2], rate: 500000B}'] },
    { title: 'its end', after: [slow], actions: [asEver], steps: ['heal: [server1, server2]'] },
    {
      title: 'its end where one way is cut',
      after: [slow, { do: 'cut-one-way', a: two, b: one }],
      actions: [asEver],
      steps: ['heal: [server1, server2]', 'cut: {from: server2, to: server1}'],
    },
    { title: 'its end where nothing is slow', after: [cut], actions: [asEver], steps: [] },
  ],
  disk: [
    { title: 'of the leg, reads', actions: [leg('read', null)], steps: ['diskerror: {on: server1, op: read}'] },
    { title: 'of the leg, writes', actions: [leg('write', null)], steps: ['diskerror: {on: server1, op: write}'] },
    { title: 'of the leg, syncs', actions: [leg('sync', null)], steps: ['diskerror: {on: server1, op: sync}'] },
    { title: 'of the leg, no space', actions: [leg('full', null)], steps: ['diskfull: server1'] },
    {
      title: 'of the leg, so many times',
      actions: [leg('write', 3), { do: 'crash', node: two }, { do: 'crash', node: three }],
      steps: ['diskerror: {on: server1, op: write}', 'wait: 20ms', 'crash: server2', 'wait: 10ms', 'diskok: server1', 'wait: 10ms', 'crash: server3'],
    },
    {
      title: 'of the leg, once, beside one that stays',
      after: [leg('read', null)],
      actions: [leg('write', 1), { do: 'crash', node: two }],
      steps: [
        'diskerror: {on: server1, op: write}',
        'wait: 10ms',
        'diskok: server1',
        'diskerror: {on: server1, op: read}',
        'wait: 10ms',
        'crash: server2',
      ],
    },
    { title: 'of the root', actions: [{ do: 'disk', node: one, pattern: `${ROOT}/*`, op: 'write', times: null }], steps: undefined },
  ],
  repair: [
    { title: 'of a faulty disk', after: [leg('write', null)], actions: [{ do: 'repair', node: one }], steps: ['diskok: server1'] },
    { title: 'of one whose fault is over', after: [leg('write', 1)], actions: [{ do: 'repair', node: one }], steps: [] },
    { title: 'of a sound disk', actions: [{ do: 'repair', node: one }], steps: [] },
  ],
  short: [
    { title: 'transfers', actions: [{ do: 'short', node: one, share: 0.2 }], steps: undefined },
    { title: 'transfers no more', actions: [{ do: 'short', node: one, share: 0 }], steps: [] },
  ],
  flip: [
    { title: 'bits', actions: [{ do: 'flip', a: one, b: two, share: 0.1 }], steps: undefined },
    { title: 'none any more', actions: [{ do: 'flip', a: one, b: two, share: 0 }], steps: [] },
  ],
  'flip-one-way': [
    { title: 'bits', actions: [{ do: 'flip-one-way', a: one, b: two, share: 1 }], steps: undefined },
    { title: 'none any more', actions: [{ do: 'flip-one-way', a: one, b: two, share: 0 }], steps: [] },
  ],
  'slow-disk': [
    { title: 'of a node', actions: [{ do: 'slow-disk', node: one, ms: 400 }], steps: undefined },
    { title: 'no more', actions: [{ do: 'slow-disk', node: one, ms: null }], steps: [] },
  ],
  damage: [
    {
      title: 'of the bitmap',
      after: [{ do: 'crash', node: one }],
      actions: [{ do: 'damage', node: one, path: PATHS.bitmap, at: 17, bit: 4 }],
      steps: ['damage: {on: server1, file: bitmap, at: 17B, length: 1}'],
    },
    {
      title: 'of the state, on a disk that is faulty',
      after: [leg('full', null), { do: 'stop', node: one }],
      actions: [{ do: 'damage', node: one, path: PATHS.state, at: 0, bit: 1 }],
      steps: ['diskok: server1', 'damage: {on: server1, file: state, at: 0B, length: 1}'],
    },
    { title: 'of a node that is up', actions: [{ do: 'damage', node: one, path: PATHS.state, at: 0, bit: 1 }], steps: [] },
    {
      title: 'of a file that it can not name',
      after: [{ do: 'crash', node: one }],
      actions: [{ do: 'damage', node: one, path: '/var/other', at: 0, bit: 1 }],
      steps: undefined,
    },
  ],
  snapshot: [
    {
      title: 'as an operator says it',
      atOnce: true,
      actions: [
        { do: 'snapshot', node: one, name: 's1', spaceBytes: 4096 },
        { do: 'snapshot', node: one, name: 's1', spaceBytes: null },
      ],
      steps: ['{run: "netraid snapshot create mirror s1 --space 4096", on: server1}', '{run: "netraid snapshot delete mirror s1", on: server1}'],
    },
  ],
  command: [
    { title: 'to a node that is down', after: [{ do: 'crash', node: one }], actions: [command('pause', one)], steps: [] },
    {
      title: 'to a node that stands still',
      after: [freeze],
      actions: [command('in-service', two), { do: 'thaw', node: two }],
      steps: ['thaw: server2', '{run: "netraid in-service mirror --yes", on: server2}'],
    },
    {
      title: 'to a node that is lost before it goes on',
      after: [freeze],
      actions: [command('pause', two), { do: 'crash', node: two }],
      steps: ['crash: server2'],
    },
  ],
};

const commands: Record<Command, [Action, string][]> = {
  pause: [
    [command('pause', one), 'mirror_action mirror pause'],
    [command('pause', one, two), 'mirror_action mirror pause server2'],
  ],
  resume: [[command('resume', one), 'mirror_action mirror resume']],
  fullresync: [
    [command('fullresync', one), 'mirror_action mirror fullresync --yes'],
    [command('fullresync', one, three), 'mirror_action mirror fullresync server3 --yes'],
  ],
  'out-of-service': [[command('out-of-service', one), 'netraid out-of-service mirror']],
  'in-service': [[command('in-service', one), 'netraid in-service mirror --yes']],
  switchover: [[command('switchover', one, two), 'netraid switchover mirror server2 --yes']],
  force: [[command('force', one), 'mirror_action mirror force server1 --yes --without-last-owner']],
};

/** The whole file; undefined: no words. */
function fileOf(actions: readonly Action[], apartMs: number): string | undefined {
  const timed = actions.map((action, i) => ({ at: 500 + i * apartMs, action }));
  const scenario = scenarioOf(plan, { actions: timed, endAt: 0 }, 'M2: x');
  if (!('unsaid' in scenario)) return scenario.text();
  expect(scenario.unsaid).toContain(JSON.stringify(actions.at(-1)));
  return undefined;
}

function stepsOf(actions: readonly Action[], apartMs: number): string[] | undefined {
  const lines = fileOf(actions, apartMs)?.split('\n');
  return lines?.slice(lines.indexOf('steps:') + 1).flatMap((l) => (l.startsWith('  - ') ? [l.slice(4)] : []));
}

function parsed(file: string): Step[] {
  return parseScenario(file, 'shrunk.yaml').steps.map((s) => s.action);
}

/** Its steps without those of the beginning and the end; waits at the seams left out. */
function middle({ after = [], actions, atOnce }: Case): string[] | undefined {
  const apartMs = atOnce === true ? 0 : 20;
  const all = stepsOf([...after, ...actions], apartMs);
  const before = stepsOf(after, apartMs);
  if (all === undefined || before === undefined) return undefined;
  const begun = before.slice(0, before.indexOf('heal: all', after.some((a) => a.do === 'heal-all') ? before.indexOf('heal: all') + 1 : 0));
  while (begun.at(-1)?.startsWith('wait: ') === true) begun.pop();
  expect(all.slice(0, begun.length)).toEqual(begun);
  const said = all.slice(begun.length, all.lastIndexOf('heal: all'));
  while (said[0]?.startsWith('wait: ') === true) said.shift();
  while (said.at(-1)?.startsWith('wait: ') === true) said.pop();
  return said;
}

describe.each(Object.entries(cases))('%s, in the language of scenarios', (_do, some) => {
  it.each(some.map((c) => [c.title, c] as const))('%s', (_title, c) => {
    expect(middle(c)).toEqual(c.steps);
    if (c.steps === undefined) return;
    const [all, apartMs] = [[...(c.after ?? []), ...c.actions], c.atOnce === true ? 0 : 20];
    expect(parsed(fileOf(all, apartMs) ?? '').map(wordOf)).toEqual(stepsOf(all, apartMs)?.map((l) => /^\{?([a-z]+):/.exec(l)?.[1]));
  });
});

describe.each(Object.entries(commands))('%s', (_name, some) => {
  it.each(some)('%j is a command line', (action, line) => {
    expect(parsed(fileOf([action], 0) ?? '')).toContainEqual({ kind: 'run', argv: line.split(' '), on: one, exit: 0, prints: null });
  });
});

it('says at the end what an operator left undone', () => {
  const known = stepsOf([command('pause', one, two), command('out-of-service', one)], 20) ?? [];
  expect(known.filter((l) => l.startsWith('{run:')).slice(2, 4)).toEqual([
    '{run: "netraid in-service mirror --yes", on: server1}',
    '{run: "mirror_action mirror resume"}',
  ]);
  const done = stepsOf([command('pause', one, two), command('resume', one), command('out-of-service', one), command('force', one)], 20) ?? [];
  expect(done.filter((l) => l.startsWith('{run:'))).toHaveLength(5);
});

it('repairs, starts and heals whatever is left, and asks for acknowledged writes only where none may be lost', () => {
  const some: Action[] = [leg('write', null), freeze, { do: 'crash', node: three }];
  const known = stepsOf(some, 20) ?? [];
  expect(known.slice(known.indexOf('heal: all'), -1).slice(0, 5)).toEqual([
    'heal: all',
    'diskok: server1',
    'thaw: server2',
    'up: [server3]',
    'wait: 50ms',
  ]);
  expect(known.at(-1)).toBe('acknowledged: server1');
  expect(stepsOf([...some, command('force', one)], 20)?.at(-1)).toBe('identical: [server1, server2, server3]');
});
