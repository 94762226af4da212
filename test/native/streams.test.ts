/**
 * What only the native engine has: a descriptor taken over from Node, and payloads that stay in the slabs they were received
 * into, however long they are and however long they are held.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';
import { PortableEngine } from '../../src/io/portable-engine.ts';
import type { Engine, Handle, WireParams } from '../../src/io/types.ts';
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../../src/nbd/wire/constants.ts';
import { SIMPLE_REPLY } from '../../src/nbd/wire/layout.ts';
import {
  Connection,
  EXTENDED,
  expectBytes,
  handleOf,
  joined,
  pattern,
  rawRequest,
  Rig,
  ROOMY,
  SIMPLE,
  STRUCTURED,
  takeBytes,
  WAIT_MS,
} from '../unit/io/engine-rig.ts';
import { makeNodeWorld } from '../unit/io/node-world.ts';

const KIB = 1024;
const NONE = new Uint8Array(0);
const WIDE = { ...SIMPLE, payloadMaxBytes: 8 * KIB * KIB };

function kindOf(wire: WireParams): string {
  if (wire.extendedHeaders) return ' with extended headers';
  return wire.structuredReplies ? ' as chunks' : ' as simple replies';
}

/** One without legs, beside native ones. */
function portable(rig: Rig): Engine {
  return new PortableEngine({ clock: rig.io.clock, legs: { open: () => Promise.reject(new Error('no legs here')) } });
}

function inRig(body: (rig: Rig) => Promise<void>): () => Promise<void> {
  return async () => {
    const rig = new Rig(await makeNodeWorld('unix', 'native'));
    await body(rig);
    await rig.finish();
  };
}

describe.skipIf(loadNativeEngine() === undefined)('a descriptor taken over', () => {
  it(
    'comes after everything that the handshake wrote, and nothing is lost between',
    inRig(async (rig) => {
      const hub = rig.hub();
      const { accepted, connected } = await rig.pair();
      connected.pause();
      const before = pattern(4 * KIB * KIB, 1);
      accepted.write(before);
      const conn = new Connection(hub, hub.engine.adopt(accepted, 'server', SIMPLE, ROOMY, NONE));
      connected.write(rawRequest({ cmd: NBD_CMD_FLUSH, cookieLo: 5 }));
      await rig.settle();
      expect(conn.requests.length).toBe(0);
      const received: Uint8Array[] = [];
      connected.start({ onData: (b) => received.push(new Uint8Array(b)), onClose: () => undefined });
      connected.resume();
      await rig.until(() => conn.requests.length === 1);
      hub.engine.reply(0, conn.request(0).req, 0, 0, 0, 0);
      await rig.until(() => received.reduce((n, b) => n + b.length, 0) === before.length + SIMPLE_REPLY.SIZE);
      expectBytes(joined(received).subarray(0, before.length), before);
      connected.destroy();
    }),
  );

  it(
    'begins with what Node had read already',
    inRig(async (rig) => {
      const hub = rig.hub();
      const { accepted, connected } = await rig.pair();
      const stream = joined([1, 2, 3].map((i) => rawRequest({ cmd: NBD_CMD_WRITE, cookieLo: i, payload: pattern(20_000, i) })));
      connected.write(stream.subarray(0, 30_000));
      await rig.settle();
      const conn = new Connection(hub, hub.engine.adopt(accepted, 'server', SIMPLE, ROOMY, NONE));
      connected.write(stream.subarray(30_000));
      await rig.until(() => conn.requests.length === 3);
      conn.requests.forEach((r, i) => {
        expectBytes(takeBytes(hub, r.h), pattern(20_000, i + 1));
      });
      connected.destroy();
    }),
  );

  it(
    'is given up when the connection is closed before the handshake has left',
    inRig(async (rig) => {
      const hub = rig.hub();
      const { accepted, connected } = await rig.pair();
      connected.pause();
      accepted.write(pattern(4 * KIB * KIB, 1));
      const conn = new Connection(hub, hub.engine.adopt(accepted, 'server', SIMPLE, ROOMY, NONE));
      hub.engine.close(conn.id, 5);
      await rig.until(() => conn.closed === 5);
      let ended = false;
      connected.start({
        onData: () => undefined,
        onClose: () => {
          ended = true;
        },
      });
      connected.resume();
      await rig.until(() => ended);
    }),
  );
});

