import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseScenario } from '../../src/scenario/parse.ts';
import { failureLine } from '../../src/scenario/report.ts';
import { runSimulated } from '../../src/scenario/run.ts';
import { command } from '../support/scenarios.ts';

const folder = path.join(import.meta.dirname, '../scenarios/files');
const seeds = Array.from({ length: 10 }, (_, i) => i + 1);

describe.each(readdirSync(folder).filter((n) => n.endsWith('.yaml')))('%s in the simulated world', (name) => {
  it.each(seeds)('holds with seed %i', async (seed) => {
    const scenario = parseScenario(readFileSync(path.join(folder, name), 'utf8'), name);
    const { failure } = await runSimulated(scenario, seed, command);
    expect(failure === null ? '' : `${failureLine(name, failure)}\n${Object.values(failure.log).flat().join('\n')}`).toBe('');
  });
});
