import { expect, test } from 'vitest';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import type { Access } from '../../../src/nbd/access.ts';
import { DEFAULT_HANDSHAKE_LIMITS, type HandshakeOutcome, serveHandshake } from '../../../src/nbd/handshake-server.ts';
import * as wire from '../../../src/nbd/wire/constants.ts';
import * as hs from '../../../src/nbd/wire/handshake.ts';
import { encodeText } from '../../../src/nbd/wire/layout.ts';
import { FakeTls, type FakeIdentity } from '../../support/fake-tls.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';
import { socketPair } from '../../support/socket-pair.ts';
import { deviceWith, INFO } from './plain-device.ts';

const device = deviceWith(INFO);

interface Table {
  plain: PullSocket;
  clock: ManualClock;
  done: Promise<HandshakeOutcome>;
  unproved: string[];
  secured: PullSocket[];
}

function table(mode: 'allowed' | 'required' | 'off', access?: (name: string, proved: readonly string[] | null) => Access): Table {
  const [a, b] = socketPair();
  const clock = new ManualClock();
  const unproved: string[] = [];
  const secured: PullSocket[] = [];
  const done = serveHandshake(new PullSocket(a, clock), {
    exports: { list: () => ['vol', 'other'].map((name) => ({ name, description: '' })), find: () => device },
    clock,
    limits: DEFAULT_HANDSHAKE_LIMITS,
    ...(access === undefined ? {} : { access }),
    ...(mode === 'off' ? {} : { tls: { tls: new FakeTls({ names: ['server'] }, clock), mode } }),
    onUnproved: (why) => unproved.push(why),
    onSecured: (pull) => secured.push(pull),
  });
  const plain = new PullSocket(b, clock);
  plain.write(hs.encodeClientFlags(wire.NBD_FLAG_C_FIXED_NEWSTYLE | wire.NBD_FLAG_C_NO_ZEROES));
  return { plain, clock, done, unproved, secured };
}

/** The last reply to an option. */
async function ask(client: PullSocket, option: number, data?: Uint8Array): Promise<number> {
  client.write(hs.encodeOption(option, data));
  for (;;) {
    const header = hs.decodeOptionReplyHeader(await client.read(20, 1000));
    if (header === undefined) throw new Error('no reply');
    await client.read(header.length, 1000);
    if (header.reply === wire.NBD_REP_ACK || header.reply >= wire.NBD_REP_FLAG_ERROR) return header.reply;
  }
}

async function greeted(t: Table): Promise<PullSocket> {
  await t.plain.read(18, 1000);
  return t.plain;
}

/** STARTTLS and what follows it, as that client. */
async function secured(plain: PullSocket, identity: FakeIdentity): Promise<PullSocket> {
  expect(await ask(plain, wire.NBD_OPT_STARTTLS)).toBe(wire.NBD_REP_ACK);
  const { socket } = plain;
  plain.detach();
  socket.resume();
  return new PullSocket(await new FakeTls(identity, new ManualClock()).connect(socket, 'server', 1000), new ManualClock());
}

const GO = hs.encodeInfoRequest('vol', []);

test('where TLS is required, every option before it is told so, ABORT is taken, and the old way in is closed', async () => {
  const client = await greeted(table('required'));
  for (const option of [wire.NBD_OPT_LIST, wire.NBD_OPT_STRUCTURED_REPLY, wire.NBD_OPT_SET_META_CONTEXT, 99]) {
    expect(await ask(client, option)).toBe(wire.NBD_REP_ERR_TLS_REQD);
  }
  for (const option of [wire.NBD_OPT_INFO, wire.NBD_OPT_GO]) expect(await ask(client, option, GO)).toBe(wire.NBD_REP_ERR_TLS_REQD);
  expect(await ask(client, wire.NBD_OPT_ABORT)).toBe(wire.NBD_REP_ACK);
  const old = table('required');
  const plain = await greeted(old);
  plain.write(hs.encodeOption(wire.NBD_OPT_EXPORT_NAME, encodeText('vol')));
  expect(await old.done).toMatchObject({ kind: 'closed', orderly: false });
});

