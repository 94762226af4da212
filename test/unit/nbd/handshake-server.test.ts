import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import type { Access } from '../../../src/nbd/access.ts';
import type { ExportDirectory } from '../../../src/nbd/export-directory.ts';
import { DEFAULT_HANDSHAKE_LIMITS, type HandshakeLimits, type HandshakeOutcome, serveHandshake } from '../../../src/nbd/handshake-server.ts';
import * as wire from '../../../src/nbd/wire/constants.ts';
import * as hs from '../../../src/nbd/wire/handshake.ts';
import { encodeText } from '../../../src/nbd/wire/layout.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';
import { deviceWith, INFO } from './plain-device.ts';
import { type MemorySocket, type PairOptions, socketPair } from '../../support/socket-pair.ts';

const device = deviceWith(INFO);
const directory: ExportDirectory = {
  list: () => [
    { name: 'vol', description: 'a mirror' },
    { name: 'zweites', description: '' },
  ],
  find: (name) => (name === 'vol' || name === '' ? device : undefined),
};

/** A server under handshake, and the client's end of its socket. */
class Table {
  readonly clock = new ManualClock();
  readonly server: MemorySocket;
  readonly client: PullSocket;
  readonly done: Promise<HandshakeOutcome>;

  constructor(
    o: {
      exports?: ExportDirectory;
      access?: (name: string) => Access;
      onForbidden?: (name: string) => void;
      limits?: Partial<HandshakeLimits>;
      pair?: PairOptions;
      clientFlags?: number;
    } = {},
  ) {
    const [a, b] = socketPair(o.pair);
    this.server = a;
    this.client = new PullSocket(b, new ManualClock());
    const limits = { ...DEFAULT_HANDSHAKE_LIMITS, ...o.limits };
    this.done = serveHandshake(new PullSocket(a, this.clock), { ...o, exports: o.exports ?? directory, clock: this.clock, limits });
    this.client.write(hs.encodeClientFlags(o.clientFlags ?? wire.NBD_FLAG_C_FIXED_NEWSTYLE | wire.NBD_FLAG_C_NO_ZEROES));
  }

  async greeting(): Promise<number> {
    const g = hs.decodeGreeting(await this.client.read(18, 1000));
    if (g === undefined) throw new Error('no greeting');
    return g.flags;
  }

  send(option: number, data?: Uint8Array): void {
    this.client.write(hs.encodeOption(option, data));
  }

  async reply(): Promise<{ option: number; reply: number; data: Uint8Array }> {
    const header = hs.decodeOptionReplyHeader(await this.client.read(20, 1000));
    if (header === undefined) throw new Error('an option reply does not begin with its magic');
    return { option: header.option, reply: header.reply, data: await this.client.read(header.length, 1000) };
  }

  /** Sends one option and gives the types of its replies up to the final one. */
  async ask(option: number, data?: Uint8Array): Promise<{ reply: number; data: Uint8Array }[]> {
    this.send(option, data);
    const replies: { reply: number; data: Uint8Array }[] = [];
    for (;;) {
      const r = await this.reply();
      expect(r.option).toBe(option);
      replies.push(r);
      if (r.reply === wire.NBD_REP_ACK || r.reply >= wire.NBD_REP_FLAG_ERROR) return replies;
    }
  }

  async verdict(option: number, data?: Uint8Array): Promise<number | undefined> {
    return (await this.ask(option, data)).at(-1)?.reply;
  }
}

async function table(o?: ConstructorParameters<typeof Table>[0]): Promise<Table> {
  const t = new Table(o);
  await t.greeting();
  return t;
}

