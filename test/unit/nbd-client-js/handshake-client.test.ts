import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import { Errno, IoError, type IoSocket } from '../../../src/io/types.ts';
import { HandshakeError } from '../../../src/nbd-client-js/errors.ts';
import type { ExportInfo } from '../../../src/nbd-client-js/export-info.ts';
import { inspectExport, listExports, takeExport } from '../../../src/nbd-client-js/handshake-client.ts';
import type { Secure } from '../../../src/nbd-client-js/option-haggler.ts';
import * as nbd from '../../../src/nbd/wire/constants.ts';
import { encodeGreeting, encodeInfoExport, encodeOptionReply, encodeRepServer } from '../../../src/nbd/wire/handshake.ts';
import { ALL_FLAGS, type FakeExport, FakePeer } from '../../support/fake-nbd-server.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';
import { type MemorySocket, socketPair } from '../../support/socket-pair.ts';

const NEWSTYLE = nbd.NBD_FLAG_FIXED_NEWSTYLE | nbd.NBD_FLAG_NO_ZEROES;
const text = (s: string): Uint8Array => new TextEncoder().encode(s);

interface Scene {
  clock: ManualClock;
  peer: FakePeer;
  pull: PullSocket;
  client: MemorySocket;
  options: { clock: ManualClock; answerTimeoutMs: number; handshakeTimeoutMs: number };
}

function scene(pieceBytes = 65536): Scene {
  const clock = new ManualClock();
  const [client, server] = socketPair({ pieceBytes });
  const pull = new PullSocket(client, clock);
  return { clock, client, pull, peer: new FakePeer(server, clock), options: { clock, answerTimeoutMs: 1000, handshakeTimeoutMs: 5000 } };
}

async function take(e: FakeExport, exportName = 'disk', pieceBytes?: number): Promise<{ info: ExportInfo; peer: FakePeer }> {
  const s = scene(pieceBytes);
  const served = s.peer.handshake(e);
  const info = await takeExport(s.pull, exportName, s.options);
  expect(await served).toBe('transmission');
  return { info, peer: s.peer };
}

async function failure(p: Promise<unknown>): Promise<HandshakeError> {
  try {
    await p;
  } catch (e: unknown) {
    if (!(e instanceof HandshakeError)) throw e;
    expect(e.message).not.toMatch(/[\n\r]/);
    return e;
  }
  throw new Error('the handshake went well');
}

/** The client against raw bytes from the server, which then falls silent. */
async function againstBytes(...bytes: Uint8Array[]): Promise<HandshakeError> {
  const s = scene();
  for (const b of bytes) s.peer.write(b);
  const failed = failure(takeExport(s.pull, 'disk', s.options));
  for (let i = 0; i < 10; i += 1) await settle();
  s.clock.advance(10_000);
  return failed;
}

