import { describe, expect, it } from 'vitest';
import { failureOf } from '../../support/scenarios.ts';

const up = 'up: [a, b]';

describe('a step that does not hold', () => {
  it('ends the scenario there, with its number, line, word, and both values', async () => {
    const failure = await failureOf([up, 'wait: 1ms', 'expect: {within: 200ms, a: {inService: false}, b: {state: Target, source: b}}', 'wait: 1ms']);
    expect(failure).toMatchObject({ step: 3, line: 11, action: 'expect' });
    expect(failure?.differences).toEqual([
      { field: 'a.inService', expected: 'false', seen: 'true' },
      { field: 'b.source', expected: 'b', seen: 'a' },
    ]);
    expect(failure?.message).toContain('a.inService: expected false, last seen true');
  });

  it.each([
    [
      'wrong bytes on the device',
      [up, 'write: {at: 0, length: 4KiB, seed: 1}', 'read: {at: 0, length: 4KiB, seed: 2}'],
      'does not hold the bytes of seed 2',
    ],
    ['zeroes that are none', [up, 'write: {at: 0, length: 4KiB, seed: 1}', 'read: {at: 0, length: 4KiB, seed: zero}'], 'bytes of zeroes'],
    ['wrong bytes on a leg', [up, 'leg: {on: b, at: 0, length: 4KiB, seed: 2}'], 'the leg of b does not hold'],
    ['a write that must fail and does not', [up, 'write: {at: 0, length: 4KiB, seed: 1, fails: true}'], 'answered with success'],
    [
      'a write that must fail, with nobody to answer',
      [up, 'crash: [a, b]', 'write: {at: 0, length: 4KiB, seed: 1, fails: true, within: 1s}'],
      'nobody to answer',
    ],
    [
      'a write without a node in service',
      [up, 'crash: [a, b]', 'write: {at: 0, length: 4KiB, seed: 1, within: 1s}'],
      'no node is in service within 1000 ms',
    ],
    ['a write on a node out of service', [up, 'write: {at: 0, length: 4KiB, seed: 1, on: b, within: 1s}'], 'b is not in service'],
    ['legs that differ', [up, 'crash: b', 'write: {at: 1MiB, length: 4KiB, seed: 1}', 'identical: [a, b]'], 'a difference at byte 1048576'],
    ['a resync that was none', [up, 'resynced: {target: b, kind: full}'], 'a finished resync to b'],
    ['a command that is refused', [up, 'run: "mirror_action t nonsense"'], 'exit: expected 0, last seen 2'],
    ['a command that prints something else', [up, '{run: "mirror_status t", prints: "^nonsense$"}'], 'prints: expected /^nonsense$/'],
    ['a file that is absent', [up, 'remove: {on: a, file: data_corrupt}'], 'does not exist'],
    ['damage of a node that runs', [up, 'damage: {on: a, file: state}'], 'only files of a stopped node'],
    ['damage beyond the end', [up, 'crash: a', 'damage: {on: a, file: leg, at: 4MiB, length: 1}'], 'ends before what is to be damaged'],
    ['damage of what is absent', [up, 'crash: a', 'remove: {on: a, file: state}', 'damage: {on: a, file: state}'], 'does not exist'],
    ['starting what runs', [up, 'up: a'], 'a is up already'],
    ['stopping what does not run', [up, 'crash: a', 'down: a'], 'a is down'],
    ['crashing what does not run', [up, 'crash: a', 'crash: a'], 'a is down already'],
    ['thawing what is not frozen', [up, 'thaw: a'], 'a is up, not frozen'],
    ['freezing what does not run', [up, 'crash: a', 'freeze: a'], 'a is down'],
  ])('tells of %s', async (_what, steps, message) => {
    const failure = await failureOf(steps);
    expect(failure?.message).toContain(message);
    expect(failure?.step).toBe(steps.length);
  });

  it('tells of a leg that lost what was acknowledged, and by which seed', async () => {
    const failure = await failureOf([
      up,
      'write: {at: 8KiB, length: 4KiB, seed: 1}',
      'crash: [a, b]',
      'damage: {on: b, file: leg, at: 9KiB, length: 1}',
      'acknowledged: a',
      'acknowledged: b',
    ]);
    expect(failure).toMatchObject({ step: 6, action: 'acknowledged' });
    expect(failure?.differences).toMatchObject([{ field: 'bytes at 9216', expected: 'seed 1' }]);
  });

  it('brings what the daemons said last', async () => {
    const failure = await failureOf([up, 'expect: {within: 1ms, a: {up: false}}']);
    expect(failure?.log['a']?.join('\n')).toContain('in service');
  });
});

