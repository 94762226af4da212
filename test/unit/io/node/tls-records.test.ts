/** What passes is the same whether it is kept or not; see tls.test.ts for connections that go this way. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Errno } from '../../../../src/io/types.ts';
import { Records, RecordWay } from '../../../../src/io/node/tls-records.ts';

const record = (type: number, length: number): Buffer =>
  Buffer.concat([Buffer.from([type, 3, 3, length >> 8, length & 255]), Buffer.alloc(length, type)]);

describe('Records', () => {
  it('keeps what is encrypted, whole, however the bytes are cut', () => {
    const all = [record(22, 70), record(23, 300), record(20, 1), record(23, 17)];
    const bytes = Buffer.concat(all);
    for (const piece of [1, 2, 7, 300, bytes.length]) {
      const r = new Records();
      for (let i = 0; i < bytes.length; i += piece) r.add(bytes.subarray(i, i + piece));
      expect(r.whole()).toEqual([all[1], all[3]]);
    }
  });

  it('has none in the middle of one', () => {
    const r = new Records();
    r.add(record(23, 40).subarray(0, 44));
    expect(r.whole()).toBeUndefined();
    r.add(Buffer.from([23]));
    expect(r.whole()).toHaveLength(1);
  });

  it('keeps 64 KiB of one way at most, and then none', () => {
    const r = new Records();
    for (let i = 0; i < 4; i += 1) r.add(record(23, 16_379));
    expect(r.whole()).toHaveLength(4);
    r.add(record(23, 1));
    expect(r.whole()).toBeUndefined();
    r.add(record(23, 1));
    expect(r.whole()).toBeUndefined();
  });
});

describe('RecordWay', () => {
  const open: Socket[] = [];
  afterEach(() => {
    for (const s of open.splice(0)) s.destroy();
  });

  async function pair(): Promise<{ way: RecordWay; raw: Socket; peer: Socket }> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const came = once(server, 'connection') as Promise<[Socket]>;
    const raw = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [peer] = await came;
    server.close();
    peer.on('error', () => peer.destroy());
    open.push(raw, peer);
    const way = new RecordWay(raw);
    way.on('error', () => undefined);
    return { way, raw, peer };
  }

  const collected = async (from: RecordWay | Socket, bytes: number): Promise<Buffer> => {
    let all = Buffer.alloc(0);
    while (all.length < bytes) {
      const [b] = (await once(from, 'data')) as [Buffer];
      all = Buffer.concat([all, b]);
    }
    return all;
  };

  it('carries both ways and keeps what passed', async () => {
    const { way, peer } = await pair();
    way.cork();
    way.write(record(23, 10));
    way.write(record(23, 20));
    way.uncork();
    expect(await collected(peer, 40)).toEqual(Buffer.concat([record(23, 10), record(23, 20)]));
    peer.write(record(23, 30));
    expect(await collected(way, 35)).toEqual(record(23, 30));
    expect(way.sent.whole()).toEqual([record(23, 10), record(23, 20)]);
    expect(way.received.whole()).toEqual([record(23, 30)]);
  });

  it('reads nothing after a stop, and all of it when it goes on', async () => {
    const { way, peer } = await pair();
    way.resume();
    peer.write('a');
    await once(way, 'data');
    way.stop();
    await new Promise((resolve) => peer.write('b', resolve));
    // It would be read, if it were, before this has come over a connection of its own.
    const other = await pair();
    other.way.write('x');
    await once(other.peer, 'data');
    expect(way.raw.bytesRead).toBe(1);
    const more = once(way, 'data');
    way.goOn();
    expect((await more).toString()).toBe('b');
  });

  it('says nothing more once it is let go, and leaves the socket open', async () => {
    const { way, raw, peer } = await pair();
    way.letGo();
    way.write('close_notify');
    way.end();
    way.destroy();
    await once(way, 'close');
    expect(raw.destroyed).toBe(false);
    raw.write('mine');
    expect((await collected(peer, 4)).toString()).toBe('mine');
  });

  it('ends with its socket, and its socket with it', async () => {
    const first = await pair();
    const ended = once(first.way, 'error') as Promise<[unknown]>;
    first.raw.destroy();
    const [e] = await ended;
    expect(e).toMatchObject({ errno: Errno.ECONNRESET });
    const second = await pair();
    second.way.destroy();
    await once(second.raw, 'close');
    // The peer's end was heard, and nothing of ours has ended: nobody else will say that it is over.
    const third = await pair();
    third.way.resume();
    third.peer.end('bye');
    await once(third.way, 'end');
    const over = new Promise((resolve) => third.way.once('close', resolve));
    third.raw.destroy();
    await over;
  });
});
