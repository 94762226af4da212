import { expect, it } from 'vitest';
import { forPeople, forPrograms, junit, type Outcome } from '../../../src/scenario/report.ts';

const good: Outcome = { file: 'a.yaml', scenario: 'one <two> & "three"', world: 'simulated', seed: 7, steps: 3, seconds: 1.25, failure: null };
const bad: Outcome = {
  ...good,
  file: 'b.yaml',
  world: 'process',
  seed: null,
  failure: {
    step: 2,
    line: 9,
    action: 'expect',
    message: "server1.inService: expected true, last seen 'false'\u0001",
    differences: [{ field: 'server1.inService', expected: 'true', seen: 'false' }],
    log: { server1: ['a ]]> line'] },
  },
};

it('tells people of a success in one line, and of a failure with file, line, step and both values', () => {
  expect(forPeople(good)).toEqual(['ok    a.yaml: one <two> & "three" (simulated, seed 7, 3 steps, 1.3 s)']);
  expect(forPeople(bad)[1]).toContain("b.yaml:9: step 2 (expect): server1.inService: expected true, last seen 'false'");
});

it('indents what is said of a failure in several lines', () => {
  const failure = { step: 2, line: 9, action: 'run', message: 'exit: expected 1, last seen 0; it printed:\nx\n  y', differences: [], log: {} };
  expect(forPeople({ ...good, failure }).slice(1)).toEqual([
    '      a.yaml:9: step 2 (run): exit: expected 1, last seen 0; it printed:',
    '        x',
    '          y',
  ]);
});

it('gives programs one object', () => {
  expect(JSON.parse(forPrograms(bad))).toMatchObject({
    ok: false,
    file: 'b.yaml',
    seed: null,
    failure: { step: 2, line: 9, differences: [{ expected: 'true' }] },
  });
  expect(JSON.parse(forPrograms(good))).toMatchObject({ ok: true, failure: null });
});

it('writes XML that is well formed whatever was said', () => {
  const text = junit([good, bad]);
  expect(text).toContain('<testsuites tests="2" failures="1" time="2.500">');
  expect(text).toContain('name="one &lt;two&gt; &amp; &quot;three&quot; (seed 7)" time="1.250"/>');
  expect(text).toContain('last seen &apos;false&apos;?');
  expect(text).toContain('a ]]&gt; line');
  expect(text).not.toContain('\u0001');
});
