import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeFiles } from '../../../src/io/node/files.ts';
import { loadScenarios, runScenarios, type ScenarioOptions } from '../../../src/scenario/run.ts';
import { command } from '../../support/scenarios.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'netraid-run-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const head = 'scenario: a test\nmirror: {tag: t, size: 1MiB, nodes: {a: 1}}\nsteps:\n  - up: a\n';
const good = `${head}  - expect: {a: {inService: true}}\n`;
const bad = `${head}  - expect: {within: 0ms, a: {inService: false}}\n`;

function file(name: string, text: string): string {
  writeFileSync(path.join(folder, name), text);
  return path.join(folder, name);
}

async function run(paths: readonly string[], o: Partial<ScenarioOptions> = {}): Promise<{ exit: number; out: string[]; errors: string[] }> {
  const out: string[] = [];
  const errors: string[] = [];
  const exit = await runScenarios(paths, {
    world: 'simulated',
    files: nodeFiles,
    command,
    out: (l) => out.push(l),
    error: (l) => errors.push(l),
    ...o,
  });
  return { exit, out, errors };
}

describe('running scenarios', () => {
  it('exits with 0 when every step holds, one line for each scenario and seed', async () => {
    const { exit, out } = await run([file('a.yaml', good)], { seeds: [1, 2] });
    expect(exit).toBe(0);
    expect(out).toHaveLength(2);
    expect(out[1]).toMatch(/^ok {4}.*a\.yaml: a test \(simulated, seed 2, 2 steps/);
  });

  it('exits with 1 when one does not, and names file, step and both values', async () => {
    const { exit, out } = await run([file('a.yaml', bad), file('b.yaml', good)]);
    expect(exit).toBe(1);
    expect(out.join('\n')).toMatch(/a\.yaml:5: step 2 \(expect\): a\.inService: expected false, last seen true/);
    expect(out.at(-1)).toMatch(/^ok/);
  });

  it('exits with 2 when a file is no scenario, and runs none', async () => {
    const { exit, out, errors } = await run([file('a.yaml', good), file('b.yaml', 'scenario: 3'), path.join(folder, 'absent')]);
    expect(exit).toBe(2);
    expect(out).toEqual([]);
    expect(errors[0]).toMatch(/b\.yaml:1: scenario: 3 is not allowed; allowed: one line of text/);
    expect(errors[1]).toMatch(/absent: can't be read: /);
  });

  it('judges the others too when the YAML of one leads nowhere', async () => {
    const files = [file('a.yaml', `${good}  - up: *x\n`), file('b.yaml', `${good}  - ? [a]\n    : 1\n`), file('c.yaml', 'scenario: 3')];
    const { exit, errors } = await run(files);
    expect(exit).toBe(2);
    expect(errors.map((e) => e.replace(`${folder}/`, '').slice(0, 18))).toEqual(['a.yaml:6: steps[3]', 'b.yaml:6: steps[3]', 'c.yaml:1: scenario']);
  });

  it('says everything in JSON where that was asked for', async () => {
    const { out } = await run([file('a.yaml', bad)], { json: true, seeds: [4] });
    expect(out.map((l) => JSON.parse(l) as unknown)).toMatchObject([
      { ok: false, seed: 4, failure: { step: 2, line: 5, differences: [{ field: 'a.inService' }] } },
    ]);
    const refused = await run([file('b.yaml', 'x: 1')], { json: true });
    expect(refused.out.map((l) => JSON.parse(l) as unknown)).toMatchObject([{ ok: false, line: 1, field: 'x' }]);
  });

  it('writes what CI systems read', async () => {
    await run([file('a.yaml', bad), file('b.yaml', good)], { junit: path.join(folder, 'report.xml') });
    expect(readFileSync(path.join(folder, 'report.xml'), 'utf8')).toContain('<testsuites tests="2" failures="1"');
  });

  it('takes the scenarios of a folder, in order, and refuses one without any', async () => {
    file('b.yaml', good);
    file('a.yml', good);
    file('notes.txt', 'none');
    const { scenarios } = await loadScenarios([folder], nodeFiles);
    expect(scenarios.map((s) => path.basename(s.file))).toEqual(['a.yml', 'b.yaml']);
    const empty = mkdtempSync(path.join(folder, 'empty'));
    const { errors } = await loadScenarios([empty], nodeFiles);
    expect(errors[0]?.message).toContain('holds no scenario');
  });

  it('refuses what is not text', async () => {
    writeFileSync(path.join(folder, 'x.yaml'), Buffer.from([0xff, 0xfe, 0xfd]));
    const { errors } = await loadScenarios([path.join(folder, 'x.yaml')], nodeFiles);
    expect(errors[0]?.message).toContain('is not UTF-8 text');
  });
});
