/**
 * Snapshots of a mirror that is written to without a pause, read by programs that nobody here wrote, with both engines.
 *
 *   our client or fio, 16 writes in flight -> data        nbdcopy, nbdsh, qemu-img -> data@NAME
 */
import { type ChildProcess } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
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
import { findProgram, nbdsh, run, runOk, start, testWith, until } from '../support/programs.ts';

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
      const offset = 4096 * this.#random.below((SIZE - bytes.length) / 4096);
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

/** fio writes to the first quarter of the device without a pause, until it is told to end; any error ends the test. */
class Fio {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #said = '';
  #running = true;

  constructor() {
    const load = ['--rw=randwrite', '--bsrange=4k-32k', '--iodepth=16', `--size=${String(SIZE / 4)}`, '--time_based', '--runtime=100'];
    // Its nbd engine spins for ever when its server goes.
    const args = ['-k', '5', '110', 'fio', '--name=w', '--ioengine=nbd', `--uri=${uri()}`, '--randseed=7', '--refill_buffers', ...load];
    this.#child = start('timeout', args, { cwd: daemons.folder });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#said += text;
      });
    }
    this.#ended = new Promise((resolve) => {
      this.#child.on('close', (code) => {
        this.#running = false;
        resolve(code);
      });
    });
    cleanup.add('fio', async () => {
      this.#child.kill('SIGKILL');
      await this.#ended;
    });
  }

  /** Until it has written, since that checkpoint, to what was clean. */
  async writesSince(checkpoint: string): Promise<void> {
    const { control } = daemons.node('server1');
    await daemons.until(`fio writes on after ${checkpoint}`, async () => {
      if (!this.#running) throw new Error(`fio has ended: ${this.#said}`);
      const { checkpoints } = await control.call('status', { tag: TAG });
      return (checkpoints.find((c) => c.name === checkpoint)?.dirtyRegions ?? 0) > IN_FLIGHT;
    });
  }

  /** It has written all the time, and without an error. */
  async end(): Promise<void> {
    if (!this.#running) throw new Error(`fio has ended: ${this.#said}`);
    // It writes its report then, and ends as one that was interrupted.
    this.#child.kill('SIGINT');
    await this.#ended;
    if (!/err= 0/.test(this.#said)) throw new Error(`fio: ${this.#said}`);
  }
}

/** Reads what is dirty by a checkpoint out of an export, into an image: block status and reads, as a backup program has them. */
const INCREMENTAL = `
import os
context = os.environ["CONTEXT"]
h.add_meta_context(context)
h.connect_uri(os.environ["URI"])
image = open(os.environ["IMAGE"], "r+b")
size, at, copied = h.get_size(), 0, 0
while at < size:
    entries = []
    h.block_status(min(size - at, 1 << 30), at, lambda name, offset, e, error: entries.extend(e) if name == context else None)
    for length, flags in zip(entries[::2], entries[1::2]):
        for o in range(at, at + length if flags & 1 else at, 1 << 20):
            part = h.pread(min(1 << 20, at + length - o), o)
            image.seek(o)
            image.write(part)
            copied += len(part)
        at += length
image.close()
print(copied)
`;

testWith(
  ['nbdcopy', 'nbdinfo', 'nbdsh', 'qemu-img', 'fio', 'timeout'],
  'an incremental backup by qemu:dirty-bitmap restores, with the full one, to what its snapshot had, while fio writes',
  async () => {
    await mirror('native');
    await runOk('qemu-io', ['-f', 'raw', '-c', `write -P 7 0 ${String(SIZE)}`, '-c', 'flush', uri()]);
    await daemons.node('server1').control.call('checkpoint-create', { tag: TAG, name: 'c0' });
    const fio = new Fio();
    await fio.writesSince('c0');
    await snapshot('full', '--space', '100%', '--checkpoint', 'c1');
    const image = await nbdcopy(`${TAG}@full`, 'backup');
    await fio.writesSince('c1');
    await snapshot('next', '--space', '100%', '--checkpoint', 'c2');
    const env = { CONTEXT: 'qemu:dirty-bitmap:c1', IMAGE: image };
    const read = Number(await nbdsh(uri(`${TAG}@next`), INCREMENTAL, { env }));
    await fio.writesSince('c2');
    await expectIdentical([image, await nbdcopy(`${TAG}@next`, 'whole')]);
    await fio.end();
    expect(read).toBeGreaterThan(0);
    // fio has written to a part of the device, and only that can be dirty.
    expect(read).toBeLessThanOrEqual(SIZE / 4);
    for (const [older, newer] of [
      ['full', 'next'],
      ['next', ''],
    ] as const) {
      const names = [older, newer].map((n) => (n === '' ? TAG : `${TAG}@${n}`));
      expect((await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', ...names.map(uri)])).code, names.join(' and ')).toBe(1);
    }
    const contexts = JSON.parse(await runOk('nbdinfo', ['--json', uri(`${TAG}@next`)])) as { exports: { contexts: string[] }[] };
    expect(contexts.exports[0]?.contexts).toEqual(['base:allocation', 'qemu:dirty-bitmap:c0', 'qemu:dirty-bitmap:c1']);
    await expectIdentical([file('leg1'), file('leg2')]);
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