describe('taking an export', () => {
  it('haggles for structured replies, block status and block sizes', async () => {
    const { info, peer } = await take({ contextId: 42, blockSizes: [512, 4096, 1 << 20], description: 'a\ndisk', sizeBytes: 12345 * 512 });
    expect(peer.options).toEqual([nbd.NBD_OPT_EXTENDED_HEADERS, nbd.NBD_OPT_STRUCTURED_REPLY, nbd.NBD_OPT_SET_META_CONTEXT, nbd.NBD_OPT_GO]);
    expect(peer.exportName).toBe('disk');
    expect(info).toEqual({
      sizeBytes: 12345 * 512,
      readOnly: false,
      canFlush: true,
      canFua: true,
      canTrim: true,
      canWriteZeroes: true,
      canFastZero: true,
      canDf: false,
      canMultiConn: true,
      canCache: false,
      rotational: false,
      blockSizeMinBytes: 512,
      blockSizePreferredBytes: 4096,
      payloadMaxBytes: 1 << 20,
      description: 'a disk',
      structured: true,
      extended: false,
      canFilterStatus: false,
      hasOtherContexts: false,
      baseAllocationContextId: 42,
    });
  });

  it('works when everything arrives a byte at a time', async () => {
    const { info } = await take({ contextId: 1, description: 'slow' }, 'ü'.repeat(2048), 1);
    expect(info.description).toBe('slow');
  });

  it('does without structured replies', async () => {
    const { info, peer } = await take({ structured: false });
    expect(peer.options).toEqual([nbd.NBD_OPT_EXTENDED_HEADERS, nbd.NBD_OPT_STRUCTURED_REPLY, nbd.NBD_OPT_GO]);
    expect(info).toMatchObject({ structured: false, baseAllocationContextId: undefined });
  });

  it('has extended headers where the server has them, and asks for no structured replies then', async () => {
    const { info, peer } = await take({ extended: true, contextId: 3, flags: ALL_FLAGS | nbd.NBD_FLAG_BLOCK_STATUS_PAYLOAD });
    expect(peer.options).toEqual([nbd.NBD_OPT_EXTENDED_HEADERS, nbd.NBD_OPT_SET_META_CONTEXT, nbd.NBD_OPT_GO]);
    expect(info).toMatchObject({ extended: true, structured: true, canFilterStatus: true, hasOtherContexts: false, baseAllocationContextId: 3 });
  });

  it('falls back whatever the error is, and sees no filter that only extended headers have', async () => {
    const refuse = { [nbd.NBD_OPT_EXTENDED_HEADERS]: { reply: nbd.NBD_REP_ERR_POLICY, text: 'no' } };
    const { info } = await take({ extended: true, refuse, flags: ALL_FLAGS | nbd.NBD_FLAG_BLOCK_STATUS_PAYLOAD });
    expect(info).toMatchObject({ extended: false, structured: true, canFilterStatus: false });
  });

  it('takes a server for broken that agrees on extended headers and does not know GO', async () => {
    const e = await failure(take({ extended: true, knowsGo: false }));
    expect(e).toMatchObject({ failure: 'protocol' });
    expect(e.message).toMatch(/NBD_OPT_GO/);
  });

  it('sees that the server granted more contexts than were asked for', async () => {
    expect((await take({ contextId: 3, otherContexts: { 4: 'x:y' } })).info).toMatchObject({ hasOtherContexts: true });
  });

  it('does without block status when the server has no base:allocation', async () => {
    expect((await take({})).info).toMatchObject({ structured: true, baseAllocationContextId: undefined });
  });

  it('falls back to EXPORT_NAME when the server does not know GO, with and without its zeroes', async () => {
    for (const noZeroes of [true, false]) {
      const { info, peer } = await take({ knowsGo: false, noZeroes, sizeBytes: 4096 });
      expect(peer.options.at(-1)).toBe(nbd.NBD_OPT_EXPORT_NAME);
      expect(peer.clientFlags).toBe(nbd.NBD_FLAG_C_FIXED_NEWSTYLE | (noZeroes ? nbd.NBD_FLAG_C_NO_ZEROES : 0));
      expect(info).toMatchObject({ sizeBytes: 4096, blockSizeMinBytes: 512, canFlush: true });
    }
  });

  it('keeps for the engine what came after the handshake', async () => {
    const s = scene();
    const served = s.peer.handshake({ knowsGo: false }).then(() => {
      s.peer.write(text('early'));
    });
    await takeExport(s.pull, '', s.options);
    await served;
    await settle();
    expect(new TextDecoder().decode(s.pull.detach())).toBe('early');
  });
});

