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
      'are told of a write before what is asked for once the same one, which came after it by another, was answered',
      inRig(async (rig) => {
        const all = await group(rig, 2);
        const [a, b] = [member(all, 0), member(all, 1)];
        const of = (r: SeenRequest): Served => (r.conn === a.conn.id ? a : b);
        const held: SeenRequest[] = [];
        // The one that is looked at first is the one that had something first, once it was not lent any more.
        for (const s of [b, b, a]) held.push(await holds(rig, s));
        const told: SeenRequest[] = [];
        for (const s of all) s.conn.onRequest = (r) => told.push(r);
        const writes = (s: Served): SeenRequest[] => told.filter((r) => r.conn === s.conn.id && r.h !== 0);
        // b's comes when a's has come, behind READs, and is taken in first.
        const again = b.client.bytes([write(REGION, 4 * KIB, 1)]);
        b.client.peer.write(again.subarray(0, 10));
        await written();
        a.client.ask(...Array.from({ length: TOLD + 1 }, () => read(0, LONG)), write(REGION, 4 * KIB, 1));
        await written();
        b.client.peer.write(again.subarray(10));
        await rig.until(() => writes(b).length === 1);
        const answered = b.conn.request(2);
        await execute(b, answered);
        expect((await b.client.answer()).error).toBe(0);
        b.client.ask(write(REGION, 4 * KIB, 2));
        await rig.until(() => writes(a).length === 1 && writes(b).length === 2);
        for (const r of told) if (r !== answered) await execute(of(r), r);
        for (const r of held) await execute(of(r), r);
        expectBytes(await bytesOf(a, REGION, 4 * KIB), pattern(4 * KIB, 2));
        for (const s of all) await unserve(s);
      }),
    );

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
