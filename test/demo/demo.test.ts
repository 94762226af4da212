/** scripts/demo, as a new user runs it: to its end, interrupted, killed, and where it can not run. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { findProgram, run, temporaryFolder, until } from '../support/programs.ts';

const root = path.resolve(import.meta.dirname, '../..');
const demo = path.join(root, 'scripts/demo');
const isRoot = process.getuid?.() === 0;

function lacking(): string | undefined {
  if (!isRoot) return 'root';
  const files = ['/dev/fuse', '/dev/loop-control'].filter((f) => !existsSync(f));
  const programs = ['nbdfuse', 'fusermount3', 'mkfs.ext4', 'e2fsck', 'flock', 'setsid'].filter((p) => findProgram(p) === undefined);
  const absent = [...files, ...programs];
  return absent.length === 0 ? undefined : absent.join(', ');
}
const lack = lacking();
if (lack !== undefined) process.stderr.write(`SKIPPED the demo itself (test/demo/demo.test.ts): it needs ${lack}\n`);

let children: ChildProcess[] = [];

/** A shell that is watched over as the demo is, and does what the demo does most: it asks for the output of commands. */
const ASKING = '. scripts/setup-lib.sh; . scripts/demo-lib.sh; watch_over 20; echo begun; while :; do x=$(now_ms); done';

