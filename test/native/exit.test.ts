/** A process that has a native engine ends as any other: by itself when nothing is left to do, or at once when it wants to. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';

const nodeIo = fileURLToPath(new URL('../../src/io/node/node-io.ts', import.meta.url));
const tsx = fileURLToPath(new URL('../../node_modules/tsx/dist/loader.mjs', import.meta.url));

/** Bytes seen by JavaScript that are held, given back and kept for reuse; then `end`. */
function run(end: string): { status: number | null; signal: string | null; stderr: string } {
  const program = `
    import { createNodeIo } from ${JSON.stringify(nodeIo)};
    const engine = createNodeIo({ engine: { engine: 'native' } }).createEngine();
    engine.onEvents(() => {});
    const [held, given] = [engine.allocate(8192), engine.allocate(4096)];
    engine.view(held).fill(1);
    engine.view(given).fill(2);
    engine.release(given);
    ${end}
  `;
  const r = spawnSync(process.execPath, ['--import', tsx, '--input-type=module', '--eval', program], { timeout: 60_000, encoding: 'utf8' });
  return { status: r.status, signal: r.signal, stderr: r.stderr };
}

describe.skipIf(loadNativeEngine() === undefined)('a process with a native engine ends', () => {
  it.each([
    ['by itself', ''],
    ['after the engine was shut down', 'await engine.shutdown();'],
    ['when it leaves', 'process.exit(0);'],
  ])('%s', (_how, end) => {
    expect(run(end)).toEqual({ status: 0, signal: null, stderr: '' });
  });
});
