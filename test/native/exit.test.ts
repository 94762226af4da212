/** A process that has a native engine ends as any other: by itself when nothing is left to do, or at once when it wants to. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';

const nodeIo = fileURLToPath(new URL('../../src/io/node/node-io.ts', import.meta.url));
const tsx = fileURLToPath(new URL('../../node_modules/tsx/dist/loader.mjs', import.meta.url));

/** It leaves with several long writes begun, of which some have been sent, some are under way, and some wait for peers that read no more. */
const SENDING = `
    const { net } = createNodeIo({ engine: { engine: 'native' } });
    const peers = [];
    const listener = await net.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (s) => { peers.push(s); });
    const wire = { structuredReplies: false, extendedHeaders: false, payloadMaxBytes: 1 << 20 };
    const payload = engine.allocate(1 << 20);
    for (let i = 0; i < 8; i += 1) {
      const conn = engine.adopt(await net.connect(listener.address, 8000), 'client', wire, { requestsMax: 64, bytesMax: 2 ** 26 }, new Uint8Array(0));
      for (let op = 1; op <= 32; op += 1) engine.send(i * 32 + op, conn, 1, 0, 0, 1 << 20, payload, 0);
    }
    await new Promise((resolve) => { setImmediate(resolve); });
    process.exit(0);
`;

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
    ['while threads send for it', SENDING],
  ])('%s', (_how, end) => {
    expect(run(end)).toEqual({ status: 0, signal: null, stderr: '' });
  });
});
