/** Connections that native-shims accepts: judged before there is a socket of Node's, closed by exactly one side, and never spinning. */
import { spawn, spawnSync } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { nodeClock } from '../../src/io/node/clock.ts';
import { loadDoors } from '../../src/io/node/door.ts';
import { createNodeNet, nodeNet } from '../../src/io/node/net.ts';
import { PullSocket } from '../../src/io/pull-socket.ts';
import type { IoSocket, Listener } from '../../src/io/types.ts';

const WAIT_MS = 5000;
const doors = loadDoors();
const net = createNodeNet({ doors });
const opened: { listeners: Listener[]; sockets: (Socket | IoSocket)[] } = { listeners: [], sockets: [] };

afterEach(async () => {
  for (const s of opened.sockets.splice(0)) s.destroy();
  await Promise.all(opened.listeners.splice(0).map((l) => l.close()));
});

interface House {
  port: number;
  listener: Listener;
  come: IoSocket[];
  asked: string[];
}

async function house(mayEnter: (remote: string) => boolean, host = '127.0.0.1', through = net): Promise<House> {
  const come: IoSocket[] = [];
  const asked: string[] = [];
  const listener = await through.listen(
    { kind: 'tcp', host, port: 0 },
    (s) => {
      come.push(s);
      opened.sockets.push(s);
    },
    (remote) => {
      asked.push(remote);
      return mayEnter(remote);
    },
  );
  opened.listeners.push(listener);
  if (listener.address.kind !== 'tcp') throw new Error('no port');
  return { port: listener.address.port, listener, come, asked };
}

interface Guest {
  socket: Socket;
  port: number;
  received: Buffer[];
  ended: Promise<void>;
}

