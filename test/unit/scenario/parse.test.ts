import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ScenarioSyntaxError } from '../../../src/scenario/errors.ts';
import { parseScenario } from '../../../src/scenario/parse.ts';

const folder = path.join(import.meta.dirname, '../../scenarios/files');

function text(steps: string, mirror = ''): string {
  return `scenario: x\nmirror:\n  tag: t\n  size: 64MiB\n${mirror}  nodes: {a: 1, b: 2, c: 3}\nsteps:\n${steps}`;
}

/** The message; empty when it is a scenario. */
function refusal(source: string): string {
  try {
    parseScenario(source, 'f.yaml');
    return '';
  } catch (e: unknown) {
    if (e instanceof ScenarioSyntaxError) return e.message;
    throw e;
  }
}

const action = (step: string) => parseScenario(text(`  - up: a\n  - ${step}`), 'f.yaml').steps[1]?.action;

describe('a scenario file', () => {
  it.each(readdirSync(folder))('%s is one', (name) => {
    const s = parseScenario(readFileSync(path.join(folder, name), 'utf8'), name);
    expect(s.steps[0]?.action.kind).toBe('up');
    expect(s.steps.map((x) => x.number)).toEqual(s.steps.map((_, i) => i + 1));
  });

  it('gives the mirror with what is left out filled in', () => {
    expect(parseScenario(text('  - up: a'), 'f.yaml').mirror).toEqual({
      tag: 't',
      sizeBytes: 64 << 20,
      regionBytes: null,
      async: [],
      nodes: [
        { name: 'a', priority: 1 },
        { name: 'b', priority: 2 },
        { name: 'c', priority: 3 },
      ],
      settings: {},
      failureTimeoutMs: 2000,
      arbiter: 'none',
      failover: 'auto',
    });
  });

  it('keeps the order of nodes, also of those whose names are digits, and the lines of steps', () => {
    const s = parseScenario('scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {9: 1, 1: 2}}\nsteps:\n  - up: 9\n\n  - wait: 1s', 'f.yaml');
    expect(s.mirror.nodes.map((n) => n.name)).toEqual(['9', '1']);
    expect(s.steps.map((x) => x.line)).toEqual([4, 6]);
  });
});