describe('TLS by STARTTLS', () => {
  const secure = async (s: Scene, begin: Secure): Promise<{ taken: Promise<ExportInfo>; sockets: IoSocket[] }> => {
    const sockets: IoSocket[] = [];
    const taken = takeExport(s.pull, 'disk', { ...s.options, secure: begin, onSecured: (p) => sockets.push(p.socket) });
    await s.peer.greet(NEWSTYLE);
    return { taken, sockets };
  };

  it('comes before everything else, which is said on the secured socket alone', async () => {
    const s = scene();
    const [near, far] = socketPair({});
    const begun: IoSocket[] = [];
    const { taken, sockets } = await secure(s, (socket) => {
      begun.push(socket);
      return Promise.resolve(near);
    });
    expect((await s.peer.nextOption()).option).toBe(nbd.NBD_OPT_STARTTLS);
    s.peer.optionReply(nbd.NBD_OPT_STARTTLS, nbd.NBD_REP_ACK);
    const inner = new FakePeer(far, s.clock);
    for (const option of [nbd.NBD_OPT_EXTENDED_HEADERS, nbd.NBD_OPT_STRUCTURED_REPLY, nbd.NBD_OPT_GO]) {
      expect((await inner.nextOption()).option).toBe(option);
      if (option === nbd.NBD_OPT_GO) inner.optionReply(option, nbd.NBD_REP_INFO, encodeInfoExport(4096, ALL_FLAGS));
      inner.optionReply(option, option === nbd.NBD_OPT_GO ? nbd.NBD_REP_ACK : nbd.NBD_REP_ERR_UNSUP);
    }
    expect(await taken).toMatchObject({ sizeBytes: 4096, structured: false });
    expect([begun, sockets]).toEqual([[s.client], [near]]);
    expect(s.peer.options).toEqual([nbd.NBD_OPT_STARTTLS]);
  });

  it('that the server will not have ends it: nothing is said in clear', async () => {
    const s = scene();
    const { taken } = await secure(s, () => Promise.reject(new Error('never')));
    await s.peer.nextOption();
    s.peer.optionReply(nbd.NBD_OPT_STARTTLS, nbd.NBD_REP_ERR_UNSUP);
    const e = await failure(taken);
    expect(e.message).toMatch(/it refused to speak TLS: it does not know the option/);
    expect(s.peer.options).toEqual([nbd.NBD_OPT_STARTTLS]);
  });

  it('with bytes behind the answer ends it: they were sent in clear, by whomever', async () => {
    const s = scene();
    let begun = false;
    const { taken } = await secure(s, () => {
      begun = true;
      return Promise.reject(new Error('never'));
    });
    await s.peer.nextOption();
    const ack = encodeOptionReply(nbd.NBD_OPT_STARTTLS, nbd.NBD_REP_ACK);
    const early = new Uint8Array(ack.length + 1);
    early.set(ack);
    s.peer.write(early);
    expect((await failure(taken)).message).toMatch(/bytes behind its answer to NBD_OPT_STARTTLS/);
    expect(begun).toBe(false);
  });

  it('that proves too little is told with the reason', async () => {
    const s = scene();
    const { taken } = await secure(s, () => Promise.reject(new IoError(Errno.EACCES, 'TLS to disks: its certificate has expired')));
    await s.peer.nextOption();
    s.peer.optionReply(nbd.NBD_OPT_STARTTLS, nbd.NBD_REP_ACK);
    expect(await failure(taken)).toMatchObject({ failure: 'tls', errno: Errno.EACCES, message: expect.stringMatching(/expired$/) as unknown });
  });

  it('is not asked of a server that is not fixed newstyle', async () => {
    const s = scene();
    const taken = failure(takeExport(s.pull, 'disk', { ...s.options, secure: () => Promise.reject(new Error('never')) }));
    s.peer.write(encodeGreeting(nbd.NBD_FLAG_NO_ZEROES));
    expect(await taken).toMatchObject({ failure: 'too-old' });
  });
});

