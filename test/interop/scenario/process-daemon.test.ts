import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { DaemonProcess, daemonCommand } from '../../../src/scenario/process-daemon.ts';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** Processes whose command line names this folder. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder);
    } catch (e: unknown) {
      // It ended meanwhile.
      if (e instanceof Error && 'code' in e && (e.code === 'ENOENT' || e.code === 'ESRCH')) return false;
      throw e;
    }
  });
}

describe('when the runner ends, so do its daemons', () => {
  async function runner(): Promise<{ child: ChildProcess; folder: string }> {
    const child = spawn(process.execPath, ['--import', 'tsx', path.join(import.meta.dirname, 'runner-child.ts')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    closers.push(() => {
      child.kill('SIGKILL');
    });
    const folder = await new Promise<string>((resolve) => {
      let text = '';
      child.stdout.on('data', (b: Buffer) => {
        text += b.toString();
        if (text.endsWith('\n')) resolve(text.trim());
      });
    });
    closers.push(() => {
      rmSync(folder, { recursive: true, force: true });
    });
    expect(processesOf(folder)).toHaveLength(2);
    return { child, folder };
  }

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('by %s, and its folders are gone', async (signal) => {
    const { child, folder } = await runner();
    const ended = new Promise((resolve) =>
      child.once('exit', (_code, by) => {
        resolve(by);
      }),
    );
    child.kill(signal);
    expect(await ended).toBe(signal);
    await expect.poll(() => processesOf(folder), { timeout: 5000 }).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });

  it.runIf(existsSync('/usr/bin/setpriv'))('even when it is killed', async () => {
    const { child, folder } = await runner();
    child.kill('SIGKILL');
    await expect.poll(() => processesOf(folder), { timeout: 5000 }).toEqual([]);
  });
});

describe('a daemon', () => {
  function place(): { name: string; root: string; logPath: string; faultsPath: string } {
    const folder = mkdtempSync(path.join(tmpdir(), 'netraid-daemon-'));
    closers.push(() => {
      rmSync(folder, { recursive: true });
    });
    const root = path.join(folder, 'a');
    mkdirSync(path.join(root, 'etc'), { recursive: true });
    writeFileSync(path.join(root, 'etc/netraid.yaml'), 'version: 1\ncluster: c\nnode: a\n');
    return { name: 'a', root, logPath: path.join(folder, 'a.log'), faultsPath: folder };
  }

  it('answers, stands still, goes on, and stops in order', async () => {
    const d = new DaemonProcess(place(), daemonCommand());
    closers.push(() => d.kill());
    await d.started();
    expect(await d.control.call('info', {})).toMatchObject({ node: 'a', cluster: 'c' });
    d.freeze();
    expect(d.frozen).toBe(true);
    d.thaw();
    expect((await d.control.call('info', {})).mirrors).toEqual([]);
    await d.stop();
    d.check();
    expect(d.lastWords().join('\n')).toContain('stopped');
  });

  it('that ends by itself is told of, with its last words', async () => {
    const p = place();
    writeFileSync(path.join(p.root, 'etc/netraid.yaml'), 'version: 1\ncluster: c\nnode: ../a\n');
    const d = new DaemonProcess(p, daemonCommand());
    await expect(d.started()).rejects.toThrow(/the daemon of a ended by itself: exit code 2; it said last: .*node: "\.\.\/a" is not allowed/);
  });

  it('is killed as it stands', async () => {
    const d = new DaemonProcess(place(), daemonCommand());
    await d.started();
    d.freeze();
    await d.kill();
    d.check();
  });
});