describe('a step', () => {
  it.each([
    ['up: b', { kind: 'up', nodes: ['b'] }],
    ['up: [a, b]', { kind: 'up', nodes: ['a', 'b'] }],
    ['down: a', { kind: 'down', node: 'a' }],
    ['crash: [a]', { kind: 'crash', nodes: ['a'] }],
    ['powerfail: a', { kind: 'powerfail', nodes: ['a'] }],
    ['freeze: a', { kind: 'freeze', node: 'a' }],
    ['thaw: a', { kind: 'thaw', node: 'a' }],
    ['cut: [a, b]', { kind: 'cut', from: 'a', to: 'b', bothWays: true }],
    ['cut: {from: a, to: b}', { kind: 'cut', from: 'a', to: 'b', bothWays: false }],
    ['heal: [a, b]', { kind: 'heal', link: ['a', 'b'] }],
    ['heal: all', { kind: 'heal', link: null }],
    ['slow: {link: [a, b], rate: 4MiB, delay: 20ms}', { kind: 'slow', link: ['a', 'b'], rateBytesPerSec: 4 << 20, delayMs: 20 }],
    ['slow: {link: [a, b], delay: 1s}', { kind: 'slow', link: ['a', 'b'], rateBytesPerSec: null, delayMs: 1000 }],
    [
      'write: {at: 4MiB, length: 1MiB, seed: 7}',
      { kind: 'write', at: 4 << 20, length: 1 << 20, seed: 7, on: null, withinMs: 10_000, flush: true, fails: false },
    ],
    [
      'write: {at: 0, length: 16, seed: zero, on: b, within: 1s, flush: false, fails: true}',
      { kind: 'write', at: 0, length: 16, seed: 'zero', on: 'b', withinMs: 1000, flush: false, fails: true },
    ],
    ['read: {at: 0, length: 4KiB, seed: zero, on: c}', { kind: 'read', at: 0, length: 4096, seed: 'zero', on: 'c', withinMs: 10_000 }],
    ['leg: {on: b, at: 0, length: 4KiB, seed: 1}', { kind: 'leg', on: 'b', at: 0, length: 4096, seed: 1 }],
    [
      'load: {name: L, seed: 3, writes: 1000, length: 4KiB..64KiB, range: 0MiB..32MiB}',
      { kind: 'load', name: 'L', seed: 3, writes: 1000, length: { from: 4096, to: 65536 }, range: { from: 0, to: 32 << 20 }, on: null },
    ],
    [
      'load: {name: L, seed: 3, writes: 1, length: 4KiB, on: b}',
      { kind: 'load', name: 'L', seed: 3, writes: 1, length: { from: 4096, to: 4096 }, range: { from: 0, to: 64 << 20 }, on: 'b' },
    ],
    ['acknowledged: b', { kind: 'acknowledged', node: 'b' }],
    ['run: "mirror_action t pause"', { kind: 'run', argv: ['mirror_action', 't', 'pause'], on: null, exit: 0, prints: null }],
    ['{run: netraid status, on: a, exit: 3, prints: "^x"}', { kind: 'run', argv: ['netraid', 'status'], on: 'a', exit: 3, prints: /^x/m }],
    ['damage: {on: a, file: bitmap, at: 4KiB, length: 16}', { kind: 'damage', on: 'a', file: 'bitmap', at: 4096, length: 16 }],
    ['remove: {on: a, file: last_owner}', { kind: 'remove', on: 'a', file: 'last_owner' }],
    ['diskfull: b', { kind: 'fault', node: 'b', fault: 'full', word: 'diskfull' }],
    ['diskerror: {on: b, op: sync}', { kind: 'fault', node: 'b', fault: 'error sync', word: 'diskerror' }],
    ['diskok: b', { kind: 'fault', node: 'b', fault: null, word: 'diskok' }],
    ['wait: 500ms', { kind: 'wait', ms: 500 }],
    ['identical: [a, b, c]', { kind: 'identical', nodes: ['a', 'b', 'c'] }],
    [
      'resynced: {target: b, kind: partial, bytes: "<= 2MiB", sent: "> 0B"}',
      { kind: 'resynced', target: 'b', type: 'partial', bytes: { operator: '<=', bytes: 2 << 20 }, sent: { operator: '>', bytes: 0 } },
    ],
    [
      'expect: {within: 1s, for: 2s, a: {inService: true, source: none, sees: {b: Out of Sync (Wait for Previous Source)}, dirty: {b: "== 0B"}}, b: {state: Target}}',
      {
        kind: 'expect',
        withinMs: 1000,
        forMs: 2000,
        nodes: {
          a: { inService: true, source: null, sees: { b: 'Out of Sync (Wait for Previous Source)' }, dirty: { b: { operator: '==', bytes: 0 } } },
          b: { state: 'Target' },
        },
      },
    ],
    [
      'expect: {a: {up: false, last_owner: true, data_corrupt: false, source: b, rule: takeover}}',
      {
        kind: 'expect',
        withinMs: 10_000,
        forMs: 0,
        nodes: { a: { up: false, last_owner: true, data_corrupt: false, source: 'b', rule: 'takeover' } },
      },
    ],
  ])('%s', (step, expected) => {
    expect(action(step)).toEqual(expected);
  });

  it('endload ends a load that was begun, whose name may then be used again', () => {
    const load = '  - load: {name: L, seed: 1, writes: 1, length: 4KiB}\n';
    expect(refusal(text(`  - up: a\n${load}  - endload: L\n${load}`))).toBe('');
  });
});

