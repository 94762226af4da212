import { describe, expect, it } from 'vitest';
import { Errno, type Io, IoError, type IoSocket } from '../../../src/io/types.ts';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import { NbdClient } from '../../../src/nbd-client-js/client.ts';
import { dial } from '../../../src/nbd-client-js/dial.ts';
import { HandshakeError } from '../../../src/nbd-client-js/errors.ts';
import * as nbd from '../../../src/nbd/wire/constants.ts';
import { ClientWorld } from '../../support/client-world.ts';
import { ALL_FLAGS, type FakeExport } from '../../support/fake-nbd-server.ts';
import { settle } from '../../support/manual-clock.ts';

/** A server that shows another export on each connection. */
function various(w: ClientWorld, exports: (FakeExport | Error)[]): () => Promise<IoSocket> {
  let next = 0;
  return () => {
    const e = exports[next];
    next += 1;
    if (e === undefined) throw new Error('one connection too many');
    return e instanceof Error ? Promise.reject(e) : w.open(e);
  };
}

describe('connecting', () => {
  it('makes one connection unless the server announces CAN_MULTI_CONN', async () => {
    const w = new ClientWorld();
    const client = await w.connect({ flags: ALL_FLAGS & ~nbd.NBD_FLAG_CAN_MULTI_CONN }, { connections: 4 });
    expect(client.connections).toBe(1);
    expect(w.peers).toHaveLength(1);
    expect(nthName(w)).toEqual(['disk']);
  });

  it('makes as many as wanted when it does', async () => {
    const w = new ClientWorld();
    const client = await w.connect({}, { connections: 4, exportName: 'a' });
    expect(client.connections).toBe(4);
    expect(nthName(w)).toEqual(['a', 'a', 'a', 'a']);
    expect(w.engine.usage().connections).toBe(4);
  });

  it('is content with fewer', async () => {
    const w = new ClientWorld();
    const open = various(w, [{}, new IoError(Errno.ECONNREFUSED, 'full'), {}]);
    const client = await NbdClient.connect({ ...w.settings, connections: 3, open });
    expect(client.connections).toBe(2);
  });

  it('refuses a server whose connections show different exports, and closes all', async () => {
    const w = new ClientWorld();
    const open = various(w, [{}, {}, { sizeBytes: 4096 }]);
    await expect(NbdClient.connect({ ...w.settings, connections: 3, open })).rejects.toThrow(
      'NBD server memory:a: its connections show different exports: sizeBytes is 1048576 on one and 4096 on another',
    );
    expect(w.sockets.map((s) => s.closed)).toEqual([true, true, true]);
    expect(w.engine.usage().connections).toBe(0);
  });

  it('fails with the error of the dialling function', async () => {
    const w = new ClientWorld();
    const open = various(w, [new IoError(Errno.ECONNREFUSED, 'nobody there')]);
    await expect(NbdClient.connect({ ...w.settings, open })).rejects.toThrow('nobody there');
  });

  it('closes the socket when the handshake fails', async () => {
    const w = new ClientWorld();
    const refuse = { [nbd.NBD_OPT_GO]: { reply: nbd.NBD_REP_ERR_UNKNOWN, text: '' } };
    await expect(NbdClient.connect({ ...w.settings, open: various(w, [{ refuse }]) })).rejects.toThrow(HandshakeError);
    expect(w.sockets.map((s) => s.closed)).toEqual([true]);
  });

  it('fails when the connection is lost right after the handshake', async () => {
    const w = new ClientWorld();
    const connecting = NbdClient.connect({
      ...w.settings,
      connections: 2,
      open: async () => {
        const s = await w.open({});
        if (w.peers.length === 2) w.peers[0]?.close();
        return s;
      },
    });
    await expect(connecting).rejects.toThrow('memory:a closed the connection');
    await settle();
    expect(w.sockets.map((s) => s.closed)).toEqual([true, true]);
    expect(w.engine.usage().connections).toBe(0);
  });

  it('gives up dialling by the deadline, and closes a socket that comes later', async () => {
    const w = new ClientWorld();
    let deliver: (s: IoSocket) => void = () => undefined;
    const open = (): Promise<IoSocket> =>
      new Promise((resolve) => {
        deliver = resolve;
      });
    const connecting = NbdClient.connect({ ...w.settings, open }).catch((e: unknown) => e);
    w.clock.advance(2000);
    expect(await connecting).toMatchObject({ errno: Errno.ETIMEDOUT, message: 'no connection within 2000 ms' });
    deliver(await w.open({}));
    await settle();
    expect(w.sockets.map((s) => s.closed)).toEqual([true]);
  });

  it('counts dialling and handshake against one deadline', async () => {
    const w = new ClientWorld();
    const open = (): Promise<IoSocket> =>
      new Promise((resolve) => {
        w.clock.after(1500, () => {
          // Nobody is at the other end.
          void w.open({ refuse: {} }).then(resolve);
          w.peers[0]?.pull.socket.pause();
        });
      });
    const connecting = NbdClient.connect({ ...w.settings, replyTimeoutMs: 60_000, open }).catch((e: unknown) => e);
    w.clock.advance(1500);
    await settle();
    w.clock.advance(499);
    await settle();
    w.clock.advance(1);
    expect(await connecting).toMatchObject({ errno: Errno.ETIMEDOUT, failure: 'timeout' });
  });

  it('takes a socket whose greeting came before it was handed over', async () => {
    const w = new ClientWorld();
    const open = async (): Promise<{ socket: IoSocket; early: Uint8Array }> => {
      const socket = await w.open({});
      const before = new PullSocket(socket, w.clock);
      const greeting = await before.read(10, 1000);
      await settle();
      return { socket, early: Buffer.concat([greeting, before.detach()]) };
    };
    const client = await NbdClient.connect({ ...w.settings, open });
    expect(client.info.sizeBytes).toBe(1 << 20);
  });

  it('by address goes through the world it was given, and has the time of one answer for it', async () => {
    const w = new ClientWorld();
    const asked: unknown[] = [];
    const io: Pick<Io, 'clock' | 'net'> = {
      clock: w.clock,
      net: {
        ...w.settings.io.net,
        connect: (to, timeoutMs) => {
          asked.push(to, timeoutMs);
          return w.open({});
        },
      },
    };
    const address = { kind: 'tcp', host: 'h', port: 1 } as const;
    const { info } = await dial({ address }, { io, exportName: 'x', extendedHeaders: true, connectTimeoutMs: 123, replyTimeoutMs: 50 });
    expect(info.sizeBytes).toBe(1 << 20);
    expect(asked).toEqual([address, 50]);
  });
});

function nthName(w: ClientWorld): (string | undefined)[] {
  return w.peers.map((p) => p.exportName);
}
