/**
 * Snapshots of a mirror that is written to without a pause, read by programs that nobody here wrote, with both engines.
 *
 *   our client, 16 writes in flight -> data        nbdcopy, qemu-img -> data@NAME
 */
import { statSync, writeFileSync } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mountFilesystem, unmount } from '../../src/attach/filesystem.ts';
import { EngineHub } from '../../src/io/hub.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import { NbdClient } from '../../src/nbd-client-js/client.ts';
import { Chance } from '../support/chance.ts';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons } from '../support/daemons.ts';
import { expectIdentical, lackingForDevices } from '../support/machine.ts';
import { findProgram, run, runOk, testWith, until } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 32 * MIB;
const TAG = 'data';
const IN_FLIGHT = 16;

let cleanup: Cleanup;
let daemons: Daemons;
const file = (name: string): string => daemons.path(name);
const uri = (name = TAG): string => daemons.node('server1').uri(name);
const netraid = (...args: string[]) => daemons.node('server1').cli('netraid', args);

beforeEach(() => {
  cleanup = new Cleanup();
});

afterEach(async () => {
  await cleanup.run();
});

async function mirror(engine: string): Promise<void> {
  const env = { NETRAID_ENGINE: engine };
  daemons = await Daemons.start({ nodes: ['server1', 'server2'], env: { server1: env, server2: env } });
  cleanup.add('the daemons', () => daemons.close());
  await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, legs: { server1: file('leg1'), server2: file('leg2') } });
}

async function snapshot(name: string, ...options: string[]): Promise<void> {
  const r = await netraid('snapshot', 'create', TAG, name, ...options);
  expect([r.code, r.stderr]).toEqual([0, '']);
}

/** Writes all over the device, so many at a time, until it is told to end; any error ends the test. */
class Writer {
  readonly #client: NbdClient;
  readonly #random = new Chance(7);
  #paused = false;
  #ended = false;
  #underWay = 0;
  written = 0;
  readonly #running: Promise<unknown>;

  /** It writes below this. */
  limit = SIZE;

  private constructor(client: NbdClient) {
    this.#client = client;
    this.#running = Promise.all(Array.from({ length: IN_FLIGHT }, () => this.#write()));
  }

  static async start(): Promise<Writer> {
    return new Writer(await Writer.connect(TAG));
  }

  static async connect(exportName: string): Promise<NbdClient> {
    const io = createNodeIo();
    const address = { kind: 'unix' as const, path: path.join(daemons.node('server1').root, 'run', 'nbd.sock') };
    return await NbdClient.connect({ io, hub: new EngineHub(io.createEngine()), exportName, address });
  }