describe('what is no scenario is refused with file, line, field and what is allowed', () => {
  it.each([
    ['', 'f.yaml:1: the file is empty; allowed: fields with values, scenario, mirror, steps'],
    ['# a comment', 'f.yaml:1: the file is empty; allowed: fields with values, scenario, mirror, steps'],
    ['~', 'f.yaml:1: null is no scenario; allowed: fields with values, scenario, mirror, steps'],
    ['- up: a', 'f.yaml:1: [{"up":"a"}] is no scenario; allowed: fields with values'],
    [text('  - up: &n [a, b]\n  - identical: *m'), 'f.yaml:8: steps[2].identical: *m stands for nothing: there is no &m before it; allowed: *n'],
    ['scenario: x\nmirror: [', 'f.yaml:2: '],
    ['scenario: x\nfoo: 1', 'f.yaml:2: foo: is not known; allowed: scenario, mirror, steps'],
    ['mirror: {}', 'f.yaml:1: scenario: is missing; allowed: one line of text'],
    ['scenario: x', 'f.yaml:1: mirror: is missing'],
    ['scenario: x\nmirror: 3', 'f.yaml:2: mirror: 3 is not allowed; allowed: {tag, size'],
    ['scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {a: 1}}', 'f.yaml:1: steps: is missing; allowed: a list'],
    ['scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {a: 1}}\nsteps: []', 'f.yaml:3: steps: [] is not allowed'],
    ['scenario: x\nmirror: {tag: .., size: 4KiB, nodes: {a: 1}}', 'f.yaml:2: mirror.tag: ".." is not allowed; allowed: 1 to 64'],
    ['scenario: x\nmirror: {tag: t, size: 64MB, nodes: {a: 1}}', 'f.yaml:2: mirror.size: "64MB" is not allowed; allowed: a number of bytes'],
    ['scenario: x\nmirror: {tag: t, nodes: {a: 1}}', 'f.yaml:2: mirror.size: is missing'],
    ['scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {a: 1, within: 2}}', 'f.yaml:2: mirror.nodes.within: is a word of the language'],
    ['scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {a: 1, ../x: 2}}', 'f.yaml:2: mirror.nodes.../x: is no name of a node'],
    ['scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {a: 1, b: 1}}', 'f.yaml:2: mirror.nodes.b: 1 is the priority of a too'],
    ['scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {a: one}}', 'f.yaml:2: mirror.nodes.a: "one" is not allowed; allowed: a whole number'],
    ['scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {}}', 'f.yaml:2: mirror.nodes: {} is not allowed'],
    ['scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {a: 1}, async: [a]}', 'f.yaml:2: mirror.async: there are no targets'],
    [
      'scenario: x\nmirror: {tag: t, size: 4KiB, nodes: {n0: 0, n1: 1, n2: 2, n3: 3, n4: 4, n5: 5, n6: 6, n7: 7, n8: 8}}',
      'f.yaml:2: mirror.nodes: 9 are too many; allowed: at most 8',
    ],
    [text('  - up: a', '  async: [a]\n'), 'f.yaml:5: mirror.async: "a" in ["a"] is not known; allowed: a list of at least 0 of b, c'],
    [text('  - up: a', '  region: 3KiB\n'), 'f.yaml:5: mirror.region: "3KiB" is not allowed; allowed: a power of two'],
    [text('  - up: a', '  failureTimeout: 2\n'), 'f.yaml:5: mirror.failureTimeout: 2 is not allowed; allowed: a number with ms'],
    [text('  - up: a', '  failover: maybe\n'), 'f.yaml:5: mirror.failover: "maybe" is not allowed; allowed: auto, off, confirm'],
    [text('  - up: a', '  arbiter: etcd\n'), 'f.yaml:5: mirror.arbiter: "etcd" is not allowed; allowed: none, majority'],
    [text('  - up: a', '  settings: {LKDR_FOO: 1}\n'), 'f.yaml:5: mirror.settings.LKDR_FOO: is not known; allowed: LKDR_CHUNK_SIZE'],
    [
      text('  - up: a', '  settings: {LKDR_CHUNK_SIZE: 3}\n'),
      'f.yaml:5: mirror.settings.LKDR_CHUNK_SIZE: "3" is not allowed; allowed: a power of two',
    ],
    [text('  - up: a', '  settings: {LKDR_CHUNK_SIZE: [3]}\n'), 'f.yaml:5: mirror.settings.LKDR_CHUNK_SIZE: [3] is not allowed; allowed: one value'],
    [text('  - up: b'), 'f.yaml:7: steps[1].up: the first up makes the mirror; allowed: a, alone or among others'],
    [text('  - up: [a, x]'), 'f.yaml:7: steps[1].up: "x" in ["a","x"] is not known; allowed: one of a, b, c, or a list of them'],
    [text('  - up: [a, a]'), 'f.yaml:7: steps[1].up: "a" stands in ["a","a"] twice; allowed: one of a, b, c, or a list of them, each once'],
    [text('  - up: a\n  - cut: [a, x]'), 'f.yaml:8: steps[2].cut: "x" in ["a","x"] is not known; allowed: [NODE, NODE], two of a, b, c'],
    [text('  - up: a\n  - heal: [a, x]'), 'f.yaml:8: steps[2].heal: "x" in ["a","x"] is not known; allowed: all, or [NODE, NODE]'],
    [text('  - up: a\n  - identical: [a, x]'), 'f.yaml:8: steps[2].identical: "x" in ["a","x"] is not known; allowed: a list'],
    [text('  - up:'), 'f.yaml:7: steps[1].up: null is not allowed'],
    [text('  - 3'), 'f.yaml:7: steps[1]: 3 is no step; allowed: one of up, down'],
    [text('  - up: a\n  - wirte: 3'), 'f.yaml:8: steps[2].wirte: is not known; allowed: up, down, crash'],
    [text('  - up: a\n    down: b'), 'f.yaml:8: steps[1].down: does not belong beside up; allowed: nothing else in this step'],
    [
      text('  - up: a\n  - expect: {a: {up: true}}\n    within: 3s'),
      'f.yaml:9: steps[2].within: belongs inside the braces of expect, not beside it; allowed: expect: {…, within: …}, or a line indented deeper than expect',
    ],
    [text('  - up: a\n  - expect:\n    a: {up: true}'), 'f.yaml:9: steps[2].a: belongs inside the braces of expect, not beside it'],
    [text('  - up: a\n  - write: {at: 0, length: 4KiB, seed: 1}\n    on: a'), 'f.yaml:9: steps[2].on: belongs inside the braces of write'],
    [text('  - up: a\n  - {on: a, damage: {file: bitmap}}'), 'f.yaml:8: steps[2].on: belongs inside the braces of damage'],
    [text('  - up: a\n  - cut:\n    from: a'), 'f.yaml:9: steps[2].from: belongs inside the braces of cut'],
    [
      text('  - up: a\n  - write: {at: 0, length: 4KiB, seed: 1}\n    foo: a'),
      'f.yaml:9: steps[2].foo: does not belong beside write; allowed: nothing',
    ],
    [text('  - up: a\n  - run: x\n    foo: 1'), 'f.yaml:9: steps[2].foo: does not belong beside run; allowed: on, exit, prints'],
    [text('  - up: a\n  - run: "x \'y"'), 'f.yaml:8: steps[2].run: "x \'y" is not allowed; allowed: a command'],
    [text('  - up: a\n  - {run: x, prints: "("}'), 'f.yaml:8: steps[2].prints: "(" is not allowed; allowed: a regular expression'],
    [text('  - up: a\n  - write: {at: 0, length: 1MiB}'), 'f.yaml:8: steps[2].write.seed: is missing; allowed: a whole number'],
    [text('  - up: a\n  - write:\n      at: 0\n      lenght: 1'), 'f.yaml:8: steps[2].write.length: is missing'],
    [
      text('  - up: a\n  - write: {at: 0, length: 1, seed: 1, foo: 1}'),
      'f.yaml:8: steps[2].write.foo: is not known; allowed: at, length, seed, on, within, flush, fails',
    ],
    [
      text('  - up: a\n  - write: {at: 63MiB, length: 2MiB, seed: 1}'),
      'f.yaml:8: steps[2].write.length: ends beyond the device of 67108864 bytes; allowed: at most 1048576 bytes there',
    ],
    [
      text('  - up: a\n  - load: {name: L, seed: 1, writes: 1, length: 1KiB}'),
      'f.yaml:8: steps[2].load.length: "1KiB" is not allowed; allowed: SIZE..SIZE in multiples of 4096',
    ],
    [text('  - up: a\n  - load: {name: L, seed: 1, writes: 1, length: 0..4KiB}'), 'f.yaml:8: steps[2].load.length: a write of nothing'],
    [
      text('  - up: a\n  - load: {name: L, seed: 1, writes: 1, length: 8KiB, range: 0..4KiB}'),
      'f.yaml:8: steps[2].load.range: has room for 4096 bytes',
    ],
    [text('  - up: a\n  - endload: L'), 'f.yaml:8: steps[2].endload: no load "L" runs there; allowed: none'],
    [text('  - up: a\n  - expect: {within: 10s}'), 'f.yaml:8: steps[2].expect: expects nothing; allowed: facts of at least one of a, b, c'],
    [text('  - up: a\n  - expect: {a: {}}'), 'f.yaml:8: steps[2].expect.a: expects nothing of the node; allowed: at least one fact'],
    [text('  - up: a\n  - cut: [a]'), 'f.yaml:8: steps[2].cut: ["a"] is not allowed; allowed: [NODE, NODE]'],
    [text('  - up: a\n  - cut: {from: a, to: a}'), 'f.yaml:8: steps[2].cut.to: "a" is where it begins'],
    [text('  - up: a\n  - cut: {from: a, too: b}'), 'f.yaml:8: steps[2].cut.to: is missing'],
    [text('  - up: a\n  - heal: a'), 'f.yaml:8: steps[2].heal: "a" is not allowed; allowed: all, or [NODE, NODE]'],
    [text('  - up: a\n  - slow: {link: [a, b]}'), 'f.yaml:8: steps[2].slow: slows nothing; allowed: rate, delay or both'],
    [text('  - up: a\n  - wait: 5'), 'f.yaml:8: steps[2].wait: 5 is not allowed; allowed: a number with ms, s, m or h'],
    [text('  - up: a\n  - identical: [a]'), 'f.yaml:8: steps[2].identical: ["a"] is not allowed; allowed: a list of at least 2 of a, b, c'],
    [text('  - up: a\n  - damage: {on: a, file: source}'), 'f.yaml:8: steps[2].damage.file: "source" is not allowed; allowed: bitmap, state, leg'],
    [text('  - up: a\n  - remove: {on: a, file: leg}'), 'f.yaml:8: steps[2].remove.file: "leg" is not allowed; allowed: bitmap, state, last_owner'],
    [text('  - up: a\n  - diskerror: {on: a, op: seek}'), 'f.yaml:8: steps[2].diskerror.op: "seek" is not allowed; allowed: read, write, sync'],
    [
      text('  - up: a\n  - resynced: {target: b, bytes: 2MiB}'),
      'f.yaml:8: steps[2].resynced.bytes: "2MiB" is not allowed; allowed: <, <=, >, >= or == and a size',
    ],
    [text('  - up: a\n  - expect: {d: {up: true}}'), 'f.yaml:8: steps[2].expect.d: is not known; allowed: within, for, a, b, c'],
    [text('  - up: a\n  - expect:\n      a:\n        sate: Target'), 'f.yaml:10: steps[2].expect.a.sate: is not known; allowed: up, inService'],
    [text('  - up: a\n  - expect: {a: {state: target}}'), 'f.yaml:8: steps[2].expect.a.state: "target" is not allowed; allowed: Source, Target'],
    [
      text('  - up: a\n  - expect:\n      a:\n        sees:\n          d: Target'),
      'f.yaml:11: steps[2].expect.a.sees.d: is not known; allowed: a, b, c',
    ],
    [
      text('  - up: a\n  - expect: {a: {sees: {b: Source}}}'),
      'f.yaml:8: steps[2].expect.a.sees.b: "Source" is not allowed; allowed: Target, Resyncing',
    ],
    [
      text('  - up: a\n  - expect: {a: {inService: yes please}}'),
      'f.yaml:8: steps[2].expect.a.inService: "yes please" is not allowed; allowed: true or false',
    ],
    [text('  - up: a\n  - expect: {a: {rule: luck}}'), 'f.yaml:8: steps[2].expect.a.rule: "luck" is not allowed; allowed: split-brain, superseded'],
    [text('  - up: a\n  - expect: {a: {source: d}}'), 'f.yaml:8: steps[2].expect.a.source: "d" is not allowed; allowed: one of a, b, c, or none'],
  ])('%j', (source, message) => {
    expect(refusal(source)).toContain(message);
  });
});