async function guest(port: number, from = '127.0.0.1', say?: Uint8Array): Promise<Guest> {
  const socket = connect({ host: '127.0.0.1', port, localAddress: from });
  opened.sockets.push(socket);
  const received: Buffer[] = [];
  socket.on('data', (b: Buffer) => received.push(b));
  // Who is closed with bytes unread is reset.
  socket.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => {
    socket.on('close', () => {
      resolve();
    });
  });
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve);
  });
  const own = socket.localPort ?? 0;
  if (say !== undefined) socket.write(say);
  return { socket, port: own, received, ended };
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error('it did not come to that');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe.skipIf(doors === undefined)('a door', () => {
  it('closes whom it does not let in, without a word and without a socket, and lets the others in with all that they say', async () => {
    const h = await house((remote) => !remote.startsWith('127.0.0.2:'));
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i * 7 + (i >> 8)));
    const barred = await Promise.all(Array.from({ length: 40 }, () => guest(h.port, '127.0.0.2', bytes.subarray(0, 10))));
    const honest = await guest(h.port, '127.0.0.3', bytes);
    await Promise.all(barred.map((g) => g.ended));
    expect(barred.every((g) => g.received.length === 0)).toBe(true);
    await until(() => h.come.length === 1);
    const [socket] = h.come;
    if (socket === undefined) throw new Error('nobody came');
    expect(socket.remote).toBe(`127.0.0.3:${String(honest.port)}`);
    const pull = new PullSocket(socket, nodeClock);
    expect(Buffer.compare(await pull.read(bytes.length, WAIT_MS), bytes)).toBe(0);
    pull.write(Uint8Array.of(1, 2, 3));
    await until(() => honest.received.length > 0);
    expect([...Buffer.concat(honest.received)]).toEqual([1, 2, 3]);
    expect(h.asked.filter((r) => r.startsWith('127.0.0.2:'))).toHaveLength(40);
  });

  it('names peers as Node does, those of IPv4 on a socket of IPv6 too', async () => {
    for (const host of ['127.0.0.1', '::']) {
      const named: string[] = [];
      for (const through of [net, nodeNet]) {
        const h = await house(() => true, host, through);
        const g = await guest(h.port);
        await until(() => h.come.length === 1);
        expect(h.asked).toEqual(h.come.map((s) => s.remote));
        named.push(h.asked[0]?.replace(`:${String(g.port)}`, ':PORT') ?? '');
      }
      expect(named[0]).toBe(named[1]);
      if (host === '::') expect(named[0]).toBe('::ffff:127.0.0.1:PORT');
    }
  });

  it('takes no more once it is closed, even by somebody who has just come in, and those inside stay', async () => {
    const closed: Promise<void>[] = [];
    const { port, come, listener } = await house(() => {
      closed.push(listener.close());
      return true;
    });
    const inside = await guest(port);
    await until(() => come.length === 1);
    const late = connect({ host: '127.0.0.1', port });
    opened.sockets.push(late);
    await expect(
      new Promise((_resolve, reject) => {
        late.once('error', reject);
      }),
    ).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    come[0]?.write(Uint8Array.of(9));
    await until(() => inside.received.length > 0);
    await Promise.all(closed);
  });

  it('lets a flood wait for those who are inside: never more of them at a time than a turn has room for', async () => {
    let now = 0;
    let most = 0;
    const h = await house(() => {
      now += 1;
      most = Math.max(most, now);
      setImmediate(() => {
        now = 0;
      });
      return false;
    });
    // All have come before the next turn.
    const program = `let n = 0;
      const come = () => { n += 1; if (n === 100) process.exit(0); };
      for (let i = 0; i < 100; i += 1) require('net').connect(Number(process.argv[1]), '127.0.0.1', come);`;
    expect(spawnSync(process.execPath, ['-e', program, String(h.port)], { timeout: WAIT_MS }).status).toBe(0);
    await until(() => h.asked.length === 100);
    expect(most).toBeLessThanOrEqual(4);
  });

  it('without a descriptor left closes whoever comes, and goes on when there are some again', async () => {
    const program = `
      import { closeSync, openSync } from 'node:fs';
      import { loadDoors } from '${new URL('../../src/io/node/door.ts', import.meta.url).pathname}';
      import { createNodeNet } from '${new URL('../../src/io/node/net.ts', import.meta.url).pathname}';
      const listener = await createNodeNet(loadDoors()).listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (s) => {
        s.write(Buffer.from('in'));
        s.end();
      });
      const held = [];
      const fill = () => {
        for (;;) {
          try { held.push(openSync('/dev/null')); } catch (e) { if (e.code !== 'EMFILE') throw e; return; }
        }
      };
      process.stdin.on('data', (b) => {
        const word = String(b).trim();
        if (word === 'fill') fill();
        if (word === 'free') for (const fd of held.splice(0)) closeSync(fd);
        process.stdout.write(word + '\\n');
      });
      process.stdin.on('end', () => process.exit(0));
      process.stdout.write(listener.address.port + '\\n');
    `;
    const child = spawn('sh', ['-c', 'ulimit -n 90; exec "$0" --import tsx --input-type=module -e "$1"', process.execPath, program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      let said = '';
      child.stdout.on('data', (b: Buffer) => {
        said += b.toString();
      });
      const line = async (ask?: string): Promise<string> => {
        said = '';
        if (ask !== undefined) child.stdin.write(ask);
        const deadline = performance.now() + 60_000;
        while (!said.endsWith('\n')) {
          if (performance.now() > deadline) throw new Error('the child says nothing');
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        return said.trim();
      };
      const port = Number(await line());
      expect(await line('fill')).toBe('fill');
      const turnedAway = await Promise.all(Array.from({ length: 30 }, () => guest(port)));
      await Promise.all(turnedAway.map((g) => g.ended));
      expect(turnedAway.every((g) => g.received.length === 0)).toBe(true);
      expect(await line('free')).toBe('free');
      const welcome = await guest(port);
      await welcome.ended;
      expect(Buffer.concat(welcome.received).toString()).toBe('in');
    } finally {
      child.stdin.end();
      child.kill('SIGKILL');
    }
  });

  it('is said to be wrong where it is: what is no descriptor, or nothing to tell', () => {
    const open = doors?.openDoor.bind(doors) as unknown as (...args: unknown[]) => unknown;
    expect(() => open('x', () => undefined)).toThrow(TypeError);
    expect(() => open(0)).toThrow(TypeError);
    expect(() => open(1_000_000, () => undefined)).toThrow(/descriptor/);
  });
});
