/**
 * Attaching against programs nobody here wrote: nbdkit serves, nbdfuse and the loop device carry, e2fsck judges.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attach, detach } from '../../src/attach/attach.ts';
import { mountFilesystem, unmount } from '../../src/attach/filesystem.ts';
import { readMounts } from '../../src/attach/mount-table.ts';
import { status, sweep } from '../../src/attach/status.ts';

function lacking(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  for (const file of ['/dev/fuse', '/dev/loop-control', '/usr/bin/nbdkit', '/usr/bin/nbdfuse', '/usr/bin/fusermount3']) {
    if (!existsSync(file)) return file;
  }
  return undefined;
}

function kernelHas(type: string): boolean {
  return readFileSync('/proc/filesystems', 'utf8').split('\n').includes(`\t${type}`);
}

const lack = lacking();
if (lack !== undefined) process.stderr.write(`SKIPPED test/interop/attach.test.ts: it needs ${lack}\n`);

const tag = 'datarep-ext3';
const timeoutMs = 5_000;

describe.skipIf(lack !== undefined)(`an export as a block device${lack === undefined ? '' : ` (needs ${lack})`}`, () => {
  let dir = '';
  let socketPath = '';
  let mountPoint = '';
  let servers: ChildProcess[] = [];

  async function serve(...plugin: string[]): Promise<ChildProcess> {
    const server = spawn('nbdkit', ['-f', '-U', socketPath, ...plugin], { stdio: ['ignore', 'ignore', 'inherit'] });
    servers.push(server);
    await until('the server listens', () => existsSync(socketPath));
    return server;
  }

  async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = performance.now() + 15_000;
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
      await sleep(20);
    }
  }

  const attachHere = () => attach({ socketPath, exportName: '', runDir: dir, tag, method: 'fuse', timeoutMs });
  const detachHere = (o: { unmount?: boolean } = {}) => detach({ runDir: dir, tag, timeoutMs, ...o });
  const helperPid = async (): Promise<number> => (await status({ runDir: dir }))[0]?.helpers[0] ?? -1;
  const alive = (pid: number): boolean => existsSync(`/proc/${String(pid)}`);

  /** Nothing of the test's folder is left anywhere in the system. */
  async function expectNothingLeft(): Promise<void> {
    const loops = readdirSync('/sys/block')
      .map((name) => `/sys/block/${name}/loop/backing_file`)
      .filter((f) => existsSync(f) && readFileSync(f, 'utf8').startsWith(dir));
    expect(loops).toEqual([]);
    expect((await readMounts()).filter((m) => m.mountPoint.startsWith(dir))).toEqual([]);
    expect(
      execFileSync('ps', ['-eo', 'comm,args'], { encoding: 'utf8' })
        .split('\n')
        .filter((l) => l.startsWith('nbdfuse') && l.includes(dir)),
    ).toEqual([]);
    expect(readdirSync(dir).filter((n) => n.includes('.attach'))).toEqual([]);
  }

  beforeEach(() => {
    dir = realpathSync(mkdtempSync(path.join(tmpdir(), 'netraid-interop-')));
    socketPath = path.join(dir, 's.sock');
    mountPoint = path.join(dir, 'mnt');
    servers = [];
  });

  afterEach(async () => {
    for (const s of servers) s.kill('SIGCONT');
    await sweep({ runDir: dir, all: true, timeoutMs });
    for (const s of servers) s.kill('SIGKILL');
    await expectNothingLeft();
    rmSync(dir, { recursive: true });
  });

  it('carries an ext4 filesystem over detach and attach, and e2fsck finds it clean', async () => {
    const image = path.join(dir, 'image');
    writeFileSync(image, '');
    execFileSync('truncate', ['-s', '64M', image]);
    await serve('file', image);
    const first = await attachHere();
    expect(first).toEqual({ device: expect.stringMatching(/^\/dev\/loop\d+$/) as string, method: 'fuse' });
    expect(await status({ runDir: dir })).toMatchObject([{ tag, condition: 'attached', method: 'fuse', devices: [first.device], mountPoints: [] }]);

    await expect(mountFilesystem({ device: first.device, dir: mountPoint })).rejects.toMatchObject({ kind: 'refused', message: /no filesystem/ });
    await mountFilesystem({ device: first.device, dir: mountPoint, mkfs: 'ext4' });
    expect(await mountFilesystem({ device: first.device, dir: mountPoint })).toEqual({ type: 'ext4', mountPoint });
    const text = 'all of it\n'.repeat(100_000);
    writeFileSync(path.join(mountPoint, 'file'), text);
    expect(await unmount({ dir: mountPoint })).toEqual({ wasMounted: true });
    expect(await detachHere()).toEqual({ wasAttached: true, forced: [] });
    await expectNothingLeft();
    execFileSync('e2fsck', ['-fn', image], { stdio: 'pipe' });

    const { device } = await attachHere();
    execFileSync('e2fsck', ['-fn', device], { stdio: 'pipe' });
    await expect(mountFilesystem({ device, dir: mountPoint, mkfs: 'xfs' })).rejects.toMatchObject({
      kind: 'refused',
      message: /holds data already \(ext4\)/,
    });
    await mountFilesystem({ device, dir: mountPoint, check: true });
    expect(readFileSync(path.join(mountPoint, 'file'), 'utf8')).toBe(text);
    await unmount({ dir: mountPoint });
    expect(await detachHere()).toEqual({ wasAttached: true, forced: [] });
  });

  it('refuses to detach while mounted, naming the mount point, and unmounts when asked', async () => {
    await serve('memory', '64M');
    const { device } = await attachHere();
    await mountFilesystem({ device, dir: mountPoint, mkfs: 'ext4' });
    await expect(detachHere()).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining(`${device} is mounted on ${mountPoint}`) as string,
    });
    expect(await status({ runDir: dir })).toMatchObject([{ condition: 'attached', mountPoints: [mountPoint] }]);
    expect(await detachHere({ unmount: true })).toEqual({ wasAttached: true, forced: [] });
    await expectNothingLeft();
  });

  it('does not unmount below a program that works in the folder, and names it', async () => {
    await serve('memory', '64M');
    const { device } = await attachHere();
    await mountFilesystem({ device, dir: mountPoint, mkfs: 'ext4' });
    const worker = spawn('sleep', ['60'], { cwd: mountPoint });
    try {
      await expect(detachHere({ unmount: true })).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringContaining(`sleep (${String(worker.pid)})`) as string,
      });
    } finally {
      worker.kill('SIGKILL');
    }
    await until('the worker is gone', () => worker.exitCode !== null || worker.signalCode !== null);
    expect(await detachHere({ unmount: true })).toMatchObject({ wasAttached: true });
  });

  it('does not take the device away from a program that has it open, and names it', async () => {
    await serve('memory', '64M');
    const { device } = await attachHere();
    const reader = spawn('sh', ['-c', `exec 3<${device}; echo open; exec sleep 60`], { stdio: ['ignore', 'pipe', 'inherit'] });
    let opened = false;
    reader.stdout.on('data', () => {
      opened = true;
    });
    await until('the device is open', () => opened);
    await expect(detachHere()).rejects.toMatchObject({ kind: 'refused', message: expect.stringContaining(`${device} is open in sleep`) as string });
    reader.kill('SIGKILL');
    await until('the reader is gone', () => reader.signalCode !== null);
    expect(await detachHere()).toEqual({ wasAttached: true, forced: [] });
  });

  it('refuses to attach a tag twice', async () => {
    await serve('memory', '64M');
    const { device } = await attachHere();
    await expect(attachHere()).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining(`attached already as ${device}`) as string,
    });
    expect(await detachHere()).toEqual({ wasAttached: true, forced: [] });
    expect(await detachHere()).toEqual({ wasAttached: false, forced: [] });
  });

  it.for(['ext4', 'xfs'] as const)(
    'leaves nothing after nbdfuse was killed below a mounted %s, whose log the next mount replays',
    async (mkfs, { skip }) => {
      if (!kernelHas(mkfs)) skip(`this kernel has no ${mkfs}`);
      await serve('memory', '512M');
      const { device } = await attachHere();
      await mountFilesystem({ device, dir: mountPoint, mkfs });
      writeFileSync(path.join(mountPoint, 'synced'), 'here', { flush: true });
      writeFileSync(path.join(mountPoint, 'file'), Buffer.alloc(8 * 1024 * 1024, 1));
      process.kill(await helperPid(), 'SIGKILL');
      await until('the loss is seen', async () => (await status({ runDir: dir }))[0]?.condition === 'broken');
      await expect(detachHere()).rejects.toMatchObject({ kind: 'refused' });
      expect(await detachHere({ unmount: true })).toMatchObject({ wasAttached: true });
      await expectNothingLeft();

      await mountFilesystem({ device: (await attachHere()).device, dir: mountPoint, check: true });
      expect(readFileSync(path.join(mountPoint, 'synced'), 'utf8')).toBe('here');
      await detachHere({ unmount: true });
    },
  );

  it('leaves nothing after nbdfuse was killed, and attaches again over what is left', async () => {
    await serve('memory', '64M');
    await attachHere();
    process.kill(await helperPid(), 'SIGKILL');
    await until('nbdfuse is gone', async () => (await helperPid()) === -1);
    await attachHere();
    expect(await status({ runDir: dir })).toMatchObject([{ condition: 'attached' }]);
    await detachHere();
  });

  it('is shown as broken when the server is killed, and swept away with the filesystem on it', async () => {
    const server = await serve('memory', '64M');
    const { device } = await attachHere();
    await mountFilesystem({ device, dir: mountPoint, mkfs: 'ext4' });
    expect(await sweep({ runDir: dir })).toEqual({ cleaned: [], left: [] });
    server.kill('SIGKILL');
    await until('the loss is seen', async () => (await status({ runDir: dir }))[0]?.condition === 'broken');
    expect(await sweep({ runDir: dir, timeoutMs })).toEqual({ cleaned: [tag], left: [] });
    await expectNothingLeft();
  });

  it('shows a server that does not answer as silent, leaves it to a sweep, and detaches from it by force', async () => {
    const server = await serve('memory', '64M');
    const { device } = await attachHere();
    const pid = await helperPid();
    server.kill('SIGSTOP');
    expect(await status({ runDir: dir, probeTimeoutMs: 300 })).toMatchObject([{ condition: 'silent', devices: [device] }]);
    expect(await status({ runDir: dir, probeTimeoutMs: 300 })).toMatchObject([{ condition: 'silent', why: /earlier read/ }]);
    expect(await sweep({ runDir: dir })).toEqual({ cleaned: [], left: [] });
    const done = await detach({ runDir: dir, tag, timeoutMs: 1_000 });
    expect(done).toEqual({ wasAttached: true, forced: [expect.stringContaining(`killed ${String(pid)}`) as string] });
    await expectNothingLeft();
    expect(alive(pid)).toBe(false);
  });

  it('says why when the server refuses, and leaves nothing', async () => {
    await serve('eval', 'get_size=echo EIO no disk today >&2; exit 1');
    await expect(attachHere()).rejects.toMatchObject({ kind: 'failed', message: /nbdfuse for export '' at .* ended \(status \d+\): \S+/ });
    await expectNothingLeft();
  });

  it('gives up on a server that never shakes hands, and leaves nothing', async () => {
    const server = await serve('memory', '64M');
    server.kill('SIGSTOP');
    await expect(attach({ socketPath, exportName: '', runDir: dir, tag, method: 'fuse', timeoutMs: 500 })).rejects.toMatchObject({ kind: 'timeout' });
    await expectNothingLeft();
  });

  it('is undone by a process that knows nothing but the names, when even the record is gone', async () => {
    await serve('memory', '64M');
    await attachHere();
    rmSync(path.join(dir, `${tag}.attach.json`));
    expect(await sweep({ runDir: dir, timeoutMs })).toEqual({ cleaned: [tag], left: [] });
    await expectNothingLeft();
  });

  /** Another process that attaches. */
  async function attachElsewhere(says: string): Promise<ChildProcess> {
    const script = path.join(import.meta.dirname, 'attach-child.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', script, socketPath, dir, tag], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (b: Buffer) => {
      said += b.toString();
    });
    await until(`the other process says ${says}`, () => said.includes(`${says}\n`));
    return child;
  }

  async function kill(child: ChildProcess): Promise<void> {
    child.kill('SIGKILL');
    await until('the other process is gone', () => child.signalCode !== null);
  }

  it('outlives the process that attached it, and is detached by another', async () => {
    await serve('memory', '64M');
    await kill(await attachElsewhere('attached'));
    expect(await status({ runDir: dir })).toMatchObject([{ tag, condition: 'attached' }]);
    expect(await detachHere()).toEqual({ wasAttached: true, forced: [] });
    await expectNothingLeft();
  });

  it('refuses to attach while another process does, and cleans up after it once it was killed half way', async () => {
    const server = await serve('memory', '64M');
    server.kill('SIGSTOP');
    const child = await attachElsewhere('attaching');
    await until('nbdfuse is started', async () => (await helperPid()) !== -1);
    await expect(attachHere()).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining(`process ${String(child.pid)} is attaching it`) as string,
    });
    await kill(child);
    server.kill('SIGCONT');
    await attachHere();
    expect(await status({ runDir: dir })).toMatchObject([{ tag, condition: 'attached' }]);
    await detachHere();
    await expectNothingLeft();
  });
});