describe.skipIf(loadNativeEngine() === undefined)('payloads in slabs', () => {
  const lengths = fc.array(
    fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 700 * KIB }), fc.constantFrom(4096, 256 * KIB, 3 * KIB * KIB)),
    {
      minLength: 1,
      maxLength: 24,
    },
  );

  it(
    'are whole and stay what they were, whichever are held and whichever given back',
    inRig(async (rig) => {
      const hub = rig.hub();
      await fc.assert(
        fc.asyncProperty(lengths, fc.integer({ min: 1, max: 5 }), async (all, kept) => {
          const { conn, peer } = await rig.server(hub, WIDE);
          const held: { h: Handle; i: number; length: number }[] = [];
          let seen = 0;
          conn.onRequest = (r) => {
            const i = seen;
            seen += 1;
            if (i % kept === 0) held.push({ h: r.h, i, length: r.length });
            else expectBytes(takeBytes(hub, r.h), pattern(r.length, i));
            hub.engine.reply(0, r.req, 0, 0, 0, 0);
          };
          all.forEach((length, i) => {
            peer.write(rawRequest({ cmd: NBD_CMD_WRITE, cookieLo: i, payload: pattern(length, i) }));
          });
          await rig.until(() => seen === all.length);
          await peer.read(all.length * SIMPLE_REPLY.SIZE, WAIT_MS);
          for (const { h, i, length } of held) expectBytes(takeBytes(hub, h), pattern(length, i));
          peer.destroy();
          await rig.until(() => conn.closed !== undefined);
        }),
        { numRuns: 15 },
      );
    }),
    60_000,
  );

  for (const wire of [WIDE, { ...WIDE, structuredReplies: true }, { ...WIDE, structuredReplies: true, extendedHeaders: true }]) {
    it(
      `come back as they were,${kindOf(wire)}, between native engines and from and to a portable one`,
      inRig(async (rig) => {
        const native = [rig.hub(), rig.hub()] as const;
        const other = rig.hub(portable(rig));
        const ends = fc.constantFrom(native, [native[0], other] as const, [other, native[0]] as const);
        await fc.assert(
          fc.asyncProperty(lengths, ends, async (all, [serverHub, clientHub]) => {
            const { accepted, connected } = await rig.pair();
            const server = new Connection(serverHub, serverHub.engine.adopt(accepted, 'server', wire, ROOMY, NONE));
            const client = new Connection(clientHub, clientHub.engine.adopt(connected, 'client', wire, ROOMY, NONE));
            server.onRequest = (r) => {
              const h = handleOf(serverHub, pattern(r.length, r.offset));
              serverHub.engine.reply(0, r.req, 0, h, 0, r.length);
              serverHub.engine.release(h);
            };
            const results = await Promise.all(
              all.map((length, i) =>
                clientHub.must('read', (op) => {
                  clientHub.engine.send(op, client.id, NBD_CMD_READ, 0, i, length, 0, 0);
                }),
              ),
            );
            results.forEach((r, i) => {
              expectBytes(takeBytes(clientHub, r.h), pattern(all[i] ?? 0, i));
            });
            clientHub.engine.close(client.id, 0);
            await rig.until(() => server.closed !== undefined && client.closed !== undefined);
          }),
          { numRuns: 10 },
        );
      }),
      60_000,
    );
  }
});

describe.skipIf(loadNativeEngine() === undefined)('bytes that mean nothing', () => {
  for (const [role, wire] of [
    ['server', SIMPLE],
    ['server', EXTENDED],
    ['client', STRUCTURED],
    ['client', SIMPLE],
    ['client', EXTENDED],
  ] as const) {
    it(
      `end a ${role} connection${kindOf(wire)} and nothing else`,
      inRig(async (rig) => {
        const hub = rig.hub();
        const magics = fc.constantFrom(
          [0x25, 0x60, 0x95, 0x13],
          [0x67, 0x44, 0x66, 0x98],
          [0x66, 0x8e, 0x33, 0xef],
          [0x21, 0xe4, 0x1c, 0x71],
          [0x6e, 0x8a, 0x27, 0x8c],
          [0, 0, 0, 0],
        );
        const piece = fc.tuple(magics, fc.array(fc.constantFrom(0, 0, 0, 1, 2, 3, 5, 6, 8, 12, 32, 128, 255), { minLength: 0, maxLength: 60 }));
        await fc.assert(
          fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 10 }), async (pieces) => {
            const { conn, peer } = role === 'server' ? await rig.server(hub, wire) : await rig.client(hub, wire);
            conn.onRequest = (r) => {
              if (r.h !== 0) hub.engine.release(r.h);
            };
            const asked =
              role === 'server'
                ? []
                : [NBD_CMD_READ, NBD_CMD_BLOCK_STATUS, NBD_CMD_READ].map((cmd) =>
                    hub.run((op) => {
                      hub.engine.send(op, conn.id, cmd, 0, 0, 12, 0, 0);
                    }),
                  );
            peer.write(new Uint8Array(pieces.flatMap(([magic, rest]) => [...magic, ...rest])));
            await rig.turn();
            peer.end();
            await rig.until(() => conn.closed !== undefined);
            for (const r of await Promise.all(asked)) if (r.h !== 0) hub.engine.release(r.h);
            expect(hub.engine.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
          }),
          { numRuns: 150 },
        );
      }),
      60_000,
    );
  }
});
