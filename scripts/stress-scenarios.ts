/**
 * The documented scenarios with real daemons, one at a time: `stress-scenarios.ts ROUNDS SECONDS`, started by
 * scripts/stress-scenarios, which loads the machine meanwhile.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { commandLine } from '../src/cli/run.ts';
import { scenarioCommands } from '../src/cli/scenario-commands.ts';
import { parseScenario } from '../src/scenario/parse.ts';
import { failureLine } from '../src/scenario/report.ts';
import { runInProcesses } from '../src/scenario/world-process.ts';
import { documentedScenarios } from '../test/support/documented-scenarios.ts';

const folder = path.join(import.meta.dirname, '../test/scenarios/files');
const [rounds = 0, seconds = 0] = process.argv.slice(2).map(Number);
const end = performance.now() + seconds * 1000;
const command = scenarioCommands(commandLine);

let logs: string | undefined;
let passed = 0;
let failed = 0;

/** Where what the daemons said last is found. */
function keep(name: string, round: number, lines: readonly string[]): string {
  logs ??= mkdtempSync(path.join(tmpdir(), 'netraid-stress-'));
  const file = path.join(logs, `${path.basename(name, '.yaml')}-${String(round)}.log`);
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

/** Null: it held. */
async function reasonOf(name: string, round: number): Promise<string | null> {
  try {
    const { failure } = await runInProcesses(parseScenario(readFileSync(path.join(folder, name), 'utf8'), name), { command, keep: null });
    if (failure === null) return null;
    return `${failureLine(name, failure)}; log: ${keep(name, round, Object.values(failure.log).flat())}`;
  } catch (e: unknown) {
    return `${name}: it could not be run: ${e instanceof Error ? e.message : String(e)}`;
  }
}

const inTime = (): boolean => performance.now() < end;

for (let round = 1; round <= rounds && inTime(); round += 1) {
  const before = { passed, failed };
  for (const name of documentedScenarios) {
    if (!inTime()) break;
    const reason = await reasonOf(name, round);
    if (reason === null) passed += 1;
    else {
      failed += 1;
      process.stdout.write(`FAILED  round ${String(round)}: ${reason}\n`);
    }
  }
  const [load = 0] = loadavg();
  const counts = `${String(passed - before.passed)} passed, ${String(failed - before.failed)} failed`;
  process.stdout.write(`round ${String(round)} of ${String(rounds)}: ${counts}, load ${load.toFixed(1)}\n`);
}
const asked = rounds * documentedScenarios.length;
const ran = passed + failed;
if (ran < asked) process.stdout.write(`the time of ${String(seconds)} s was over: ${String(ran)} of ${String(asked)} scenarios were run\n`);
process.stdout.write(`${String(passed)} passed, ${String(failed)} failed\n`);
// What was asked for and not run has not been shown to hold.
process.exitCode = failed === 0 && passed > 0 && ran === asked ? 0 : 1;