describe('a well-behaved client', () => {
  test('is greeted with fixed newstyle and NO_ZEROES', async () => {
    expect(await new Table().greeting()).toBe(wire.NBD_FLAG_FIXED_NEWSTYLE | wire.NBD_FLAG_NO_ZEROES);
  });

  test.each([1, 3, 65536])('lists, selects base:allocation and goes, in pieces of %i bytes', async (pieceBytes) => {
    const t = await table({ pair: { pieceBytes } });
    const list = await t.ask(wire.NBD_OPT_LIST);
    expect(list.map((r) => r.reply)).toEqual([wire.NBD_REP_SERVER, wire.NBD_REP_SERVER, wire.NBD_REP_ACK]);
    expect(hs.decodeRepServer(list[0]?.data ?? new Uint8Array(0))).toEqual({ name: 'vol', description: 'a mirror' });

    expect(await t.verdict(wire.NBD_OPT_STRUCTURED_REPLY)).toBe(wire.NBD_REP_ACK);
    const meta = await t.ask(wire.NBD_OPT_SET_META_CONTEXT, hs.encodeMetaContextRequest('vol', ['qemu:dirty-bitmap:x', 'base:allocation']));
    expect(meta.map((r) => r.reply)).toEqual([wire.NBD_REP_META_CONTEXT, wire.NBD_REP_ACK]);

    const asked = hs.encodeInfoRequest('vol', [wire.NBD_INFO_NAME, wire.NBD_INFO_DESCRIPTION, wire.NBD_INFO_BLOCK_SIZE]);
    const infos = (await t.ask(wire.NBD_OPT_GO, asked)).filter((r) => r.reply === wire.NBD_REP_INFO).map((r) => hs.decodeInfo(r.data));
    expect(infos).toContainEqual({
      kind: 'export',
      // The last 100 bytes are no whole block.
      sizeBytes: 1024 * 1024,
      flags:
        wire.NBD_FLAG_HAS_FLAGS |
        wire.NBD_FLAG_SEND_FLUSH |
        wire.NBD_FLAG_SEND_FUA |
        wire.NBD_FLAG_SEND_TRIM |
        wire.NBD_FLAG_SEND_WRITE_ZEROES |
        wire.NBD_FLAG_SEND_DF |
        wire.NBD_FLAG_CAN_MULTI_CONN |
        wire.NBD_FLAG_SEND_CACHE,
    });
    expect(infos).toContainEqual({ kind: 'block-size', minimumBytes: 512, preferredBytes: 4096, maximumBytes: 1024 * 1024 });
    expect(infos).toContainEqual({ kind: 'text', type: wire.NBD_INFO_NAME, bytes: encodeText('vol') });
    expect(infos).toContainEqual({ kind: 'text', type: wire.NBD_INFO_DESCRIPTION, bytes: encodeText('a mirror') });

    expect(await t.done).toEqual({
      kind: 'transmission',
      exportName: 'vol',
      device,
      structuredReplies: true,
      readOnly: false,
      metaContexts: [{ id: 1, name: 'base:allocation' }],
      socket: t.server,
      early: new Uint8Array(0),
    });
    expect(t.clock.pending).toBe(0);
  });

  test('may send requests right behind GO: they are handed on as early bytes', async () => {
    const t = await table();
    t.client.write(Uint8Array.of(...hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest('', [])), 1, 2, 3));
    const outcome = await t.done;
    expect(outcome).toMatchObject({ kind: 'transmission', exportName: '', structuredReplies: false, metaContexts: [] });
    expect(outcome.kind === 'transmission' && [...outcome.early]).toEqual([1, 2, 3]);
  });

  test('of the old kind gets EXPORT_NAME answered, with the 124 zeroes it expects', async () => {
    const t = await table({ clientFlags: wire.NBD_FLAG_C_FIXED_NEWSTYLE });
    t.send(wire.NBD_OPT_EXPORT_NAME, encodeText('vol'));
    expect(hs.decodeExportNameReply(await t.client.read(134, 1000))).toMatchObject({ sizeBytes: 1024 * 1024 });
    expect(await t.done).toMatchObject({ kind: 'transmission', exportName: 'vol' });
  });

  test('that aborts gets an ACK and an orderly end', async () => {
    const t = await table();
    expect(await t.verdict(wire.NBD_OPT_ABORT)).toBe(wire.NBD_REP_ACK);
    expect(await t.done).toMatchObject({ kind: 'closed', orderly: true });
    expect(t.server.closedBy).toBe('end');
  });

  test('that leaves between two options has left in order', async () => {
    const t = await table();
    t.client.end();
    expect(await t.done).toMatchObject({ kind: 'closed', orderly: true });
  });

  test('asks INFO first, and is still haggling afterwards', async () => {
    const t = await table();
    expect(await t.verdict(wire.NBD_OPT_INFO, hs.encodeInfoRequest('vol', []))).toBe(wire.NBD_REP_ACK);
    expect(await t.verdict(wire.NBD_OPT_GO, hs.encodeInfoRequest('vol', []))).toBe(wire.NBD_REP_ACK);
  });

  test('sees a read-only export as such, with nothing announced that writes', async () => {
    const readOnly = deviceWith({ ...INFO, readOnly: true, canFastZero: true });
    const t = await table({ exports: { list: () => [], find: () => readOnly } });
    const info = hs.decodeInfo((await t.ask(wire.NBD_OPT_INFO, hs.encodeInfoRequest('vol', [])))[0]?.data ?? new Uint8Array(0));
    const flags = info?.kind === 'export' ? info.flags : 0;
    expect(flags & wire.NBD_FLAG_READ_ONLY).not.toBe(0);
    expect(flags & (wire.NBD_FLAG_SEND_TRIM | wire.NBD_FLAG_SEND_WRITE_ZEROES | wire.NBD_FLAG_SEND_FAST_ZERO | wire.NBD_FLAG_SEND_DF)).toBe(0);
  });
});