test('after STARTTLS all begins anew, once, and goes to transmission on the secured socket', async () => {
  const t = table('allowed');
  const plain = await greeted(t);
  expect(await ask(plain, wire.NBD_OPT_STRUCTURED_REPLY)).toBe(wire.NBD_REP_ACK);
  const client = await secured(plain, { names: ['alice'] });
  expect(await ask(client, wire.NBD_OPT_STARTTLS)).toBe(wire.NBD_REP_ERR_INVALID);
  expect(await ask(client, wire.NBD_OPT_GO, GO)).toBe(wire.NBD_REP_ACK);
  const outcome = await t.done;
  expect(outcome).toMatchObject({ kind: 'transmission', structuredReplies: false });
  expect(outcome.kind === 'transmission' && outcome.socket === t.secured[0]?.socket).toBe(true);
});

test('STARTTLS with data, and where it is not offered, is refused, and haggling goes on', async () => {
  const client = await greeted(table('allowed'));
  expect(await ask(client, wire.NBD_OPT_STARTTLS, encodeText('x'))).toBe(wire.NBD_REP_ERR_INVALID);
  expect(await ask(client, wire.NBD_OPT_GO, GO)).toBe(wire.NBD_REP_ACK);
  expect(await ask(await greeted(table('off')), wire.NBD_OPT_STARTTLS)).toBe(wire.NBD_REP_ERR_UNSUP);
});

test('what was sent in clear behind STARTTLS is not taken for what is said under it', async () => {
  const t = table('allowed');
  const plain = await greeted(t);
  const both = Buffer.concat([hs.encodeOption(wire.NBD_OPT_STARTTLS), hs.encodeOption(wire.NBD_OPT_GO, GO)]);
  plain.write(both);
  expect(await t.done).toMatchObject({ kind: 'closed', orderly: false, why: 'bytes behind NBD_OPT_STARTTLS, before TLS began' });
  expect(t.secured).toEqual([]);
});

test('a client that proves nothing is closed, and its host hears why', async () => {
  const t = table('required');
  const plain = await greeted(t);
  await expect(secured(plain, { names: ['alice'], refusal: 'its certificate has expired' })).rejects.toThrow('closed the connection');
  expect(await t.done).toMatchObject({ kind: 'closed', orderly: false });
  expect(t.unproved).toEqual(['its certificate has expired']);
});

test('an export for some is shown and opened to them alone', async () => {
  const access = (_name: string, proved: readonly string[] | null): Access =>
    proved === null ? 'needs-tls' : proved.includes('alice') ? 'read-only' : 'none';
  expect(await ask(await greeted(table('allowed', access)), wire.NBD_OPT_GO, GO)).toBe(wire.NBD_REP_ERR_TLS_REQD);
  const stranger = await secured(await greeted(table('allowed', access)), { names: ['bob'] });
  expect(await ask(stranger, wire.NBD_OPT_GO, GO)).toBe(wire.NBD_REP_ERR_POLICY);
  const t = table('allowed', access);
  const alice = await secured(await greeted(t), { names: ['x', 'alice'] });
  expect(await ask(alice, wire.NBD_OPT_GO, GO)).toBe(wire.NBD_REP_ACK);
  expect(await t.done).toMatchObject({ kind: 'transmission', readOnly: true });
});

/** The names that LIST shows. */
async function listed(client: PullSocket): Promise<string[]> {
  client.write(hs.encodeOption(wire.NBD_OPT_LIST));
  const names: string[] = [];
  for (;;) {
    const header = hs.decodeOptionReplyHeader(await client.read(20, 1000));
    const data = await client.read(header?.length ?? 0, 1000);
    if (header?.reply !== wire.NBD_REP_SERVER) return names;
    const length = new DataView(data.buffer, data.byteOffset).getUint32(0);
    names.push(Buffer.from(data.subarray(4, 4 + length)).toString());
  }
}

