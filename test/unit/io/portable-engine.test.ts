import { describe, expect, it } from 'vitest';
import { EngineHub } from '../../../src/io/hub.ts';
import { PortableEngine } from '../../../src/io/portable-engine.ts';
import { Errno } from '../../../src/io/types.ts';
import { NBD_CMD_FLUSH } from '../../../src/nbd/wire/constants.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';
import { expectIoError, rawRequest, ROOMY, SIMPLE } from './engine-rig.ts';
import { MemoryLeg } from './memory-leg.ts';
import { HandSocket } from './portable/rig.ts';

const NONE = new Uint8Array(0);

function makeEngine(): { hub: EngineHub; file: MemoryLeg } {
  const clock = new ManualClock();
  const file = new MemoryLeg(clock, 4096);
  return { hub: new EngineHub(new PortableEngine({ clock, legs: { open: () => Promise.resolve(file) } })), file };
}

describe('the portable engine', () => {
  it('refuses what it cannot do', () => {
    const { engine } = makeEngine().hub;
    expect(() => engine.adopt(new HandSocket(), 'server', { ...SIMPLE, extendedHeaders: true }, ROOMY, NONE)).toThrow(/extended/);
    expect(() => engine.adopt(new HandSocket(), 'server', SIMPLE, { requestsMax: 0, bytesMax: 1 }, NONE)).toThrow(RangeError);
    expect(() => {
      engine.read(1, 1, -1, 10);
    }).toThrow(RangeError);
  });

  it('answers operations on what does not exist with ESHUTDOWN', async () => {
    const { hub } = makeEngine();
    const e = hub.engine;
    const all = await Promise.all([
      hub.run((op) => {
        e.read(op, 99, 0, 1);
      }),
      hub.run((op) => {
        e.zero(op, 99, 0, 1, true, true);
      }),
      hub.run((op) => {
        e.extents(op, 99, 0, 1);
      }),
      hub.run((op) => {
        e.send(op, 99, NBD_CMD_FLUSH, 0, 0, 0, 0, 0);
      }),
      hub.run((op) => {
        e.reply(op, 99, 0, 0, 0, 0);
      }),
      hub.run((op) => {
        e.replyBlockStatus(op, 99, [NONE]);
      }),
    ]);
    expect(all.map((r) => r.errno)).toEqual(new Array(6).fill(Errno.ESHUTDOWN));
    e.close(99, 0);
    e.stopReceiving(99);
    await e.closeLeg(99);
    expect(e.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
  });

  it('gives many answers of one turn to the socket as one write', async () => {
    const { hub } = makeEngine();
    const socket = new HandSocket();
    const conn = hub.engine.adopt(socket, 'server', SIMPLE, ROOMY, NONE);
    hub.own(conn, {
      onRequest: (req) => {
        hub.engine.reply(0, req, 0, 0, 0, 0);
      },
      onClosed: () => undefined,
    });
    for (let i = 0; i < 32; i += 1) socket.handler?.onData(rawRequest({ cmd: NBD_CMD_FLUSH, cookieLo: i }));
    await settle();
    expect(socket.written.map((w) => w.bytes.length)).toEqual([32 * 16]);
    hub.engine.close(conn, Errno.EIO);
  });

  it('takes nothing new once shut down', async () => {
    const { hub, file } = makeEngine();
    await hub.engine.openLeg('x', { write: true, lock: false });
    await hub.engine.shutdown();
    expect(file.closed).toBe(true);
    await expectIoError(hub.engine.openLeg('x', { write: true, lock: false }), Errno.ESHUTDOWN);
    const socket = new HandSocket();
    const conn = hub.engine.adopt(socket, 'client', SIMPLE, ROOMY, NONE);
    let closed = -1;
    hub.own(conn, {
      onRequest: () => undefined,
      onClosed: (errno) => {
        closed = errno;
      },
    });
    await settle();
    expect(closed).toBe(Errno.ESHUTDOWN);
    expect(socket.ending).toBe('destroy');
  });
});