describe('meta contexts', () => {
  const ask = (queries: string[], name = 'vol'): Uint8Array => hs.encodeMetaContextRequest(name, queries);

  test('a list names base:allocation for no query, its namespace, or itself; not for another', async () => {
    const t = await table();
    await t.verdict(wire.NBD_OPT_STRUCTURED_REPLY);
    for (const [queries, replies] of [
      [[], 2],
      [['base:'], 2],
      [['base:allocation'], 2],
      [['other:'], 1],
    ] as const) {
      expect((await t.ask(wire.NBD_OPT_LIST_META_CONTEXT, ask([...queries]))).length).toBe(replies);
    }
  });

  test('a selection does not take the namespace for a context', async () => {
    const t = await table();
    await t.verdict(wire.NBD_OPT_STRUCTURED_REPLY);
    expect((await t.ask(wire.NBD_OPT_SET_META_CONTEXT, ask(['base:']))).length).toBe(1);
  });

  test('more queries than allowed are too many', async () => {
    const t = await table();
    await t.verdict(wire.NBD_OPT_STRUCTURED_REPLY);
    expect(await t.verdict(wire.NBD_OPT_LIST_META_CONTEXT, ask(Array<string>(257).fill('base:')))).toBe(wire.NBD_REP_ERR_TOO_BIG);
    expect((await t.ask(wire.NBD_OPT_LIST_META_CONTEXT, ask(Array<string>(256).fill('base:')))).length).toBe(2);
  });

  test('are refused without structured replies', async () => {
    const t = await table();
    expect(await t.verdict(wire.NBD_OPT_SET_META_CONTEXT, ask(['base:allocation']))).toBe(wire.NBD_REP_ERR_INVALID);
    expect(await t.verdict(wire.NBD_OPT_LIST_META_CONTEXT, ask([]))).toBe(wire.NBD_REP_ERR_INVALID);
  });

  test('selected for one export do not count for another, and a failed selection ends an earlier one', async () => {
    for (const second of [ask(['base:allocation'], ''), ask(['base:allocation'], 'nowhere'), Uint8Array.of(1)]) {
      const t = await table();
      await t.verdict(wire.NBD_OPT_STRUCTURED_REPLY);
      await t.verdict(wire.NBD_OPT_SET_META_CONTEXT, ask(['base:allocation']));
      await t.verdict(wire.NBD_OPT_SET_META_CONTEXT, second);
      await t.verdict(wire.NBD_OPT_GO, hs.encodeInfoRequest('vol', []));
      expect(await t.done).toMatchObject({ kind: 'transmission', metaContexts: [] });
    }
  });
});

