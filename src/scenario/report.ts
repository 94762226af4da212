/** How the outcome of scenarios is told: to people, to programs (JSON), and to CI systems (JUnit). Pure. */
import type { Failure } from './runner.ts';

export interface Outcome {
  file: string;
  scenario: string;
  world: 'process' | 'simulated';
  /** Null where there is none. */
  seed: number | null;
  /** In all. */
  steps: number;
  /** In the world's own time. */
  seconds: number;
  failure: Failure | null;
}

/** One line; more only for a failure. */
export function forPeople(o: Outcome): string[] {
  const place = o.seed === null ? o.world : `${o.world}, seed ${String(o.seed)}`;
  const about = `${o.scenario} (${place}, ${String(o.steps)} steps, ${o.seconds.toFixed(1)} s)`;
  if (o.failure === null) return [`ok    ${o.file}: ${about}`];
  return [
    `FAIL  ${o.file}: ${about}`,
    ...failureLine(o.file, o.failure)
      .split('\n')
      .map((line, i) => `${i === 0 ? '      ' : '        '}${line}`),
  ];
}

/** `FILE:LINE: step 4 (expect): server1.inService: expected true, last seen false` */
export function failureLine(file: string, f: Failure): string {
  return `${file}:${String(f.line)}: step ${String(f.step)} (${f.action}): ${f.message}`;
}

export function forPrograms(o: Outcome): string {
  return JSON.stringify({ ...o, ok: o.failure === null });
}

export function junit(outcomes: readonly Outcome[]): string {
  const failed = outcomes.filter((o) => o.failure !== null).length;
  const seconds = outcomes.reduce((sum, o) => sum + o.seconds, 0);
  const cases = outcomes.map((o) => {
    const name = o.seed === null ? o.scenario : `${o.scenario} (seed ${String(o.seed)})`;
    const head = `    <testcase classname="${xml(`${o.world}.${o.file}`)}" name="${xml(name)}" time="${o.seconds.toFixed(3)}"`;
    if (o.failure === null) return `${head}/>`;
    const log = Object.values(o.failure.log).flat().join('\n');
    const message = failureLine(o.file, o.failure);
    return `${head}>\n      <failure message="${xml(message)}">${xml(`${message}\n${log}`)}</failure>\n    </testcase>`;
  });
  const counts = `tests="${String(outcomes.length)}" failures="${String(failed)}" time="${seconds.toFixed(3)}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites ${counts}>`,
    `  <testsuite name="netraid scenarios" ${counts}>`,
    ...cases,
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;', '\n': '&#10;' };

/** Text and attributes; characters that XML can't hold become a question mark. */
function xml(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '?').replace(/[&<>"'\n]/g, (c) => entities[c] ?? c);
}
