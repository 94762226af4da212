/** Waiting awake for the end of a sync, in a process whose fdatasync takes long and that counts it (support/slow-syncs.c). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';

const here = (p: string): string => fileURLToPath(new URL(p, import.meta.url));
const ROUNDS = 300;
/** After each wait in vain twice as many syncs are waited for asleep. */
const AWAKE_MAX = 20;

const PREAMBLE = `
  import { EngineHub } from ${JSON.stringify(here('../../src/io/hub.ts'))};
  import { createNodeIo } from ${JSON.stringify(here('../../src/io/node/node-io.ts'))};
  const hub = new EngineHub(createNodeIo({ engine: { engine: 'native' } }).createEngine());
  const { engine } = hub;
  const { leg } = await engine.openLeg(process.argv[1], { write: true, lock: true });
  const h = engine.allocate(4096);
  const write = () => hub.run((op) => { engine.write(op, leg, 0, h, 0, 4096, false); });
  const sync = () => hub.run((op) => { engine.sync(op, leg); });
`;
const END = `
  engine.release(h);
  await engine.closeLeg(leg);
  await engine.shutdown();
`;

/** The end of the write before it may be waited for awake, with success. */
const ONE_BY_ONE = `${PREAMBLE}
  for (let i = 0; i < ${String(ROUNDS)}; i += 1) {
    await write();
    await sync();
  }
${END}`;

/** While it is made durable other things end again and again. */
const BUSY = `${PREAMBLE}
  for (let i = 0; i < ${String(ROUNDS)}; i += 1) {
    let over = false;
    const end = sync().then(() => { over = true; });
    while (!over) await write();
    await end;
  }
${END}`;

describe.skipIf(loadNativeEngine() === undefined)('syncs that take long', () => {
  let folder = '';
  let library = '';

  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'netraid-awake-'));
    library = path.join(folder, 'slow-syncs.so');
    const built = spawnSync('gcc', ['-shared', '-fPIC', '-O1', '-o', library, here('support/slow-syncs.c')], { encoding: 'utf8' });
    expect([built.error, built.stderr, built.status]).toEqual([undefined, '', 0]);
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it.each([
    ['after writes that are quick', ONE_BY_ONE],
    ['while writes go on', BUSY],
  ])('are hardly ever waited for awake, %s', (name, program) => {
    const [leg, told] = [path.join(folder, `${name}-leg`), path.join(folder, name)];
    writeFileSync(leg, new Uint8Array(1024 * 1024));
    const tsx = here('../../node_modules/tsx/dist/loader.mjs');
    const preloaded = [process.env['LD_PRELOAD'] ?? '', library].filter((l) => l !== '').join(' ');
    const env = { ...process.env, LD_PRELOAD: preloaded, NETRAID_TEST_AWAKE: told };
    const r = spawnSync(process.execPath, ['--import', tsx, '--input-type=module', '--eval', program, leg], {
      env,
      encoding: 'utf8',
      timeout: 60_000,
    });
    expect([r.stderr, r.status]).toEqual(['', 0]);
    const { syncs, awake } = JSON.parse(readFileSync(told, 'utf8')) as { syncs: number; awake: number };
    expect(syncs).toBe(ROUNDS);
    expect(awake).toBeGreaterThan(0);
    expect(awake).toBeLessThan(AWAKE_MAX);
  });
});