describe('refusals after which haggling goes on', () => {
  const long = 'x'.repeat(wire.NBD_MAX_STRING_BYTES + 1);
  const cases: [string, number, Uint8Array | undefined, number][] = [
    ['an unknown option', 4711, undefined, wire.NBD_REP_ERR_UNSUP],
    ['the withdrawn PEEK_EXPORT', wire.NBD_OPT_PEEK_EXPORT, undefined, wire.NBD_REP_ERR_UNSUP],
    ['extended headers', wire.NBD_OPT_EXTENDED_HEADERS, undefined, wire.NBD_REP_ERR_UNSUP],
    ['STARTTLS', wire.NBD_OPT_STARTTLS, undefined, wire.NBD_REP_ERR_UNSUP],
    ['LIST with data', wire.NBD_OPT_LIST, Uint8Array.of(1), wire.NBD_REP_ERR_INVALID],
    ['STRUCTURED_REPLY with data', wire.NBD_OPT_STRUCTURED_REPLY, Uint8Array.of(1), wire.NBD_REP_ERR_INVALID],
    ['GO without data', wire.NBD_OPT_GO, undefined, wire.NBD_REP_ERR_INVALID],
    ['GO for an export that is not there', wire.NBD_OPT_GO, hs.encodeInfoRequest('nowhere', []), wire.NBD_REP_ERR_UNKNOWN],
    ['INFO for an export that is not there', wire.NBD_OPT_INFO, hs.encodeInfoRequest('nowhere', []), wire.NBD_REP_ERR_UNKNOWN],
    ['a name of more than 4096 bytes', wire.NBD_OPT_GO, hs.encodeInfoRequest(long, []), wire.NBD_REP_ERR_TOO_BIG],
    ['an option of more than 64 KiB', wire.NBD_OPT_INFO, new Uint8Array(200_000), wire.NBD_REP_ERR_TOO_BIG],
  ];
  test.each(cases)('%s', async (_what, option, data, expected) => {
    const t = await table();
    expect(await t.verdict(option, data)).toBe(expected);
    expect(await t.verdict(wire.NBD_OPT_GO, hs.encodeInfoRequest('vol', []))).toBe(wire.NBD_REP_ACK);
    expect((await t.done).kind).toBe('transmission');
  });

  test('a context query of more than 4096 bytes', async () => {
    const t = await table();
    await t.verdict(wire.NBD_OPT_STRUCTURED_REPLY);
    expect(await t.verdict(wire.NBD_OPT_SET_META_CONTEXT, hs.encodeMetaContextRequest('vol', [long]))).toBe(wire.NBD_REP_ERR_INVALID);
  });
});