test('contexts that were selected and headers that were chosen before TLS are not those of after it', async () => {
  const select = hs.encodeMetaContextRequest('vol', [wire.NBD_META_CONTEXT_BASE_ALLOCATION]);
  const t = table('allowed');
  const plain = await greeted(t);
  for (const [option, data] of [[wire.NBD_OPT_EXTENDED_HEADERS], [wire.NBD_OPT_SET_META_CONTEXT, select]] as const) {
    expect(await ask(plain, option, data)).toBe(wire.NBD_REP_ACK);
  }
  const client = await secured(plain, { names: ['alice'] });
  expect(await ask(client, wire.NBD_OPT_SET_META_CONTEXT, select)).toBe(wire.NBD_REP_ERR_INVALID);
  expect(await ask(client, wire.NBD_OPT_STRUCTURED_REPLY)).toBe(wire.NBD_REP_ACK);
  expect(await ask(client, wire.NBD_OPT_GO, GO)).toBe(wire.NBD_REP_ACK);
  expect(await t.done).toMatchObject({ kind: 'transmission', structuredReplies: true, extendedHeaders: false, metaContexts: [] });
});

test('LIST and the old way in show and open to each client what is for it', async () => {
  const access = (name: string, proved: readonly string[] | null): Access =>
    name === 'vol' ? 'full' : proved === null ? 'needs-tls' : proved.includes('alice') ? 'full' : 'none';
  const plain = await greeted(table('allowed', access));
  expect(await listed(plain)).toEqual(['vol']);
  for (const [name, shown] of [
    ['alice', ['vol', 'other']],
    ['bob', ['vol']],
  ] as const) {
    const t = table('allowed', access);
    const client = await secured(await greeted(t), { names: [name] });
    expect(await listed(client)).toEqual(shown);
    client.write(hs.encodeOption(wire.NBD_OPT_EXPORT_NAME, encodeText('other')));
    const outcome = await t.done;
    expect(outcome.kind, name).toBe(name === 'alice' ? 'transmission' : 'closed');
    if (outcome.kind === 'transmission') expect(outcome.socket).toBe(t.secured[0]?.socket);
  }
  const old = table('allowed', access);
  (await greeted(old)).write(hs.encodeOption(wire.NBD_OPT_EXPORT_NAME, encodeText('other')));
  expect(await old.done).toMatchObject({ kind: 'closed' });
});

test('one time is for all of a handshake, TLS as well as what is before and behind it', async () => {
  const t = table('allowed');
  const plain = await greeted(t);
  t.clock.advance(DEFAULT_HANDSHAKE_LIMITS.handshakeTimeoutMs - 1);
  expect(await ask(plain, wire.NBD_OPT_STARTTLS)).toBe(wire.NBD_REP_ACK);
  await settle();
  t.clock.advance(1);
  expect(await t.done).toMatchObject({ kind: 'closed', orderly: false });
  expect(t.clock.pending).toBe(0);
  const late = table('allowed');
  const client = await secured(await greeted(late), { names: ['alice'] });
  await settle();
  late.clock.advance(DEFAULT_HANDSHAKE_LIMITS.handshakeTimeoutMs);
  expect(await late.done).toMatchObject({ kind: 'closed', orderly: false });
  await expect(client.read(1, 1000)).rejects.toThrow();
});

test('options are counted before and behind STARTTLS together', async () => {
  const t = table('allowed');
  const plain = await greeted(t);
  const half = DEFAULT_HANDSHAKE_LIMITS.optionsMax >> 1;
  for (let i = 0; i < half; i += 1) expect(await ask(plain, wire.NBD_OPT_STRUCTURED_REPLY)).toBe(wire.NBD_REP_ACK);
  const client = await secured(plain, { names: ['alice'] });
  for (let i = half + 1; i < DEFAULT_HANDSHAKE_LIMITS.optionsMax; i += 1) await ask(client, wire.NBD_OPT_STRUCTURED_REPLY);
  expect(await t.done).toMatchObject({ kind: 'closed', why: `more than ${String(DEFAULT_HANDSHAKE_LIMITS.optionsMax)} options` });
});

test('a client whose TLS fails is one that has proved nothing', async () => {
  const t = table('required');
  const plain = await greeted(t);
  expect(await ask(plain, wire.NBD_OPT_STARTTLS)).toBe(wire.NBD_REP_ACK);
  plain.write(encodeText('this is no TLS'));
  expect(await t.done).toMatchObject({ kind: 'closed', orderly: false });
  expect(t.unproved).toEqual(['the other end does not speak TLS']);
});