  async #write(): Promise<void> {
    while (!this.#ended) {
      if (this.#paused) {
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      const bytes = new Uint8Array(4096 * (1 + this.#random.below(8))).fill(1 + this.#random.below(255));
      const offset = 4096 * this.#random.below((this.limit - bytes.length) / 4096);
      this.#underWay += 1;
      await this.#client.writeBytes(offset, bytes);
      this.#underWay -= 1;
      this.written += 1;
    }
  }

  /** Resolves when nothing is under way. */
  async pause(): Promise<void> {
    this.#paused = true;
    await until('the writer rests', () => this.#underWay === 0);
  }

  /** Resolves when all that is under way lies below `limit`, and is durable: before that it counts as written since a checkpoint. */
  async below(limit: number): Promise<void> {
    this.limit = limit;
    await this.pause();
    await this.#client.flushNow();
    this.resume();
  }

  resume(): void {
    this.#paused = false;
  }

  async more(writes: number): Promise<void> {
    const end = this.written + writes;
    await until('the writer goes on', () => this.written >= end);
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#running;
    await this.#client.flushNow();
    await this.#client.disconnect();
  }
}

async function nbdcopy(name: string, to: string): Promise<string> {
  await runOk('nbdcopy', [uri(name), file(to)]);
  return file(to);
}

async function convert(name: string, to: string): Promise<string> {
  await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri(name), file(to)]);
  return file(to);
}

describe.each(['native', 'portable'])('with the %s engine', (engine) => {
  testWith(
    ['nbdcopy', 'qemu-img', 'nbdinfo'],
    'a snapshot holds what its moment had, for whoever reads it how often, while writes go on',
    async () => {
      await mirror(engine);
      const w = await Writer.start();
      await w.more(1000);
      await w.pause();
      const atMoment = await nbdcopy(TAG, 'moment');
      await snapshot('paused', '--space', '100%');
      w.resume();
      await snapshot('running', '--space', '100%');
      const before = w.written;
      await expectIdentical([atMoment, await convert(`${TAG}@paused`, 'convert'), await nbdcopy(`${TAG}@paused`, 'copy')]);
      await expectIdentical([await nbdcopy(`${TAG}@running`, 'first'), await convert(`${TAG}@running`, 'second')]);
      expect(w.written - before).toBeGreaterThan(100);
      await w.end();
      await expectIdentical([file('leg1'), file('leg2')]);
      expect((await readFile(file('leg1'))).equals(await readFile(atMoment))).toBe(false);
      const info = JSON.parse(await runOk('nbdinfo', ['--json', uri(`${TAG}@paused`)])) as { exports: Record<string, unknown>[] };
      expect(info.exports[0]).toMatchObject({ is_read_only: true, can_multi_conn: true, 'export-size': SIZE });
      const [kept] = (await readdir(path.join(daemons.node('server1').root, 'snapshots'))).sort();
      const { mode } = statSync(path.join(daemons.node('server1').root, 'snapshots', kept ?? ''));
      expect([kept, mode & 0o777]).toEqual([`${TAG}@paused`, 0o600]);
      for (const name of ['paused', 'running']) expect((await netraid('snapshot', 'delete', TAG, name)).code).toBe(0);
      expect(await readdir(path.join(daemons.node('server1').root, 'snapshots'))).toEqual([]);
    },
  );
});

interface Extent {
  offset: number;
  length: number;
  type: number;
}

testWith(
  ['nbdcopy', 'nbdinfo', 'qemu-img'],
  'an incremental backup by qemu:dirty-bitmap restores, with the full one, to what its snapshot had, while writes go on',
  async () => {
    await mirror('native');
    const w = await Writer.start();
    await w.more(500);
    // A part of the device, so that an incremental backup is less than all of it.
    await w.below(SIZE / 4);
    await snapshot('full', '--space', '100%', '--checkpoint', 'c1');
    const image = await nbdcopy(`${TAG}@full`, 'backup');
    await w.more(50);
    await snapshot('next', '--space', '100%', '--checkpoint', 'c2');
    const map = JSON.parse(await runOk('nbdinfo', ['--json', '--map=qemu:dirty-bitmap:c1', uri(`${TAG}@next`)])) as Extent[];
    const dirty = map.filter((e) => e.type === 1);
    const next = await Writer.connect(`${TAG}@next`);
    const backup = await open(image, 'r+');
    for (const e of dirty)
      for (let at = 0; at < e.length; at += MIB) {
        const bytes = await next.readBytes(e.offset + at, Math.min(MIB, e.length - at));
        await backup.write(bytes, 0, bytes.length, e.offset + at);
      }
    await backup.close();
    await next.disconnect();
    await w.more(50);
    await expectIdentical([image, await nbdcopy(`${TAG}@next`, 'whole')]);
    await w.end();
    const read = dirty.reduce((n, e) => n + e.length, 0);
    expect(read).toBeGreaterThan(0);
    expect(read).toBeLessThanOrEqual(SIZE / 4);
    const contexts = JSON.parse(await runOk('nbdinfo', ['--json', uri(`${TAG}@next`)])) as { exports: { contexts: string[] }[] };
    expect(contexts.exports[0]?.contexts).toEqual(['base:allocation', 'qemu:dirty-bitmap:c1']);
  },
);

testWith(['nbdcopy', 'qemu-img'], 'what is overwritten beyond the space of a snapshot costs that, and no write', async () => {
  await mirror('native');
  const w = await Writer.start();
  await w.more(500);
  await snapshot('small', '--space', '1MiB');
  await w.more(500);
  await w.end();
  const r = await run('nbdcopy', [uri(`${TAG}@small`), file('copy')]);
  expect(r.code).not.toBe(0);
  const listed = await netraid('snapshot', 'list', TAG);
  expect(listed.stdout).toMatch(/^data@small .* lost: the 1048576 bytes that it may keep are used up/m);
  await expectIdentical([file('leg1'), file('leg2'), await nbdcopy(TAG, 'now')]);
});

const forDevices = [lackingForDevices(), ...['mkfs.ext4', 'e2fsck', 'nbdcopy'].filter((p) => findProgram(p) === undefined)]
  .filter((l) => l !== undefined)
  .join(', ');
if (forDevices !== '') process.stderr.write(`\nWARNING: SKIPPED "a file system in a snapshot": not here: ${forDevices}\n\n`);

it.skipIf(forDevices !== '')('a file system in a snapshot is clean once its journal is replayed, and has what was synced', async () => {
  await mirror('native');
  const device = await daemons.node('server1').attach(TAG);
  cleanup.add('detach', () => daemons.detachAll());
  const dir = file('mnt');
  await mountFilesystem({ device, dir, mkfs: 'ext4' });
  writeFileSync(path.join(dir, 'synced'), 'synced before\n');
  await runOk('sync', ['-f', dir]);
  const writing = runOk('dd', ['if=/dev/urandom', `of=${path.join(dir, 'later')}`, 'bs=64k', 'count=150', 'conv=fsync']);
  await snapshot('fs', '--space', '100%');
  await writing;
  const copy = await nbdcopy(`${TAG}@fs`, 'fs.img');
  await unmount({ dir });
  const replayed = await run('e2fsck', ['-fy', copy]);
  expect(replayed.code).toBeLessThanOrEqual(1);
  expect((await run('e2fsck', ['-fn', copy])).code).toBe(0);
  expect(await runOk('debugfs', ['-R', 'cat /synced', copy])).toBe('synced before\n');
});