describe('refusals that close', () => {
  test('client flags that nobody defined', async () => {
    expect(await new Table({ clientFlags: 0x80 }).done).toMatchObject({ kind: 'closed', orderly: false });
  });

  test('EXPORT_NAME for an export that is not there, and for what is no name', async () => {
    for (const name of [encodeText('nowhere'), Uint8Array.of(0xff), new Uint8Array(5000).fill(65), new Uint8Array(100_000).fill(65)]) {
      const t = await table();
      t.send(wire.NBD_OPT_EXPORT_NAME, name);
      expect(await t.done).toMatchObject({ kind: 'closed', orderly: false });
    }
  });

  test('an option without its magic', async () => {
    const t = await table();
    t.client.write(new Uint8Array(16));
    expect(await t.done).toMatchObject({ kind: 'closed', why: 'an option does not begin with IHAVEOPT' });
  });

  test('an option that claims more bytes than are worth throwing away', async () => {
    const t = await table();
    t.client.write(hs.encodeOption(wire.NBD_OPT_LIST).fill(0xff, 12, 16));
    expect(await t.done).toMatchObject({ kind: 'closed', orderly: false });
  });

  test('options without end', async () => {
    const t = await table({ limits: { optionsMax: 5 } });
    for (let i = 0; i < 5; i += 1) expect(await t.verdict(wire.NBD_OPT_STRUCTURED_REPLY)).toBe(wire.NBD_REP_ACK);
    expect(await t.done).toMatchObject({ kind: 'closed', why: 'more than 5 options' });
  });

  test('a client that is silent until the time is up', async () => {
    const t = await table();
    await settle();
    t.clock.advance(DEFAULT_HANDSHAKE_LIMITS.handshakeTimeoutMs);
    expect(await t.done).toMatchObject({ kind: 'closed', orderly: false });
    expect(t.server.closedBy).toBe('destroy');
  });

  test('a client that trickles: the deadline is for all options together', async () => {
    const t = await table({ limits: { handshakeTimeoutMs: 1000 } });
    for (let i = 0; i < 9; i += 1) {
      await t.verdict(wire.NBD_OPT_LIST);
      t.clock.advance(100);
    }
    await settle();
    t.clock.advance(100);
    expect(await t.done).toMatchObject({ kind: 'closed', orderly: false });
  });

  test('a client that asks and does not read', async () => {
    const [server, client] = socketPair({ stuck: true });
    const clock = new ManualClock();
    const limits = { ...DEFAULT_HANDSHAKE_LIMITS, unsentMaxBytes: 100 };
    const done = serveHandshake(new PullSocket(server, clock), { exports: directory, clock, limits });
    const asks = [hs.encodeClientFlags(3), hs.encodeOption(wire.NBD_OPT_LIST), hs.encodeOption(wire.NBD_OPT_LIST)];
    for (const a of asks) server.receive(a);
    expect(await done).toMatchObject({ kind: 'closed', orderly: false });
    expect(server.closedBy).toBe('end');
    expect(server.closed).toBe(false);
    clock.advance(limits.lingerMs);
    expect(server.closed).toBe(true);
    client.destroy();
  });

  test('a directory that does not answer in time, and one that fails', async () => {
    const silent = await table({ exports: { list: () => [], find: () => new Promise<undefined>(() => undefined) } });
    silent.send(wire.NBD_OPT_GO, hs.encodeInfoRequest('vol', []));
    await settle();
    silent.clock.advance(DEFAULT_HANDSHAKE_LIMITS.handshakeTimeoutMs);
    expect(await silent.done).toMatchObject({ kind: 'closed', why: 'the export was not found in time' });

    const failing = await table({ exports: { list: () => [], find: () => Promise.reject(new Error('disk on fire')) } });
    failing.send(wire.NBD_OPT_GO, hs.encodeInfoRequest('vol', []));
    expect(await failing.done).toMatchObject({ kind: 'closed', why: 'disk on fire' });
  });
});

