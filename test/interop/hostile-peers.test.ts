/**
 * Real daemons, both engines: a crowd of idle and misbehaving NBD clients from many addresses, while an application writes by the unix
 * socket and an honest client reads over TCP. What the crowd costs in speed is measured by scripts/bench-hostile.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineHub } from '../../src/io/hub.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import type { Address } from '../../src/io/types.ts';
import { NbdClient } from '../../src/nbd-client-js/client.ts';
import { Daemons, freePort } from '../support/daemons.ts';
import { HostilePeers } from '../support/hostile-peers.ts';
import { expectIdentical } from '../support/machine.ts';

const TAG = 'data';
const MiB = 1024 * 1024;
const NODES = ['server1', 'server2'];
/** Many, each of which could hold 64 MiB, and a pool of 256 MiB in all; the daemon at rest has some 90. */
const MEMORY_MAX_MIB = 700;
const IDLE = 240;
const MISBEHAVING = 84;
const io = createNodeIo();

describe.each(['native', 'portable'])('a crowd of hostile clients, in the %s engine', (engine) => {
  const hub = new EngineHub(io.createEngine());
  let all: Daemons;
  let port: number;
  let crowd: HostilePeers | undefined;

  beforeAll(async () => {
    port = await freePort();
    const exports = { listen: `127.0.0.1:${String(port)}`, connections: 160 };
    const env = Object.fromEntries(NODES.map((n) => [n, { NETRAID_ENGINE: engine }]));
    all = await Daemons.start({ nodes: NODES, config: { server1: { exports } }, env });
    await all.createMirror({ tag: TAG, sizeBytes: 64 * MiB, legs: { server1: all.path('leg1'), server2: all.path('leg2') } });
  });

  afterEach(() => {
    crowd?.stop();
  });

  afterAll(async () => {
    await all.close();
  });

  const connect = (address: Address): Promise<NbdClient> => NbdClient.connect({ io, hub, exportName: TAG, address });

  function memoryMiB(): number {
    const status = readFileSync(`/proc/${String(all.node('server1').pid)}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
  }

  it('leaves its clients what they wrote and read, others their way in, and memory bounded', async () => {
    const local = await connect({ kind: 'unix', path: path.join(all.node('server1').root, 'run', 'nbd.sock') });
    const peers = new HostilePeers({ port, exportName: TAG, idle: IDLE, misbehaving: MISBEHAVING, secondByte: 9 });
    crowd = peers;
    peers.start();
    // The places are taken, many were ended, and those that promised a payload or take no reply hold what they can.
    await all.until('the crowd is there', () => Promise.resolve(peers.counts().inTransmission >= 160 && peers.counts().ended > 200));
    const block = (n: number): Uint8Array => new Uint8Array(MiB).fill(n + 1);
    for (let i = 0; i < 48; i += 1) {
      await local.writeBytes(i * MiB, block(i));
      if (i % 12 === 0) await local.flushNow();
      expect(memoryMiB()).toBeLessThan(MEMORY_MAX_MIB);
    }
    await local.flushNow();
    for (let i = 0; i < 48; i += 1) expect(Buffer.compare(await local.readBytes(i * MiB, MiB), block(i))).toBe(0);
    peers.stop();
    await all.until('the places are free again', async () => {
      try {
        const remote = await connect({ kind: 'tcp', host: '127.0.0.1', port });
        expect(Buffer.compare(await remote.readBytes(7 * MiB, MiB), block(7))).toBe(0);
        await remote.disconnect();
        return true;
      } catch (e: unknown) {
        // The crowd's places are given back one by one: until then it is not let in.
        if (e instanceof Error && ['IoError', 'HandshakeError'].includes(e.name)) return false;
        throw e;
      }
    });
    await local.disconnect();
    await all.untilInSync('server1', TAG);
    await expectIdentical([all.path('leg1'), all.path('leg2')]);
  });
});
