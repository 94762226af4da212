/** Syncs of one leg that come together, in a process whose fdatasync waits for a word and may fail (support/held-syncs.c). */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';
import { Errno } from '../../src/io/types.ts';

const here = (p: string): string => fileURLToPath(new URL(p, import.meta.url));
const TOGETHER = 32;

/** One sync, then many while it is held, then a word to it, and one more when all have ended. Prints what each ended with. */
const PROGRAM = `
  import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
  import { setTimeout as pause } from 'node:timers/promises';
  import { EngineHub } from ${JSON.stringify(here('../../src/io/hub.ts'))};
  import { createNodeIo } from ${JSON.stringify(here('../../src/io/node/node-io.ts'))};
  const [leg, word] = process.argv.slice(1);
  const log = process.env.NETRAID_TEST_SYNCS;
  const until = async (what) => { while (!what()) await pause(1); };
  const say = (w) => { writeFileSync(log + '.new', w); renameSync(log + '.new', log + '.go'); };
  const hub = new EngineHub(createNodeIo({ engine: { engine: 'native' } }).createEngine());
  const { leg: id } = await hub.engine.openLeg(leg, { readOnly: false });
  const sync = async () => (await hub.run((op) => { hub.engine.sync(op, id); })).errno;
  const first = sync();
  await until(() => existsSync(log));
  const others = Array.from({ length: ${String(TOGETHER)} }, sync);
  // What is read after them has been taken up after them.
  await hub.run((op) => { hub.engine.extents(op, id, 0, 4096); });
  const begunMeanwhile = readFileSync(log).length;
  say(word);
  const errnos = [await first, ...(await Promise.all(others))];
  const begun = readFileSync(log).length;
  say('w');
  process.stdout.write(JSON.stringify({ errnos, begunMeanwhile, begun, after: await sync() }));
  await hub.engine.closeLeg(id);
  await hub.engine.shutdown();
`;

describe.skipIf(loadNativeEngine() === undefined)('syncs of one leg', () => {
  let folder = '';
  let library = '';

  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'netraid-syncs-'));
    library = path.join(folder, 'held-syncs.so');
    const built = spawnSync('gcc', ['-shared', '-fPIC', '-O1', '-o', library, here('support/held-syncs.c')], { encoding: 'utf8' });
    expect([built.error, built.stderr, built.status]).toEqual([undefined, '', 0]);
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  async function run(word: string): Promise<unknown> {
    const leg = path.join(folder, `leg-${word}`);
    writeFileSync(leg, new Uint8Array(1024 * 1024));
    const tsx = here('../../node_modules/tsx/dist/loader.mjs');
    const preloaded = [process.env['LD_PRELOAD'] ?? '', library].filter((l) => l !== '').join(' ');
    const env = { ...process.env, LD_PRELOAD: preloaded, NETRAID_TEST_SYNCS: path.join(folder, `syncs-${word}`) };
    const child = spawn(process.execPath, ['--import', tsx, '--input-type=module', '--eval', PROGRAM, leg, word], { env, timeout: 60_000 });
    let [out, err] = ['', ''];
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.stderr.on('data', (d: Buffer) => (err += d.toString()));
    const status = await new Promise((resolve) =>
      child.on('close', (code, signal) => {
        resolve(code ?? signal);
      }),
    );
    expect([err, status]).toEqual(['', 0]);
    return JSON.parse(out);
  }

  it('that come while one runs share the next', async () => {
    const all = new Array<number>(1 + TOGETHER).fill(Errno.OK);
    expect(await run('w')).toEqual({ errnos: all, begunMeanwhile: 1, begun: 2, after: Errno.OK });
    expect(readFileSync(path.join(folder, 'syncs-w'), 'utf8')).toBe('sss');
  });

  it('hear of the failure of the one that ran when they came, and none is tried for them', async () => {
    const all = new Array<number>(1 + TOGETHER).fill(Errno.EIO);
    expect(await run('f')).toEqual({ errnos: all, begunMeanwhile: 1, begun: 1, after: Errno.OK });
    expect(readFileSync(path.join(folder, 'syncs-f'), 'utf8')).toBe('ss');
  });
});