describe('a server that says no', () => {
  it.each([
    [nbd.NBD_REP_ERR_UNKNOWN, 'unknown-export', Errno.ENOENT, /no such export \(NBD_REP_ERR_UNKNOWN\)/],
    [nbd.NBD_REP_ERR_TLS_REQD, 'tls-required', Errno.EACCES, /requires TLS/],
    [nbd.NBD_REP_ERR_POLICY, 'refused', Errno.EACCES, /policy/],
    [nbd.NBD_REP_ERR_SHUTDOWN, 'refused', Errno.ESHUTDOWN, /shutting down/],
    [0xffffffff, 'refused', Errno.EIO, /not known/],
  ] as const)('error %i is told in one line with its own words', async (reply, kind, errno, why) => {
    const s = scene();
    const served = s.peer.handshake({ refuse: { [nbd.NBD_OPT_GO]: { reply, text: `go\r\naway ${'!'.repeat(5000)}` } } });
    const e = await failure(takeExport(s.pull, 'di\nsk', s.options));
    expect(e).toMatchObject({ failure: kind, errno });
    expect(e.message).toMatch(why);
    expect(e.message).toMatch(/it says: go away !+…$/);
    expect(e.message.length).toBeLessThan(600);
    s.pull.destroy();
    await expect(served).rejects.toThrow();
  });

  it('closes the connection on EXPORT_NAME: no such export', async () => {
    const s = scene();
    const served = (async () => {
      await s.peer.greet(NEWSTYLE);
      for (;;) {
        const { option } = await s.peer.nextOption();
        if (option === nbd.NBD_OPT_EXPORT_NAME) break;
        s.peer.optionReply(option, nbd.NBD_REP_ERR_UNSUP);
      }
      s.peer.close();
    })();
    expect(await failure(takeExport(s.pull, 'x', s.options))).toMatchObject({ failure: 'unknown-export', errno: Errno.ENOENT });
    await served;
  });

  it('never hears of an export name that cannot be', async () => {
    for (const name of ['a\0b', 'x'.repeat(4097)]) {
      const s = scene();
      expect(await failure(takeExport(s.pull, name, s.options))).toMatchObject({ failure: 'refused', errno: Errno.EINVAL });
    }
  });
});

describe('a server that is none, or an old one', () => {
  it('speaks something else', async () => {
    expect(await againstBytes(text('SSH-2.0-OpenSSH_9'))).toMatchObject({
      failure: 'not-nbd',
      message: 'NBD server memory:a: it does not speak NBD',
    });
    expect(await againstBytes(text('NBDMAGIC????????'))).toMatchObject({ failure: 'not-nbd' });
  });

  it('speaks the oldstyle protocol', async () => {
    const old = new Uint8Array(152);
    old.set(text('NBDMAGIC'));
    new DataView(old.buffer).setBigUint64(8, nbd.NBD_CLISERV_MAGIC);
    const e = await againstBytes(old);
    expect(e.failure).toBe('too-old');
    expect(e.message).toMatch(/oldstyle/);
  });

  it('speaks newstyle, but not fixed: it is asked for the export by its name and nothing else', async () => {
    const { info, peer } = await take({ fixed: false, sizeBytes: 4096 });
    expect([peer.options, peer.clientFlags, peer.exportName]).toEqual([[nbd.NBD_OPT_EXPORT_NAME], nbd.NBD_FLAG_C_NO_ZEROES, 'disk']);
    expect(info).toMatchObject({ sizeBytes: 4096, structured: false });
  });

  it('is not listed or looked at when it is not fixed, as it could not answer', async () => {
    for (const look of [listExports, (pull: PullSocket, o: Scene['options']): Promise<unknown> => inspectExport(pull, 'disk', o)]) {
      const s = scene();
      s.peer.write(encodeGreeting(nbd.NBD_FLAG_NO_ZEROES));
      expect(await failure(look(s.pull, s.options))).toMatchObject({ failure: 'too-old' });
    }
  });
});

