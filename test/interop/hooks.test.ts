/** Hooks of a real daemon: shell scripts in its folder, told what happens, in the order in which it happens. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { Daemons } from '../support/daemons.ts';
import { lackingForDevices } from '../support/machine.ts';
import { builtProgram } from '../support/node-process.ts';
import { testWith } from '../support/programs.ts';

const TAG = 'data';
const MIB = 1024 * 1024;
const lacking = lackingForDevices();
if (lacking !== undefined) process.stderr.write(`\nWARNING: SKIPPED the mount of test/interop/hooks.test.ts: not here: ${lacking}\n\n`);

async function withDaemons(hookTimeout: string, test: (d: Daemons) => Promise<void>): Promise<void> {
  const config = { hookTimeout };
  const daemons = await Daemons.start({ nodes: ['server1', 'server2'], failureTimeoutMs: 1000, config: { server1: config, server2: config } });
  try {
    await test(daemons);
  } finally {
    await daemons.close();
  }
}

function install(daemons: Daemons, node: string, name: string, lines: readonly string[]): void {
  const folder = path.join(daemons.node(node).root, 'etc/hooks.d');
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, name), ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(path.join(folder, name), 0o755);
}

/** What the hook of a node has written so far, one line a call; the shell makes the file before it writes the line. */
function told(daemons: Daemons, node: string): string[] {
  const file = daemons.path(`${node}.told`);
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
}

// Each with daemons of its own: most of the time all of them wait.
describe.concurrent('hooks', () => {
  testWith(['nbdinfo'], 'scripts are told of a failover, and have unmounted before a clean end', () =>
    withDaemons('5s', async (daemons) => {
      for (const node of ['server1', 'server2']) {
        const file = daemons.path(`${node}.told`);
        // The export still answers while the hook for out-of-service runs.
        const stillServed = `served=$(nbdinfo --size "nbd+unix:///$2?socket=$NETRAID_ROOT/run/nbd.sock" 2>/dev/null || echo no)`;
        install(daemons, node, '10-tell', [stillServed, `echo "$1 $2 $NETRAID_NODE $NETRAID_RULE $served" >> ${file}`]);
        install(daemons, node, '20-fails', ['echo went wrong >&2', 'exit 7']);
      }
      await daemons.createMirror({
        tag: TAG,
        sizeBytes: 1024 * 1024,
        regionBytes: 64 * 1024,
        legs: { server1: daemons.path('leg1'), server2: daemons.path('leg2') },
      });
      await daemons.until('server1 is told', () => Promise.resolve(told(daemons, 'server1').length > 0));
      expect(told(daemons, 'server1')[0]).toBe('in-service data server1 evidence 1048576');
      await daemons.node('server1').kill();
      await daemons.until('server2 is told', () => Promise.resolve(told(daemons, 'server2').length > 0));
      expect(told(daemons, 'server2')).toEqual(['in-service data server2 takeover 1048576']);
      await daemons.until('the failed hook is logged', () =>
        Promise.resolve(daemons.node('server2').logged(/hook 20-fails for in-service failed: exit status 7.*went wrong/).length > 0),
      );
      await daemons.node('server2').control.call('out-of-service', { tag: TAG });
      expect(told(daemons, 'server2').slice(1)).toEqual(['out-of-service data server2 stopped-on-purpose 1048576']);
    }),
  );

  it.skipIf(lacking !== undefined)('the hook of the README mounts after a failover, and has unmounted before the mirror goes out of service', () =>
    withDaemons('5s', async (daemons) => {
      await daemons.createMirror({ tag: TAG, sizeBytes: 64 * MIB, legs: { server1: daemons.path('leg1'), server2: daemons.path('leg2') } });
      const [first, second] = [daemons.path('on1'), daemons.path('on2')];
      for (const dir of [first, second]) mkdirSync(dir);
      const server1 = daemons.node('server1');
      const done = async (args: readonly string[]): Promise<void> => {
        const r = await server1.cli('netraid', args);
        expect([r.code, r.stderr]).toEqual([0, '']);
      };
      await done(['mount', TAG, first, '--mkfs', 'ext4', '--method', 'fuse']);
      writeFileSync(path.join(first, 'note'), 'kept');
      await done(['umount', TAG, '--detach']);
      const netraid = `node ${builtProgram('netraid')}`;
      for (const [node, dir] of Object.entries({ server1: first, server2: second })) {
        install(daemons, node, '10-files', [
          'case "$NETRAID_EVENT" in',
          `in-service) ${netraid} detach data --unmount && ${netraid} mount data ${dir} --check --method fuse ;;`,
          `out-of-service) ${netraid} detach data --unmount ;;`,
          'esac',
        ]);
      }
      const note = (dir: string): string => path.join(dir, 'note');
      const mounted = (dir: string) => daemons.until(`the hook has mounted ${dir}`, () => Promise.resolve(existsSync(note(dir))));
      await server1.kill();
      await mounted(second);
      expect(readFileSync(note(second), 'utf8')).toBe('kept');
      await server1.start();
      await daemons.untilInSync('server2', TAG);
      // Written, and not synced by whoever wrote it: the unmount of the hook does that while the mirror still answers.
      writeFileSync(note(second), 'changed');
      await daemons.node('server2').control.call('out-of-service', { tag: TAG });
      expect(existsSync(note(second))).toBe(false);
      expect(daemons.node('server2').logged(/hook .* failed/)).toEqual([]);
      await server1.control.call('in-service', { tag: TAG });
      await mounted(first);
      expect(readFileSync(note(first), 'utf8')).toBe('changed');
    }),
  );

  it('a hook that hangs is ended, and the daemon stops in order', () =>
    withDaemons('1s', async (daemons) => {
      install(daemons, 'server1', '10-hangs', ["trap '' TERM", 'sleep 600']);
      await daemons.createMirror({
        tag: TAG,
        sizeBytes: 1024 * 1024,
        regionBytes: 64 * 1024,
        legs: { server1: daemons.path('leg1'), server2: daemons.path('leg2') },
      });
      await daemons.node('server1').stop();
      expect(daemons.node('server1').logged(/hook 10-hangs for out-of-service failed: its time was over/)).toHaveLength(1);
    }));
});