describe('a client that may not use everything', () => {
  const asked: string[] = [];
  const rules = {
    exports: { ...directory, defaultName: () => 'vol' },
    access: (name: string): Access => (name === 'vol' ? 'none' : 'read-only'),
    onForbidden: (name: string) => {
      asked.push(name);
    },
  };

  test('sees in the list what it may use, and is refused the rest, the default among it', async () => {
    asked.length = 0;
    const t = await table(rules);
    const list = await t.ask(wire.NBD_OPT_LIST);
    expect(list.map((r) => r.reply)).toEqual([wire.NBD_REP_SERVER, wire.NBD_REP_ACK]);
    expect(hs.decodeRepServer(list[0]?.data ?? new Uint8Array(0))).toEqual({ name: 'zweites', description: '' });
    expect(await t.verdict(wire.NBD_OPT_STRUCTURED_REPLY)).toBe(wire.NBD_REP_ACK);
    for (const name of ['vol', '']) {
      for (const option of [wire.NBD_OPT_INFO, wire.NBD_OPT_GO]) {
        expect(await t.verdict(option, hs.encodeInfoRequest(name, []))).toBe(wire.NBD_REP_ERR_POLICY);
      }
      expect(await t.verdict(wire.NBD_OPT_SET_META_CONTEXT, hs.encodeMetaContextRequest(name, ['base:allocation']))).toBe(wire.NBD_REP_ERR_POLICY);
    }
    expect(asked).toEqual(['vol', 'vol', 'vol', 'vol', 'vol', 'vol']);
    t.send(wire.NBD_OPT_EXPORT_NAME, encodeText('vol'));
    expect(await t.done).toMatchObject({ kind: 'closed', why: 'NBD_OPT_EXPORT_NAME for an export that is not for this client' });
  });

  test('that asks for the default where there is none is not told that it may not use it', async () => {
    asked.length = 0;
    const t = await table({ ...rules, exports: { ...rules.exports, defaultName: () => undefined } });
    expect(await t.verdict(wire.NBD_OPT_GO, hs.encodeInfoRequest('', []))).toBe(wire.NBD_REP_ERR_UNKNOWN);
    expect(asked).toEqual([]);
  });

  test('gets the export that was the default when it was judged', async () => {
    const names = ['zweites', 'vol', 'vol', 'vol'];
    const find = (name: string) => Promise.resolve(name === 'zweites' ? device : undefined);
    const t = await table({ ...rules, exports: { list: () => [], find, defaultName: () => names.shift() } });
    expect(await t.verdict(wire.NBD_OPT_GO, hs.encodeInfoRequest('', []))).toBe(wire.NBD_REP_ACK);
    expect(await t.done).toMatchObject({ kind: 'transmission', device, readOnly: true });
  });

  test('is told that an export is read-only for it, by either way in', async () => {
    const exports = { ...directory, find: () => device };
    const t = await table({ ...rules, exports });
    const infos = (await t.ask(wire.NBD_OPT_GO, hs.encodeInfoRequest('zweites', []))).flatMap((r) =>
      r.reply === wire.NBD_REP_INFO ? [hs.decodeInfo(r.data)] : [],
    );
    const flags = wire.NBD_FLAG_HAS_FLAGS | wire.NBD_FLAG_SEND_FLUSH | wire.NBD_FLAG_SEND_FUA | wire.NBD_FLAG_READ_ONLY;
    const shared = wire.NBD_FLAG_CAN_MULTI_CONN | wire.NBD_FLAG_SEND_CACHE;
    expect(infos).toContainEqual({ kind: 'export', sizeBytes: 1024 * 1024, flags: flags | shared });
    expect(await t.done).toMatchObject({ kind: 'transmission', device, readOnly: true });

    const old = await table({ ...rules, exports });
    old.send(wire.NBD_OPT_EXPORT_NAME, encodeText('zweites'));
    const reply = await old.client.read(10, 1000);
    expect((reply[9] ?? 0) & wire.NBD_FLAG_READ_ONLY).not.toBe(0);
    expect(await old.done).toMatchObject({ kind: 'transmission', readOnly: true });
  });
});

test('no bytes make a handshake throw or hang', async () => {
  const option = fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 0xffffffff }));
  const data = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.constant(hs.encodeInfoRequest('vol', [3])),
    fc.constant(hs.encodeMetaContextRequest('vol', ['base:allocation'])),
  );
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.tuple(option, data).map(([o, d]) => hs.encodeOption(o, d)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 12 }), fc.boolean(), fc.integer({ min: 1, max: 64 }), async (pieces, leaves, pieceBytes) => {
      const t = new Table({ pair: { pieceBytes }, clientFlags: 3 });
      for (const p of pieces) t.client.write(p);
      if (leaves) t.client.end();
      await settle();
      // Whatever it waits for now ends with its time.
      t.clock.advance(DEFAULT_HANDSHAKE_LIMITS.handshakeTimeoutMs);
      for (let i = 0; i < 20; i += 1) await settle();
      t.clock.advance(DEFAULT_HANDSHAKE_LIMITS.handshakeTimeoutMs);
      expect(['transmission', 'closed']).toContain((await t.done).kind);
    }),
  );
});