describe('a server that breaks the protocol', () => {
  const greeting = encodeGreeting(NEWSTYLE);
  const ack = (option: number): Uint8Array => encodeOptionReply(option, nbd.NBD_REP_ACK);
  const unknown = (option: number): Uint8Array => encodeOptionReply(option, nbd.NBD_REP_ERR_UNSUP);
  const start = [greeting, unknown(nbd.NBD_OPT_EXTENDED_HEADERS), unknown(nbd.NBD_OPT_STRUCTURED_REPLY)];
  const go = (data: Uint8Array, reply = nbd.NBD_REP_INFO): Uint8Array => encodeOptionReply(nbd.NBD_OPT_GO, reply, data);

  it('answers with a wrong magic', async () => {
    expect((await againstBytes(greeting, new Uint8Array(20))).message).toMatch(/wrong magic/);
  });

  it('answers another option than was asked', async () => {
    expect((await againstBytes(greeting, ack(nbd.NBD_OPT_GO))).message).toMatch(/answer to NBD_OPT_EXTENDED_HEADERS names NBD_OPT_GO/);
  });

  it('announces an answer of 4 GiB', async () => {
    const reply = ack(nbd.NBD_OPT_EXTENDED_HEADERS);
    new DataView(reply.buffer).setUint32(16, 0xffffffff);
    const e = await againstBytes(greeting, reply);
    expect(e).toMatchObject({ failure: 'protocol', errno: Errno.EINVAL });
    expect(e.message).toMatch(/4294967295 bytes long/);
  });

  it('never ends its answer', async () => {
    const info = go(encodeInfoExport(1, 1));
    expect((await againstBytes(...start, ...Array.from({ length: 65 }, () => info))).message).toMatch(/does not end/);
  });

  it('grants an export without telling its size', async () => {
    expect((await againstBytes(...start, ack(nbd.NBD_OPT_GO))).message).toMatch(/without the export's size/);
  });

  it('sends an info that is too short, or a reply that has no place there', async () => {
    expect((await againstBytes(...start, go(new Uint8Array(3)))).failure).toBe('timeout');
    expect((await againstBytes(...start, go(new Uint8Array(3)), ack(nbd.NBD_OPT_GO))).message).toMatch(/malformed NBD_REP_INFO of 3 bytes/);
    expect((await againstBytes(...start, go(text('x'), nbd.NBD_REP_SERVER), ack(nbd.NBD_OPT_GO))).message).toMatch(/malformed NBD_REP_SERVER/);
  });

  it('gives an export a size beyond all disks', async () => {
    const info = encodeInfoExport(0, 1);
    info.fill(0xff, 2, 10);
    expect((await againstBytes(...start, go(info), ack(nbd.NBD_OPT_GO))).message).toMatch(/size of 2\^53/);
  });
});

describe('a server that is slow', () => {
  it('is given up when it says nothing', async () => {
    const s = scene();
    const failed = failure(takeExport(s.pull, 'disk', s.options));
    await settle();
    s.clock.advance(999);
    await settle();
    expect(s.clock.pending).toBe(1);
    s.clock.advance(1);
    expect(await failed).toMatchObject({
      failure: 'timeout',
      errno: Errno.ETIMEDOUT,
      message: 'NBD server memory:a: no greeting within 1000 ms',
    });
  });

  it('is given up when it drips answers within their deadlines, but without end', async () => {
    const s = scene();
    const outcomes: HandshakeError[] = [];
    const failed = failure(takeExport(s.pull, 'disk', s.options)).then((e) => outcomes.push(e));
    s.peer.write(encodeGreeting(NEWSTYLE));
    s.peer.optionReply(nbd.NBD_OPT_EXTENDED_HEADERS, nbd.NBD_REP_ERR_UNSUP);
    s.peer.optionReply(nbd.NBD_OPT_STRUCTURED_REPLY, nbd.NBD_REP_ERR_UNSUP);
    await settle();
    while (outcomes.length === 0) {
      s.peer.optionReply(nbd.NBD_OPT_GO, nbd.NBD_REP_INFO, encodeInfoExport(1, 1));
      await settle();
      s.clock.advance(900);
      await settle();
    }
    await failed;
    expect(outcomes[0]?.failure).toBe('timeout');
    expect(s.clock.now()).toBeLessThan(6000);
  });

  it('is told from one that closes', async () => {
    const s = scene();
    s.peer.write(encodeGreeting(NEWSTYLE));
    s.peer.close();
    expect(await failure(takeExport(s.pull, 'disk', s.options))).toMatchObject({ failure: 'closed' });
  });
});

describe('looking at a server', () => {
  it('lists its exports and says goodbye', async () => {
    const s = scene();
    const served = (async () => {
      await s.peer.greet(NEWSTYLE);
      const { option } = await s.peer.nextOption();
      s.peer.optionReply(option, nbd.NBD_REP_SERVER, encodeRepServer('a', ''));
      s.peer.optionReply(option, nbd.NBD_REP_SERVER, encodeRepServer('b', 'the\tother'));
      s.peer.optionReply(option, nbd.NBD_REP_ACK);
      return s.peer.nextOption();
    })();
    expect(await listExports(s.pull, s.options)).toEqual([
      { name: 'a', description: '' },
      { name: 'b', description: 'the other' },
    ]);
    expect((await served).option).toBe(nbd.NBD_OPT_ABORT);
    await settle();
    expect(s.client.closedBy).toBe('end');
  });

  it('is told when listing is forbidden, or the list is malformed', async () => {
    const s = scene();
    const forbids = s.peer.handshake({ refuse: { [nbd.NBD_OPT_LIST]: { reply: nbd.NBD_REP_ERR_POLICY, text: '' } } });
    expect((await failure(listExports(s.pull, s.options))).message).toMatch(/to list its exports: its policy forbids it/);
    s.pull.destroy();
    await expect(forbids).rejects.toThrow();

    const t = scene();
    t.peer.write(encodeGreeting(NEWSTYLE));
    t.peer.optionReply(nbd.NBD_OPT_LIST, nbd.NBD_REP_SERVER, Uint8Array.of(0, 0, 0, 9, 65));
    t.peer.optionReply(nbd.NBD_OPT_LIST, nbd.NBD_REP_ACK);
    expect((await failure(listExports(t.pull, t.options))).message).toMatch(/malformed NBD_REP_SERVER of 5 bytes/);
  });

  it('sees an export without taking it', async () => {
    const s = scene();
    const served = s.peer.handshake({ sizeBytes: 4096, flags: ALL_FLAGS | nbd.NBD_FLAG_READ_ONLY });
    expect(await inspectExport(s.pull, 'e', s.options)).toMatchObject({ sizeBytes: 4096, readOnly: true });
    expect(await served).toBe('abort');
  });
});

describe('any bytes as a server', () => {
  const u8 = fc.uint8Array({ maxLength: 64 });
  const option = fc.constantFrom(
    nbd.NBD_OPT_EXTENDED_HEADERS,
    nbd.NBD_OPT_STRUCTURED_REPLY,
    nbd.NBD_OPT_SET_META_CONTEXT,
    nbd.NBD_OPT_GO,
    nbd.NBD_OPT_LIST,
  );
  const reply = fc.constantFrom(nbd.NBD_REP_ACK, nbd.NBD_REP_INFO, nbd.NBD_REP_META_CONTEXT, nbd.NBD_REP_SERVER, nbd.NBD_REP_ERR_UNSUP, 77);
  const plausible = fc.tuple(option, reply, u8).map(([o, r, data]) => encodeOptionReply(o, r, data));
  const greeting = fc.constant(encodeGreeting(NEWSTYLE));

  it('end in an export or in a HandshakeError, by the deadline', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.tuple(u8), fc.tuple(greeting, u8), fc.tuple(greeting, plausible, plausible, plausible, plausible, u8)),
        fc.boolean(),
        fc.boolean(),
        async (pieces, closes, lists) => {
          const s = scene();
          for (const p of pieces) s.peer.write(p);
          if (closes) s.peer.close();
          const handshake: Promise<unknown> = lists ? listExports(s.pull, s.options) : takeExport(s.pull, 'disk', s.options);
          const outcome = handshake.then(
            () => 'ok',
            (e: unknown) => e,
          );
          await settle();
          s.clock.advance(5000);
          const o = await outcome;
          if (o !== 'ok') expect(o).toBeInstanceOf(HandshakeError);
        },
      ),
      { numRuns: 500 },
    );
  });
});