/** Interrupts such a shell at a moment of its own after it has begun. The exit code, or the signal that ended it. */
async function interruptAsking(afterMs: number): Promise<number | string> {
  const child = spawn('env', ['--block-signal=INT', 'bash', '-uc', ASKING], { cwd: root, detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const end = new Promise<number | string>((resolve) => {
    child.on('close', (code, signal) => {
      resolve(code ?? signal ?? 'unknown');
    });
  });
  child.stdout.once('data', () => {
    setTimeout(() => {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGINT');
    }, afterMs);
  });
  return await end;
}

/** Whatever of this demo is in the system, and of any in the tree. Other trees may run theirs meanwhile. */
function remains(d: Running): string[] {
  const [mark] = /\/tmp\/netraid-demo\.\w+/.exec(d.said()) ?? [];
  if (mark === undefined) throw new Error(`the demo named no root of a node:\n${d.said()}`);
  const processes = readdirSync('/proc')
    .filter((n) => /^\d+$/.test(n) && existsSync(`/proc/${n}/cmdline`))
    .map((n) => {
      try {
        return readFileSync(`/proc/${n}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch (e: unknown) {
        return `gone: ${String(e instanceof Error)}`;
      }
    });
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const loops = readdirSync('/sys/block')
    .map((n) => `/sys/block/${n}/loop/backing_file`)
    .filter((f) => existsSync(f))
    .map((f) => readFileSync(f, 'utf8'));
  const files = readdirSync('/tmp').map((n) => `/tmp/${n}`);
  const images = readdirSync(path.join(root, 'loopback-images')).filter((n) => n.startsWith('server'));
  return [...[...processes, ...mounts, ...loops, ...files].filter((l) => l.includes(mark)), ...images];
}

interface Running {
  child: ChildProcess;
  said(): string;
  /** Exit code, or the signal that ended it. */
  end: Promise<number | string>;
  /** To the demo and all that it runs in the foreground, as Ctrl-C does it. */
  signal(name: NodeJS.Signals): void;
}

function startDemo(...args: string[]): Running {
  const child = spawn(demo, args, { cwd: '/', detached: true, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '' } });
  children.push(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (s: string) => {
      text += s;
    });
  }
  const end = new Promise<number | string>((resolve) => {
    child.on('close', (code, signal) => {
      resolve(code ?? signal ?? 'unknown');
    });
  });
  const signal = (name: NodeJS.Signals): void => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid, name);
  };
  return { child, said: () => text, end, signal };
}

describe('scripts/demo', () => {
  it('has a page of help, and refuses what it does not know', async () => {
    const help = await run(demo, ['--help']);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toContain('--keep');
    expect(await run(demo, ['--faster'])).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('--faster') as string });
  });

  it('hears every Ctrl-C, also one that comes while the shell reaps a command whose output it asked for', async () => {
    const ends = await Promise.all(
      Array.from({ length: 4 }, async (_, lane) => {
        const codes: (number | string)[] = [];
        for (let i = 0; i < 30; i++) codes.push(await interruptAsking(5 + ((4 * i + lane) % 60) / 4));
        return codes;
      }),
    );
    expect(new Set(ends.flat())).toEqual(new Set([130]));
  }, 120_000);

  it('tells an ordinary user what it lacks, and changes nothing', async () => {
    const tree = temporaryFolder();
    chmodSync(tree, 0o755);
    for (const name of ['scripts', 'loopback-images/README.md', 'package.json']) {
      mkdirSync(path.dirname(path.join(tree, name)), { recursive: true });
      cpSync(path.join(root, name), path.join(tree, name), { recursive: true });
    }
    const script = path.join(tree, 'scripts/demo');
    const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', script];
    const r = isRoot ? await run('setpriv', nobody) : await run(script, []);
    expect(r.stdout).toContain('can not run here. It lacks:\n  - root');
    expect(r).toMatchObject({ code: 1, timedOut: false });
    expect(readdirSync(path.join(tree, 'loopback-images'))).toEqual(['README.md']);
  });
});

describe.skipIf(lack !== undefined)(`the demo's run${lack === undefined ? '' : ` (needs ${lack})`}`, () => {
  afterEach(async () => {
    for (const c of children) {
      if (c.exitCode !== null || c.signalCode !== null) continue;
      const ended = new Promise((resolve) => c.once('close', resolve));
      c.kill('SIGTERM');
      await ended;
    }
    children = [];
  });

  it('stops its nodes and cleans up when it is interrupted with a filesystem in use', async () => {
    const d = startDemo();
    await until('a target is killed', () => d.said().includes('server3 is dead'), 120_000);
    expect(remains(d)).not.toEqual([]);
    d.signal('SIGINT');
    expect(await d.end).toBe(130);
    expect(d.said()).toContain('Interrupted');
    expect(remains(d)).toEqual([]);
  });

  it('cleans up after one that was killed, then shows everything and leaves nothing behind', async () => {
    const killed = startDemo();
    await until('files are written', () => killed.said().includes('files written and synced'), 120_000);
    killed.signal('SIGKILL');
    expect(await killed.end).toBe('SIGKILL');
    expect(remains(killed)).not.toEqual([]);

    const d = startDemo();
    const end = await d.end;
    expect({ end, said: d.said() }).toEqual({ end: 0, said: expect.stringContaining('with 12 checks passed') as string });
    expect(d.said()).toContain('an earlier demo was killed: cleaning up after it');
    expect(d.said()).toContain('three legs are the same, byte for byte');
    // Colours are for terminals.
    expect(d.said()).not.toContain('\u001b');
    expect(remains(d)).toEqual([]);
    expect(remains(killed)).toEqual([]);
  });

  it('keeps the legs and logs when asked to, and runs nothing on', async () => {
    const d = startDemo('--keep');
    await until('a mirror is made', () => d.said().includes('data is made on server1'), 120_000);
    d.signal('SIGINT');
    expect(await d.end).toBe(130);
    const left = remains(d);
    expect(left).toContain('server1');
    const folder = left.find((l) => l.startsWith('/tmp/netraid-demo.')) ?? '';
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(['server1', 'server2', 'server3']));
    expect(left.filter((l) => l.startsWith('node '))).toEqual([]);

    const next = startDemo();
    await until('the next one begins', () => next.said().includes('server3 listens'), 120_000);
    next.signal('SIGINT');
    expect(await next.end).toBe(130);
    expect(remains(next)).toEqual([]);
    expect(remains(d)).toEqual([]);
  });
});
