/** Durable work of one leg that comes together, in a process whose fdatasync waits for a word and may fail (support/held-syncs.c). */
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

const PREAMBLE = `
  import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
  import { setTimeout as pause } from 'node:timers/promises';
  import { EngineHub } from ${JSON.stringify(here('../../src/io/hub.ts'))};
  import { createNodeIo } from ${JSON.stringify(here('../../src/io/node/node-io.ts'))};
  const [leg, word, other] = process.argv.slice(1);
  const log = process.env.NETRAID_TEST_SYNCS;
  const until = async (what) => { while (!what()) await pause(1); };
  const say = (w) => { writeFileSync(log + '.new', w); renameSync(log + '.new', log + '.go'); };
  const hub = new EngineHub(createNodeIo({ engine: { engine: 'native' } }).createEngine());
  const { engine } = hub;
  const { leg: id } = await engine.openLeg(leg, { write: true, lock: true });
  const ended = async (begin) => (await hub.run(begin)).errno;
  const sync = () => ended((op) => { engine.sync(op, id); });
  const write = async (to, offset, byte, fua) => {
    const h = engine.allocate(4096);
    engine.view(h).fill(byte);
    const end = ended((op) => { engine.write(op, to, offset, h, 0, 4096, fua); });
    engine.release(h);
    return await end;
  };
  const first = sync();
  await until(() => existsSync(log));
`;

/** One sync, then many while it is held, then a word to it, and one more when all have ended. Prints what each ended with. */
const SYNCS = `${PREAMBLE}
  const others = Array.from({ length: ${String(TOGETHER)} }, sync);
  // What is read after them has been taken up after them.
  await hub.run((op) => { engine.extents(op, id, 0, 4096); });
  const begunMeanwhile = readFileSync(log).length;
  say(word);
  const errnos = [await first, ...(await Promise.all(others))];
  const begun = readFileSync(log).length;
  say('w');
  process.stdout.write(JSON.stringify({ errnos, begunMeanwhile, begun, after: await sync() }));
  await engine.closeLeg(id);
  await engine.shutdown();
`;

/** While a sync is held: writes and zeroes of its leg that are to be durable, and all kinds of work on another leg, which ends meanwhile. */
const DURABLE = `${PREAMBLE}
  const { leg: apart } = await engine.openLeg(other, { write: true, lock: true });
  const writes = Array.from({ length: 8 }, (_, i) => write(id, i * 4096, 7, true));
  const zeroes = Array.from({ length: 4 }, (_, i) => ended((op) => { engine.zero(op, id, (16 + i) * 4096, 4096, false, true); }));
  const syncs = [sync(), sync()];
  const elsewhere = await Promise.all([
    ...Array.from({ length: 64 }, (_, i) => write(apart, i * 4096, 9, false)),
    ended((op) => { engine.zero(op, apart, 0, 4096, true, false); }),
    ended((op) => { engine.extents(op, apart, 0, 4096); }),
  ]);
  say(word);
  const errnos = [await first, ...(await Promise.all([...writes, ...zeroes, ...syncs]))];
  const begun = readFileSync(log).length;
  const alone = await write(id, 0, 8, true);
  process.stdout.write(JSON.stringify({ errnos, begun, elsewhere: elsewhere.every((e) => e === 0), alone, begunAlone: readFileSync(log).length }));
  say('w');
  await engine.closeLeg(id);
  await engine.closeLeg(apart);
  await engine.shutdown();
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

  async function run(name: string, program: string, word: string): Promise<unknown> {
    const [leg, other] = [path.join(folder, `${name}-leg`), path.join(folder, `${name}-other`)];
    writeFileSync(leg, new Uint8Array(1024 * 1024).fill(1));
    writeFileSync(other, new Uint8Array(1024 * 1024));
    const tsx = here('../../node_modules/tsx/dist/loader.mjs');
    const preloaded = [process.env['LD_PRELOAD'] ?? '', library].filter((l) => l !== '').join(' ');
    const env = { ...process.env, LD_PRELOAD: preloaded, NETRAID_TEST_SYNCS: path.join(folder, `${name}-log`) };
    const child = spawn(process.execPath, ['--import', tsx, '--input-type=module', '--eval', program, leg, word, other], { env, timeout: 60_000 });
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
    expect(await run('well', SYNCS, 'w')).toEqual({ errnos: all, begunMeanwhile: 1, begun: 2, after: Errno.OK });
    expect(readFileSync(path.join(folder, 'well-log'), 'utf8')).toBe('sss');
  });

  it('hear of the failure of the one that ran when they came, and none is tried for them', async () => {
    const all = new Array<number>(1 + TOGETHER).fill(Errno.EIO);
    expect(await run('failing', SYNCS, 'f')).toEqual({ errnos: all, begunMeanwhile: 1, begun: 1, after: Errno.OK });
    expect(readFileSync(path.join(folder, 'failing-log'), 'utf8')).toBe('ss');
  });

  it('is shared by writes and zeroes that are to be durable, and holds up no other leg', async () => {
    const all = new Array<number>(15).fill(Errno.OK);
    expect(await run('durable', DURABLE, 'w')).toEqual({ errnos: all, begun: 2, elsewhere: true, alone: Errno.OK, begunAlone: 2 });
    const bytes = readFileSync(path.join(folder, 'durable-leg'));
    const expected = Buffer.alloc(1024 * 1024, 1)
      .fill(7, 0, 8 * 4096)
      .fill(8, 0, 4096)
      .fill(0, 16 * 4096, 20 * 4096);
    expect(bytes.equals(expected)).toBe(true);
  });

  it('fails all of them when it fails, and a write that comes after that stands for itself', async () => {
    const all = new Array<number>(15).fill(Errno.EIO);
    expect(await run('undurable', DURABLE, 'f')).toEqual({ errnos: all, begun: 1, elsewhere: true, alone: Errno.OK, begunAlone: 1 });
  });
});
