import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BufferTerminal } from '../../../../src/cli/buffer-terminal.ts';
import { runCommandLine } from '../../../../src/cli/run.ts';
import { nodeFiles } from '../../../../src/io/node/files.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { temporaryFolders } from '../../io/node/temporary-folder.ts';
import { contents } from '../../pki/ca-world.ts';
import { FakeDaemon, quickClock, run, type Ran, type RunOptions } from '../fake-daemon.ts';

const folder = temporaryFolders();

class Noon extends ManualClock {
  override wallNow(): number {
    return Date.UTC(2026, 0, 1, 12) + this.now();
  }
}

/** Runs a `netraid pki` command; `ROOT` in it is the folder. */
async function at(root: string, command: string, o: RunOptions = {}): Promise<Ran> {
  const client = new FakeDaemon();
  const ran = await run(`netraid pki ${command.replaceAll('ROOT', root)}`, client, { files: nodeFiles, clock: new Noon(), ...o });
  expect(client.calls).toEqual([]);
  return ran;
}

async function newCa(): Promise<string> {
  const root = await folder();
  expect(await at(root, 'init ROOT/ca --cluster production')).toMatchObject({ code: 0, errors: [] });
  return root;
}

/** What JSON says where that is an object. */
const json = (ran: Ran): Record<string, unknown> => JSON.parse(ran.out.join('\n')) as Record<string, unknown>;

describe('netraid pki', () => {
  it('makes a CA, and issues, renews, lists and revokes, each with a word on what to do next', async () => {
    const root = await folder();
    expect((await at(root, 'init ROOT/ca --cluster production')).out).toEqual([
      `NetRAID CA of production is made in ${root}/ca, valid until 2035-12-30`,
      'Its key is ca-key.pem there: whoever has it can issue certificates.',
    ]);
    expect((await at(root, 'list ROOT/ca')).out).toEqual(['NetRAID CA of production, valid until 2035-12-30', 'no certificates']);
    expect((await at(root, 'issue ROOT/ca server1 --node --host 10.0.0.1 --host One.example --host server1 --out ROOT/n')).out).toEqual([
      "server1 at 10.0.0.1, one.example has a node's certificate, valid until 2028-04-05",
      `Copy the files in ${root}/n to ROOT/etc/tls of server1, the key readable by its daemon alone.`,
    ]);
    expect((await at(root, 'issue ROOT/ca backup --client --days 5000 --out ROOT/c')).out).toEqual([
      "backup has a client's certificate, valid until 2035-12-30, when the CA itself ends",
      `The client finds its files in ${root}/c (tls-certificates=${root}/c).`,
    ]);
    expect((await at(root, 'renew ROOT/ca server1 --days 30 --revoke-old --out ROOT/n')).out).toEqual([
      "server1 at 10.0.0.1, one.example has a node's certificate, valid until 2026-01-31",
      expect.stringContaining('Copy the files in'),
      '1 certificate of server1 revoked',
      expect.stringMatching(/^Copy .*\/ca\/ca-crl\.pem to ROOT\/etc\/tls of each node/),
    ]);
    const { out } = await at(root, 'list ROOT/ca');
    expect(out[1]).toMatch(/^NAME {5}KIND {4}HOSTS {17}SERIAL {28}FROM {8}UNTIL {7}STATE$/);
    expect(
      out
        .slice(2)
        .map((l) => l.replace(/[0-9a-f]{32}/, 'SERIAL').split(/ {2,}/))
        .sort(),
    ).toEqual([
      ['backup', 'client', '-', 'SERIAL', '2026-01-01', '2035-12-30', 'valid'],
      ['server1', 'node', '10.0.0.1 one.example', 'SERIAL', '2026-01-01', '2026-01-31', 'valid'],
      ['server1', 'node', '10.0.0.1 one.example', 'SERIAL', '2026-01-01', '2028-04-05', 'revoked'],
    ]);
  });

  it('answers in JSON, and never with a key', async () => {
    const root = await newCa();
    const issued = json(await at(root, 'issue ROOT/ca server1 --node --host ::1 --out ROOT/n --json'));
    expect(issued).toEqual({
      name: 'server1',
      kind: 'node',
      hosts: ['::1'],
      serial: expect.stringMatching(/^[0-9a-f]{32}$/) as unknown,
      from: '2026-01-01T11:55:00Z',
      until: '2028-04-05T12:00:00Z',
      out: `${root}/n`,
    });
    expect(json(await at(root, 'list ROOT/ca --json'))).toEqual({
      ca: { name: 'NetRAID CA of production', until: '2035-12-30T12:00:00Z' },
      certificates: [{ ...issued, out: undefined, state: 'valid' }],
      damaged: [],
    });
    expect(json(await at(root, 'revoke ROOT/ca server1 --yes --json'))).toEqual({
      name: 'server1',
      revoked: [issued['serial']],
      list: `${root}/ca/ca-crl.pem`,
    });
    const key = await at(root, 'psk ROOT/keys bob --json');
    expect(json(key)).toEqual({ file: `${root}/keys`, user: 'bob' });
    expect(readFileSync(join(root, 'keys'), 'utf8')).toMatch(/^bob:[0-9a-f]{64}\n$/);
  });

  it('lists what it can, says what is damaged, and fails', async () => {
    const root = await newCa();
    await at(root, 'issue ROOT/ca server1 --node --out ROOT/n');
    const [record = ''] = readdirSync(join(root, 'ca/issued'));
    await (await nodeFiles.open(join(root, 'ca/issued', record.replace('server1', 'other')), { write: true, create: true })).close();
    const { code, out, errors } = await at(root, 'list ROOT/ca');
    expect([code, out.length, errors]).toEqual([1, 3, [expect.stringContaining('is damaged')]]);
  });
});

