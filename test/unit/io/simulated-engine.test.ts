/** The engine's conformance in the simulated world: well-behaved, and with a disk that comes short and a narrow network. */
import { describe, expect, it } from 'vitest';
import { EngineHub } from '../../../src/io/hub.ts';
import { SimWorld, type SimWorldOptions } from '../../../src/io/simulated/world.ts';
import { Errno } from '../../../src/io/types.ts';
import { NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';
import { describeEngine, type EngineWorld } from './engine-conformance.ts';
import { Connection, handleOf, ROOMY, SIMPLE } from './engine-rig.ts';
import { patterned, same } from './simulated-support.ts';

async function makeWorld(seed: string, options: SimWorldOptions): Promise<EngineWorld> {
  const world = new SimWorld(seed, options);
  const io = world.node('a').boot();
  await world.run(io.files.mkdir('/test'));
  let port = 7000;
  return {
    io,
    path: (name) => `/test/${name}`,
    address: () => {
      port += 1;
      return { kind: 'tcp', host: 'a', port };
    },
    drive: (body) => world.run(body()),
    dispose: () => Promise.resolve(),
  };
}

for (const seed of ['one', 'two', 'three']) {
  describeEngine(`simulated world, seed ${seed}`, () => makeWorld(seed, {}));
}
describeEngine('simulated world with short transfers and a small window', () => makeWorld('rough', { shortTransfers: 0.3, windowBytes: 3000 }));

describe('an engine in the simulated world', () => {
  it('gathers few events in a batch in one moment and many in another', async () => {
    const world = new SimWorld(1);
    const node = world.node('a');
    node.createFile('/leg', 1 << 20);
    const engine = node.boot().createEngine();
    const sizes = new Set<number>();
    let done = 0;
    const finished = new Promise<void>((resolve) => {
      engine.onEvents((e) => {
        sizes.add(e.count);
        done += e.count;
        for (let i = 0; i < e.count; i += 1) engine.release(e.handle[i] ?? 0);
        if (done === 1000) resolve();
      });
    });
    const { leg } = await world.run(engine.openLeg('/leg', { write: false, lock: false }));
    for (let op = 1; op <= 1000; op += 1) engine.read(op, leg, op * 512, 512);
    await world.run(finished);
    expect(sizes.size).toBeGreaterThan(5);
  });

  it('reports the disk of its node: an injected error, and what is full', async () => {
    const world = new SimWorld(1);
    const node = world.node('a');
    node.createFile('/leg', 1 << 20);
    const hub = new EngineHub(node.boot().createEngine());
    const { engine } = hub;
    const { leg } = await world.run(engine.openLeg('/leg', { write: true, lock: true }));
    const h = engine.allocate(8192);
    engine.view(h).set(patterned(8192));
    const write = async (): Promise<number> => {
      const result = await world.run(
        hub.run((op) => {
          engine.write(op, leg, 0, h, 0, 8192, false);
        }),
      );
      return result.errno;
    };
    node.full('/leg');
    expect(await write()).toBe(Errno.ENOSPC);
    node.repairDisk();
    expect(await write()).toBe(0);
    node.fail('/leg', { op: 'write', errno: Errno.EIO, times: 1 });
    expect(await write()).toBe(Errno.EIO);
    node.fail('/leg', { op: 'sync', errno: Errno.EIO });
    const synced = await world.run(
      hub.run((op) => {
        engine.sync(op, leg);
      }),
    );
    expect(synced.errno).toBe(Errno.EIO);
  });

  it('replays a history of writes over the network up to a power failure, byte for byte', async () => {
    const history = async (seed: number): Promise<{ fingerprint: string; leg: Uint8Array | undefined; acknowledged: number }> => {
      const world = new SimWorld(seed, { shortTransfers: 0.1 });
      const target = world.node('target');
      target.createFile('/leg', 256 * 1024);
      const [near, far] = [world.node('source').boot(), target.boot()];
      const [client, server] = [new EngineHub(near.createEngine()), new EngineHub(far.createEngine())];
      const { leg } = await world.run(server.engine.openLeg('/leg', { write: true, lock: true }));
      const conn = new Promise<Connection>((resolve, reject) => {
        far.net
          .listen({ kind: 'tcp', host: 'target', port: 7000 }, (s) => {
            resolve(new Connection(server, server.engine.adopt(s, 'server', SIMPLE, ROOMY, new Uint8Array(0))));
          })
          .catch(reject);
      });
      await world.runFor(1);
      const socket = await world.run(near.net.connect({ kind: 'tcp', host: 'target', port: 7000 }, 1000));
      const sending = client.engine.adopt(socket, 'client', SIMPLE, ROOMY, new Uint8Array(0));
      (await world.run(conn)).onRequest = ({ req, offset, length, h }) => {
        const op = server.start(
          {
            onDone: (_tag, errno) => {
              server.engine.release(h);
              server.engine.reply(0, req, errno, 0, 0, 0);
            },
          },
          0,
        );
        server.engine.write(op, leg, offset, h, 0, length, false);
      };
      let acknowledged = 0;
      const h = handleOf(client, patterned(8192));
      for (let i = 0; i < 200; i += 1) {
        void client
          .run((op) => {
            client.engine.send(op, sending, NBD_CMD_WRITE, 0, (i % 32) * 8192, 8192, h, 0);
          })
          .then(() => {
            acknowledged += 1;
          });
      }
      await world.runFor(2);
      target.powerFail();
      await world.runFor(100);
      return { fingerprint: world.fingerprint(), leg: target.peek('/leg'), acknowledged };
    };
    const first = await history(1);
    const again = await history(1);
    expect(again.fingerprint).toBe(first.fingerprint);
    expect(again.acknowledged).toBe(first.acknowledged);
    expect(first.acknowledged).toBeGreaterThan(0);
    expect(same(again.leg ?? new Uint8Array(0), first.leg ?? new Uint8Array(0))).toBe(true);
    expect((await history(2)).fingerprint).not.toBe(first.fingerprint);
  });

  it('falls silent with its process, and the lock of its leg is free for the next incarnation', async () => {
    const world = new SimWorld(1);
    const node = world.node('a');
    node.createFile('/leg', 1 << 20);
    const hub = new EngineHub(node.boot().createEngine());
    const { leg } = await world.run(hub.engine.openLeg('/leg', { write: true, lock: true }));
    let heard = false;
    void hub
      .run((op) => {
        hub.engine.sync(op, leg);
      })
      .then(() => {
        heard = true;
      });
    node.crash();
    await world.run(node.boot().createEngine().openLeg('/leg', { write: true, lock: true }));
    await world.runFor(100);
    expect(heard).toBe(false);
  });

  it('finds an open leg busy while the process that holds it lives', async () => {
    const world = new SimWorld(1);
    const node = world.node('a');
    node.createFile('/leg', 4096, 'block');
    const io = node.boot();
    const info = await world.run(io.createEngine().openLeg('/leg', { write: true, lock: true }));
    expect(info).toMatchObject({ sizeBytes: 4096, blockSizeBytes: 512, sparse: false });
    await expect(world.run(io.createEngine().openLeg('/leg', { write: true, lock: true }))).rejects.toMatchObject({ code: 'EBUSY' });
  });
});
