import { describe, expect, it } from 'vitest';
import { ControlError } from '../../../../src/control/types.ts';
import { FakeDaemon, harmless, mirror, run, target } from '../fake-daemon.ts';

const three = mirror({ targets: [target('server2', { state: 'Paused' }), target('server3')] });
const daemon = (over: Partial<FakeDaemon['handlers']> = {}) =>
  new FakeDaemon({
    status: () => three,
    pause: () => three,
    resume: () => three,
    fullresync: () => three,
    preview: harmless(),
    info: () => ({
      node: 'server1',
      cluster: 'c',
      version: '1',
      peers: {},
      mirrors: [],
      broken: [],
      refused: { clients: 0, nodes: 0, sessions: 0 },
      tls: null,
    }),
    force: () => three,
    ...over,
  });

describe('mirror_action pause and resume', () => {
  it.each([
    ['pause', []],
    ['pause server1', []],
    ['pause server1 server2', ['server2']],
    ['pause server2', ['server2']],
    ['pause server2 server3', ['server2', 'server3']],
    ['resume server1 server3', ['server3']],
    ['resume', []],
  ])('%s', async (words, nodes) => {
    const d = daemon();
    expect((await run(`mirror_action datarep-ext3 ${words}`, d)).code).toBe(0);
    expect(d.calls.at(-1)).toEqual([words.split(' ')[0], { tag: 'datarep-ext3', nodes }]);
  });

  it('show the targets that they were about', async () => {
    const { out } = await run('mirror_action datarep-ext3 pause server2', daemon());
    expect(out).toEqual(['datarep-ext3: paused', 'server1 -> server2: Paused']);
  });
});

describe('mirror_action fullresync', () => {
  it.each([
    ['server1 server2', 'server1', ['server2']],
    ['server1 server2 server3', 'server1', ['server2', 'server3']],
    ['server1', 'server1', []],
    ['server2', null, ['server2']],
    ['', null, []],
  ])('%j goes from the source to these, which the order names', async (words, source, nodes) => {
    const d = daemon();
    const { code, out } = await run(`mirror_action datarep-ext3 fullresync ${words} --yes`, d);
    expect([code, out[0]]).toEqual([0, 'server1 -> server2: all bytes on server2 are overwritten']);
    expect(d.calls.slice(1)).toEqual([
      ['preview', { tag: 'datarep-ext3', action: 'fullresync', nodes, source }],
      ['fullresync', { tag: 'datarep-ext3', source: 'server1', nodes: nodes.length === 0 ? ['server2', 'server3'] : nodes, overrules: [] }],
    ]);
  });

  it('asks in the direction that it goes', async () => {
    const { terminal } = await run('mirror_action datarep-ext3 fullresync server2', daemon(), { answers: ['yes'] });
    expect(terminal.questions).toEqual(['Overwrite server2 with the data of server1? [yes/no] ']);
  });

  it('says yes to what was shown, and shows and asks anew where something else has been found since', async () => {
    const found = ['split-brain server2 1 (server2) 00'];
    const shown = [harmless(), harmless(['server2: split brain'], { overrules: found })];
    let orders = 0;
    const d = daemon({
      preview: () => (shown.shift() ?? harmless())(),
      fullresync: () => {
        orders += 1;
        if (orders === 1) throw new ControlError('unconfirmed', 'server2: split brain, which was not confirmed');
        return three;
      },
    });
    const { code, out, terminal } = await run('mirror_action datarep-ext3 fullresync server2', d, { answers: ['yes', 'yes'] });
    expect([code, terminal.questions.length]).toEqual([0, 2]);
    expect(out).toContain('server2: split brain');
    expect(d.calls.at(-1)).toEqual(['fullresync', { tag: 'datarep-ext3', source: 'server1', nodes: ['server2'], overrules: found }]);
  });

  it('never takes a wrong source for one more target', async () => {
    const d = daemon();
    const { code, errors } = await run('mirror_action datarep-ext3 fullresync server2 server3 --yes', d);
    expect([code, d.changes()]).toEqual([1, []]);
    expect(errors).toEqual(['mirror_action: server2 is not the source of datarep-ext3: server1 is; allowed: fullresync server1 TARGET...']);
  });
});

describe('mirror_action force', () => {
  it('shows the evidence, asks, and goes in service', async () => {
    const d = daemon({ preview: harmless(['flags here: last_owner set'], { bytesOverwritten: 0, confirms: ['force', 'no-majority'] }) });
    const { code, out, terminal } = await run('mirror_action datarep-ext3 force server1', d, { answers: ['y'] });
    expect([code, out]).toEqual([0, ['flags here: last_owner set', 'datarep-ext3 is in service on server1']]);
    expect(terminal.questions).toEqual(['Force datarep-ext3 in service on server1? [yes/no] ']);
    expect(d.calls.at(-1)).toEqual(['force', { tag: 'datarep-ext3', withoutLastOwner: false, confirmed: ['force', 'no-majority'] }]);
  });

  it('without last_owner wants more than --yes', async () => {
    const d = daemon({ preview: harmless(['flags here: last_owner not set'], { lastOwnerHere: false, confirms: ['force'] }) });
    const refused = await run('mirror_action datarep-ext3 force server1 --yes', d);
    expect([refused.code, d.changes()]).toEqual([1, []]);
    expect(refused.errors[0]).toContain('this node has no last_owner');
    expect(refused.errors[0]).toContain('add --without-last-owner');
    const alone = await run('mirror_action datarep-ext3 force server1 --without-last-owner', d);
    expect([alone.code, d.changes()]).toEqual([2, []]);
    expect((await run('mirror_action datarep-ext3 force server1 --yes --without-last-owner', d)).code).toBe(0);
    expect(d.calls.at(-1)).toEqual(['force', { tag: 'datarep-ext3', withoutLastOwner: true, confirmed: ['force'] }]);
  });

  it('acts on the node that it is run on', async () => {
    const d = daemon();
    const { code, errors } = await run('mirror_action datarep-ext3 force server2 --yes', d);
    expect([code, d.changes()]).toEqual([2, []]);
    expect(errors[0]).toContain('force server2: this is server1; run it on server2');
  });
});

describe('mirror_action refuses', () => {
  it.each([
    ['', 'TAG is missing'],
    ['a', 'ACTION is missing'],
    ['a stop', 'ACTION "stop" is not allowed; allowed: pause, resume, fullresync, force'],
    ['a pause x/y', '"x/y" is not a node name: NODES'],
    ['a pause b b', 'b is named twice'],
    ['a force b c', 'force takes one NODE'],
    ['a pause --without-last-owner', '--without-last-owner means nothing with pause'],
    ['a pause --wait 1m', '--wait means nothing with pause'],
    ['a resume --wait 1', '--wait "1" is not allowed'],
  ])('%j', async (words, message) => {
    const d = daemon();
    const { code, errors } = await run(`mirror_action ${words}`, d);
    expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
    expect(errors[0]).toContain(message);
  });
});
