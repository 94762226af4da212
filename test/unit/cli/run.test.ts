import { describe, expect, it } from 'vitest';
import { commandsOfNetraid, programs } from '../../../src/cli/registry.ts';
import { DaemonUnreachableError } from '../../../src/control/http-client.ts';
import { ControlError } from '../../../src/control/types.ts';
import { FakeDaemon, mirror, run } from './fake-daemon.ts';

const failing = (e: Error) =>
  new FakeDaemon({
    list: () => {
      throw e;
    },
  });

describe('a command line', () => {
  it('lists all commands on request', async () => {
    for (const words of ['netraid --help', 'netraid -h', 'netraid help']) {
      const { code, out, errors } = await run(words, new FakeDaemon());
      expect([code, errors]).toEqual([0, []]);
      for (const c of commandsOfNetraid) expect(out.join('\n')).toContain(`  ${c.name} `);
      for (const p of Object.keys(programs)) expect(out.join('\n')).toContain(p);
    }
  });

  it('of no words lists them too, and fails', async () => {
    expect((await run('netraid', new FakeDaemon())).code).toBe(2);
  });

  it('of the first word of a group alone lists its commands, and fails unless help was asked for', async () => {
    for (const [words, exit] of [
      ['netraid pki', 2],
      ['netraid pki --help', 0],
      ['netraid pki -h', 0],
      ['netraid pki help', 0],
    ] as const) {
      const { code, out, errors } = await run(words, new FakeDaemon());
      expect([code, errors, out[0]]).toEqual([exit, [], 'netraid pki COMMAND [options]']);
      expect(out.filter((l) => l.startsWith('  ')).map((l) => l.trim().split(/ {2,}/)[0])).toEqual(
        commandsOfNetraid.map((c) => c.name).filter((n) => n.startsWith('pki ')),
      );
    }
  });

  it('tells the version', async () => {
    expect((await run('netraid --version', new FakeDaemon())).out).toEqual(['netraid 9.9.9']);
  });

  it.each([
    ['netraid frobnicate', 'netraid: no command "frobnicate"; allowed: create, extend'],
    ['netraid toString', 'netraid: no command "toString"'],
    ['netraid pki frobnicate', 'netraid: no command "pki frobnicate"; allowed: pki init, pki issue'],
    ['netraid init', 'netraid: no command "init"'],
    ['netraid --json status', 'netraid: --json stands before the command'],
    ['mirror_frob a', 'mirror_frob: no such program; allowed: netraid, mirror_action, mirror_status, mirror_resize, bitmap'],
  ])('%s is refused in one line', async (words, message) => {
    const { code, out, errors } = await run(words, new FakeDaemon());
    expect([code, out, errors.length]).toEqual([2, [], 1]);
    expect(errors[0]).toContain(message);
  });

  it.each([
    [new ControlError('refused', 'not now'), 1, 'netraid status: not now'],
    [new ControlError('not-found', 'no mirror'), 1, 'netraid status: no mirror'],
    [new ControlError('unreachable', 'server2 is silent'), 1, 'netraid status: server2 is silent'],
    [new ControlError('bad-request', 'tag: bad'), 2, 'netraid status: tag: bad'],
    [new ControlError('internal', 'x'), 1, 'netraid status: the daemon failed unexpectedly: x; its log tells more'],
    [new DaemonUnreachableError('not running'), 3, 'netraid status: not running'],
    [new TypeError('two\nlines\u001b[2J'), 1, 'netraid status: unexpected: two lines [2J'],
  ])('ends %s as a code and one line', async (error, code, line) => {
    const ran = await run('netraid status', failing(error));
    expect([ran.code, ran.errors, ran.out]).toEqual([code, [line], []]);
  });

  it('takes root and socket to where the daemon is', async () => {
    const { runCommandLine } = await import('../../../src/cli/run.ts');
    const { BufferTerminal } = await import('../../../src/cli/buffer-terminal.ts');
    const { quickClock } = await import('./fake-daemon.ts');
    const { MemoryFiles } = await import('../../support/memory-files.ts');
    const places: unknown[] = [];
    const world = {
      client: (place: unknown) => {
        places.push(place);
        return new FakeDaemon({ list: () => [mirror()] });
      },
      terminal: new BufferTerminal(),
      clock: quickClock(),
      files: new MemoryFiles(),
      devices: null,
      crypto: null,
      version: '1',
    };
    await runCommandLine(['netraid', 'status'], world);
    await runCommandLine(['netraid', 'status'], { ...world, defaultRoot: '/env' });
    await runCommandLine(['netraid', 'status', '--root', '/r'], { ...world, defaultRoot: '/env' });
    await runCommandLine(['netraid', 'status', '--root=/r', '--socket', '/s'], world);
    expect(places).toEqual([
      { root: '/var/lib/netraid', socketPath: '/var/lib/netraid/run/control.sock' },
      { root: '/env', socketPath: '/env/run/control.sock' },
      { root: '/r', socketPath: '/r/run/control.sock' },
      { root: '/r', socketPath: '/s' },
    ]);
  });
});
