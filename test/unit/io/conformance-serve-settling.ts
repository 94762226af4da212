/**
 * Connections whose clients always have long READs under way: before they are served nothing more is begun of them until all is answered
 * (native-shims/lend.c). That changes no order, and keeps nobody else waiting.
 */
import { describe, expect, it } from 'vitest';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import { Errno } from '../../../src/io/types.ts';
import { NBD_CMD_FLAG_FUA } from '../../../src/nbd/wire/constants.ts';
import { Asker, BLOCK, bytesOf, execute, KIB, read, REGION, served, type Served, unserve, write } from './conformance-serve-marks.ts';
import { group, member } from './conformance-serve-together.ts';
import type { InRig } from './engine-conformance.ts';
import { Connection, expectBytes, pattern, type Rig, ROOMY, type SeenRequest, SIMPLE } from './engine-rig.ts';

const LONG = 64 * KIB;
/** So many long READs are told before the next one waits, after one loan that was not worth it. */
const TOLD = 32;

/** What was written is in the engine's socket. The loop has not polled meanwhile. */
function written(): Promise<void> {
  return new Promise((resolve) => {
    process.nextTick(resolve);
  });
}

/** A durable READ is told, and not answered: its thread has given it back, and does not get it again. */
async function holds(rig: Rig, s: Served): Promise<SeenRequest> {
  const before = s.conn.requests.length;
  s.client.ask({ ...read(0, BLOCK), flags: NBD_CMD_FLAG_FUA });
  await rig.until(() => s.conn.requests.length > before);
  return s.conn.request(before);
}

export function describeServeSettling(inRig: InRig): void {
  describe('connections that are to be served after many long reads', () => {
    it(
      'do not keep others waiting in the line for room, where they wait no more themselves',
      inRig(async (rig) => {
        const first = await served(rig);
        const { engine } = first.hub;
        const limits = { ...ROOMY, shared: { ownBytes: 0, allBytesMax: BLOCK + (TOLD - 1) * LONG } };
        const shares = async (): Promise<{ conn: Connection; client: Asker }> => {
          const { accepted, connected } = await rig.pair();
          const conn = new Connection(first.hub, engine.adopt(accepted, 'server', SIMPLE, limits, new Uint8Array(0)));
          return { conn, client: new Asker(new PullSocket(connected, rig.io.clock), SIMPLE) };
        };
        const underWay = new Uint32Array(8);
        const marks = { allowed: first.marks.allowed, underWay, clients: 1 };
        const s: Served = { ...first, underWay, rules: { ...first.rules, marks }, ...(await shares()) };
        expect(engine.serve(s.conn.id, s.rules)).toBe(true);
        const held = await holds(rig, s);
        const long = (): SeenRequest[] => s.conn.requests.filter((r) => r.length === LONG);
        s.client.ask(...Array.from({ length: TOLD }, () => read(0, LONG)));
        await rig.until(() => long().length === TOLD - 1);
        // Where this takes too long it goes on being told.
        s.conn.onRequest = (r) => void execute(s, r);
        // Less than one would fit beside what is held: the last one is in line. Asked once more, it waits for something else.
        for (const some of [long().slice(0, 1), [...long().slice(1), held]]) {
          for (const r of some) engine.reply(0, r.req, Errno.EIO, 0, 0, 0);
          for (let i = 0; i < some.length; i += 1) expect((await s.client.answer()).error).not.toBe(0);
        }
        expect((await s.client.answer()).error).toBe(0);
        const other = await shares();
        other.client.ask(read(0, LONG));
        await rig.until(() => other.conn.requests.length === 1);
        await execute({ ...first, ...other }, other.conn.request(0));
        expect((await other.client.answer()).error).toBe(0);
        await unserve(s);
        await unserve(first);
      }),
    );
  });
}