it('tells of a command that fails what it printed, once and as it is', async () => {
  const failure = await failureOf([up, '{run: "mirror_status t", exit: 1, prints: "^nonsense$"}']);
  expect(failure?.message).toMatch(/^on a; exit: expected 1, last seen 0; prints: expected .*, last seen nothing like it; it printed:\n\[/);
  expect(failure?.message.split('Status: Target')).toHaveLength(2);
});

it.each([
  ['bitmap', 'the bitmap file is damaged: a full resync follows'],
  ['state', 'state record is damaged'],
])('damage of a %s file beyond its end strikes its last bytes, which the product says aloud', async (file, said) => {
  const failure = await failureOf([
    up,
    'down: a',
    `damage: {on: a, file: ${file}, at: 4KiB, length: 16}`,
    'up: a',
    'expect: {within: 1s, a: {up: false}}',
  ]);
  expect(failure?.log['a']?.join('\n')).toContain(said);
});

describe('expect', () => {
  it('needs all facts at one moment', async () => {
    const failure = await failureOf([up, 'freeze: a', 'expect: {within: 1s, b: {inService: true}, a: {up: true, inService: true}}']);
    expect(failure?.message).toContain('a.inService');
  });

  it('goes on looking until they have held for long enough', async () => {
    expect(await failureOf([up, 'crash: a', 'expect: {for: 3s, within: 5s, b: {inService: true}}'])).toBeNull();
    const failure = await failureOf([up, 'crash: a', 'expect: {for: 5s, within: 3s, b: {inService: false}}']);
    expect(failure?.message).toMatch(
      /^held from \d+ ms to \d+ ms, and had to for 5000 ms; broken when seen at \d+ ms: b\.inService true; b\.inService: expected false, last seen true$/,
    );
  });

  it('sees the flag files and the process of a node that is down', async () => {
    expect(
      await failureOf([up, 'crash: a', 'expect: {a: {up: false, inService: false, last_owner: true, data_corrupt: false, source: a}}']),
    ).toBeNull();
  });
});

describe('the first up', () => {
  it('makes the mirror as the file says, in sync and empty', async () => {
    const mirror = [
      'nodes: {a: 1, b: 7, c: 3}',
      'async: [c]',
      'arbiter: majority',
      'failover: confirm',
      'settings: {LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT: 5}',
    ];
    const steps = [
      'up: [c, a, b]',
      'expect: {within: 0ms, a: {inService: true, last_owner: true, source: a, state: Source, sees: {b: Target, c: Target}}, b: {state: Target}, c: {state: Target}}',
      '{run: "netraid status t --json", prints: "\\"priority\\": 7"}',
      '{run: "netraid status t --json", prints: "\\"mode\\": \\"async\\""}',
      '{run: "netraid status t --json", prints: "\\"failover\\": \\"confirm\\""}',
      '{run: "netraid status t --json", prints: "\\"regionBytes\\": 65536"}',
      '{run: "netraid status t --json", prints: "\\"failureTimeoutMs\\": 500"}',
      'read: {at: 0, length: 4MiB, seed: zero}',
      'identical: [a, b, c]',
    ];
    expect(await failureOf(steps, mirror)).toBeNull();
  });

  it('leaves the others to later ones, which wait for nothing', async () => {
    const steps = [
      'up: a',
      'write: {at: 0, length: 64KiB, seed: 1}',
      'up: b',
      'expect: {a: {sees: {b: Target}}, b: {state: Target}}',
      'identical: [a, b]',
    ];
    expect(await failureOf(steps)).toBeNull();
  });
});

it('runs a command on the node that is named, with its exit code and what it printed, errors included', async () => {
  const steps = [
    up,
    '{run: "mirror_status t", on: a, prints: "a -> b"}',
    '{run: "netraid extend t b /x --yes", on: b, exit: 1, prints: "not in service on b"}',
  ];
  expect(await failureOf(steps)).toBeNull();
});

it('runs a command also on a node that is down or frozen: what needs no daemon works, what does says so with exit code 3', async () => {
  const steps = [
    up,
    'down: b',
    '{run: "netraid --version", on: b}',
    '{run: "bitmap /var/lib/netraid/bitmap_t", on: b, prints: "t"}',
    '{run: "mirror_status t", on: b, exit: 3, prints: "not running on b"}',
    'freeze: a',
    '{run: "mirror_status t", on: a, exit: 3, prints: "a is frozen"}',
  ];
  expect(await failureOf(steps)).toBeNull();
});

it('lets the faults of a leg hold until diskok, all of them', async () => {
  const steps = [
    up,
    'down: b',
    'diskerror: {on: a, op: write}',
    'diskerror: {on: a, op: sync}',
    'diskerror: {on: a, op: read}',
    'write: {at: 0, length: 4KiB, seed: 1, flush: false, fails: true}',
    'diskok: a',
    'write: {at: 0, length: 4KiB, seed: 1}',
    'read: {at: 0, length: 4KiB, seed: 1}',
  ];
  expect(await failureOf(steps)).toBeNull();
});

it('begins a load of the same name again when the first one is done, and not before', async () => {
  const load = 'load: {name: l, seed: 1, writes: 20, length: 4KiB}';
  expect(await failureOf([up, load, 'wait: 5s', load, 'endload: l', 'acknowledged: a'])).toBeNull();
  expect(await failureOf([up, load, load])).toMatchObject({ step: 3, message: expect.stringContaining('runs already') as string });
});

it('is the same history for the same seed, and another for another', async () => {
  const steps = [
    up,
    'load: {name: l, seed: 1, writes: 50, length: 4KiB..16KiB}',
    'wait: 100ms',
    'crash: a',
    'expect: {within: 1ms, b: {inService: true}}',
  ];
  const [one, again, other] = [await failureOf(steps, [], 3), await failureOf(steps, [], 3), await failureOf(steps, [], 4)];
  expect(one).not.toBeNull();
  expect(again).toEqual(one);
  expect(other).not.toEqual(one);
});