describe('revoking by the command line', () => {
  it('says what it will do and asks; only a yes does it', async () => {
    const root = await newCa();
    await at(root, 'issue ROOT/ca server1 --node --out ROOT/n');
    const before = contents(root);
    const no = await at(root, 'revoke ROOT/ca server1', { answers: ['no'] });
    expect([no.code, no.terminal.questions]).toEqual([1, ['Revoke every certificate of server1? [yes/no] ']]);
    expect(no.out).toEqual([expect.stringMatching(/^server1 is cut off by each node that gets the new list; to be revoked: [0-9a-f]{32}$/)]);
    const nobody = await at(root, 'revoke ROOT/ca server1');
    expect([nobody.code, nobody.errors]).toEqual([2, [expect.stringContaining('--yes says it beforehand')]]);
    expect(contents(root)).toEqual(before);
    expect(await at(root, 'revoke ROOT/ca server1', { answers: ['yes'] })).toMatchObject({ code: 0 });
    const again = await at(root, 'revoke ROOT/ca server1');
    expect([again.code, again.out]).toEqual([0, ['every certificate of server1 was revoked before']]);
  });
});

describe('refused in one line, with nothing changed', () => {
  it.each([
    ['init ROOT/ca', 1, 'holds a CA already'],
    [`init ROOT/b --cluster ${'x'.repeat(51)}`, 2, '--cluster is too long; allowed: 50 letters'],
    ['init ROOT/b --cluster a,b', 2, '--cluster "a,b" is not allowed; allowed: 1 to 64 letters'],
    ['init ROOT/b --days 0', 2, '--days "0" is not allowed; allowed: a whole number from 1 to 36500'],
    ['issue ROOT/ca a --out ROOT/n', 2, '--node or --client is missing'],
    ['issue ROOT/ca a --node --client --out ROOT/n', 2, '--node and --client exclude each other'],
    ['issue ROOT/ca a --node', 2, '--out is missing'],
    ['issue ROOT/ca ../a --node --out ROOT/n', 2, 'NAME "../a" is not allowed'],
    ['issue ROOT/ca a --node --host 1.2.3 --out ROOT/n', 2, '--host "1.2.3" is not allowed; allowed: a host name, or an address of IPv4 or IPv6'],
    [`issue ROOT/ca a --node ${'--host h '.repeat(65)}--out ROOT/n`, 2, '--host is given 65 times; allowed: 64'],
    ['issue ROOT/ca a --node --out ROOT/ca', 1, 'holds the key of a CA'],
    ['issue ROOT/nowhere a --node --out ROOT/n', 1, 'holds no CA'],
    ['issue ROOT a --node --out ROOT/n', 1, 'holds no CA'],
    ['renew ROOT/ca a --out ROOT/n', 1, 'a has no certificate that could be renewed'],
    ['revoke ROOT/ca a --yes', 1, 'a has no certificate of this CA'],
    ['list ROOT/n', 1, 'holds no CA'],
    ['psk ROOT/ca/ca-cert.pem bob', 1, 'is no file of keys'],
    ['psk ROOT/keys a:b', 2, 'USER "a:b" is not allowed'],
    ['psk ROOT/no/keys bob', 1, 'no such file'],
  ])('%s', async (command, exit, message) => {
    const root = await newCa();
    const before = contents(root);
    const { code, out, errors } = await at(root, command);
    expect([code, out, errors]).toEqual([exit, [], [expect.stringContaining(message)]]);
    expect(contents(root)).toEqual(before);
  });

  it('where all chance is a seed, as in the simulated world', async () => {
    const terminal = new BufferTerminal();
    const world = { client: () => new FakeDaemon(), terminal, clock: quickClock(), files: nodeFiles, devices: null, crypto: null, version: '1' };
    const dir = join(await folder(), 'ca');
    expect(await runCommandLine(['netraid', 'pki', 'init', dir], world)).toBe(1);
    expect(terminal.errors).toEqual(['netraid pki init: keys can not be made in this world']);
  });
});
