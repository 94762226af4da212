/** A network that changes what it carries: a relay between source and target flips bits of what is replicated. */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect } from 'vitest';
import { Daemons, freePort } from '../support/daemons.ts';
import { runOk, temporaryFolder, testWith } from '../support/programs.ts';
import { testCa } from '../unit/pki/ca-world.ts';

const SIZE = 16 * 1024 * 1024;
const NODES = ['server1', 'server2'];
/** What is shorter may be a heartbeat. */
const PAYLOAD_MIN_BYTES = 8192;

class BitFlipper {
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  /** Still to be flipped, one in each piece of payload. */
  armed = 0;
  flipped = 0;

  async open(to: number): Promise<number> {
    const port = await freePort();
    const server = createServer((near) => {
      const far = connect(to, '127.0.0.1');
      for (const [s, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(s);
        s.on('error', () => other.destroy());
        s.on('close', () => {
          this.#sockets.delete(s);
          other.destroy();
        });
        s.on('data', (b: Buffer) => {
          if (s === near) this.#damage(b);
          other.write(b);
        });
      }
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    return port;
  }

  #damage(b: Buffer): void {
    if (this.armed === 0 || b.length < PAYLOAD_MIN_BYTES) return;
    const at = b.length >> 1;
    b.writeUInt8((b[at] ?? 0) ^ 4, at);
    this.armed -= 1;
    this.flipped += 1;
  }

  close(): void {
    for (const s of this.#servers) s.close();
    for (const s of this.#sockets) s.destroy();
  }
}

describe('a flipped bit in what is replicated', () => {
  const folder = temporaryFolder();
  const image = join(folder, 'image');
  let all: Daemons | undefined;
  let flipper: BitFlipper;

  beforeAll(async () => {
    const ca = await testCa(folder);
    for (const name of NODES) await ca.issue({ name, out: join(folder, name) });
    writeFileSync(image, Buffer.alloc(SIZE, 'what is to be replicated, and is long enough. '));
  });

  afterEach(async () => {
    await all?.close();
    all = undefined;
    flipper.close();
  });

  /** A mirror whose source reaches its target through the relay, in sync; written to while bits are flipped. */
  async function damaged(tls: string, flips: number): Promise<Daemons> {
    flipper = new BitFlipper();
    const started = await Daemons.start({
      nodes: NODES,
      reach: (from, _to, port) => (from === 'server1' ? flipper.open(port) : Promise.resolve(port)),
      config: Object.fromEntries(NODES.map((n) => [n, { tls }])),
      prepare: async (node, root) => {
        mkdirSync(join(root, 'etc', 'tls'), { recursive: true });
        cpSync(join(folder, node), join(root, 'etc', 'tls'), { recursive: true });
        return Promise.resolve();
      },
    });
    all = started;
    const legs = { server1: started.path('leg1'), server2: started.path('leg2') };
    await started.createMirror({ tag: 't', sizeBytes: SIZE, legs });
    flipper.armed = flips;
    await runOk('nbdcopy', ['--flush', image, started.node('server1').uri('t')]);
    return started;
  }

  testWith(['nbdcopy', 'cmp'], 'never reaches the disk of a target by TLS: its session ends, and it returns', async () => {
    const d = await damaged('required', 3);
    await d.until('the bits are flipped, and the target is in sync', async () => {
      const { state } = await d.target('server1', 't', 'server2');
      return flipper.armed === 0 && state === 'Target';
    });
    expect(flipper.flipped).toBe(3);
    expect(d.node('server1').log(1000)).toMatch(/server2.*(left|lost|out of sync)/i);
    await runOk('cmp', [image, d.path('leg1')]);
    await runOk('cmp', [image, d.path('leg2')]);
    expect(await d.verify('server1', 't')).toMatchObject({ differingBytes: 0 });
  });

  testWith(['nbdcopy', 'cmp'], 'does without TLS, and only a verify finds it', async () => {
    const d = await damaged('off', 1);
    expect(flipper.flipped).toBe(1);
    const result = await d.verify('server1', 't');
    expect(result.differingBytes).toBeGreaterThan(0);
    await d.untilInSync('server1', 't');
    await runOk('cmp', [d.path('leg1'), d.path('leg2')]);
  });
});
