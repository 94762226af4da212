/**
 * `Engine.serve` of several connections together (`ServeMarks.clients`): an export's clients, which have one order.
 *
 *   clients --ask--> their connections --plain, allowed--> leg, answers         what is told is executed by hand, one after the other
 *                                      --all else--------> REQUEST, of all --> test --> reply
 *
 * All is answered, once, and counted. Order, and who is served when: conformance-serve-together-in-order.ts. An engine without one order for
 * them refuses several.
 */
import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import type { WireParams } from '../../../src/io/types.ts';
import { NBD_CMD_DISC } from '../../../src/nbd/wire/constants.ts';
import { BLOCK, BOTH, bytesOf, connected, execute, read, REGION, REGIONS, served, type Served, unserve, write } from './conformance-serve-marks.ts';
import type { InRig } from './engine-conformance.ts';
import { expectBytes, pattern, type Rig, SIMPLE } from './engine-rig.ts';

/** The last region is nobody's to write without telling. */
export const ALLOWED = Array.from({ length: REGIONS - 1 }, (_x, i) => i);
/** So many connections have a thread each, which takes long writes too, of the native engine. */
export const THREADS_MAX = availableParallelism();
/** Some loans that are not worth it are followed by chances to lend that are left out: no more than this. */
const CHANCES = 300;

/** Executes what is told of all, one after the other. */
export class Device {
  readonly #members: readonly Served[];
  #last = Promise.resolve();
  open = 0;

  constructor(members: readonly Served[]) {
    this.#members = members;
    for (const s of members) this.obey(s);
  }

  obey(s: Served): void {
    s.conn.onRequest = (r) => {
      this.open += 1;
      this.#last = this.#last.then(async () => {
        if (r.cmd === NBD_CMD_DISC) s.hub.engine.close(s.conn.id, 0);
        else if (s.conn.closed === undefined) await execute(s, r);
        else if (r.h !== 0) s.hub.engine.release(r.h);
        this.open -= 1;
      });
    };
  }

  /** Of what was told; DISC is no question. */
  told(s: Served): number {
    return s.conn.requests.filter((r) => r.cmd !== NBD_CMD_DISC).length;
  }

  /** DONE comes for each, with as many as were not told. */
  async unserveAll(asked?: readonly number[]): Promise<void> {
    const counts = await Promise.all(this.#members.map((s) => unserve(s)));
    expect(this.#members.every((s) => s.underWay.every((w) => w === 0))).toBe(true);
    if (asked !== undefined) expect(counts.map((n, i) => n + this.told(member(this.#members, i)))).toEqual(asked);
  }
}

export function member(all: readonly Served[], i: number): Served {
  const s = all[i];
  if (s === undefined) throw new Error(`there is no client ${String(i)}`);
  return s;
}

/** One more client of the same leg, which is served with `first`. */
export async function joins(rig: Rig, first: Served, clients: number, wire: WireParams = SIMPLE): Promise<Served> {
  const underWay = new Uint32Array(8);
  const rules = { ...first.rules, marks: { allowed: first.marks.allowed, underWay, clients } };
  return { ...first, underWay, rules, ...(await connected(rig, first.hub, rules, wire)) };
}

export async function group(rig: Rig, clients: number, wire: WireParams = SIMPLE): Promise<Served[]> {
  const all = [await served(rig, { wire, clients, allowed: ALLOWED })];
  while (all.length < clients) all.push(await joins(rig, member(all, 0), clients, wire));
  return all;
}

export const servedOf = (s: Served): number => s.hub.engine.served(s.conn.id);

/** Until it is asked without being told: it may take some chances. */
export async function untilServed(s: Served): Promise<void> {
  for (let i = 0; i < CHANCES; i += 1) {
    const before = servedOf(s);
    s.client.ask(write(0, BLOCK, 1));
    expect((await s.client.answer()).error).toBe(0);
    if (servedOf(s) > before) return;
  }
  throw new Error(`it is told of ${String(CHANCES)} requests, one after the other`);
}

/** Has each of them served at least once. */
export async function untilAllServed(all: readonly Served[]): Promise<void> {
  for (const s of all) await untilServed(s);
}

/** Of engines that execute each connection's requests by themselves. */
export function describeServedAlone(inRig: InRig): void {
  it(
    'connections that would have to be served together are not served',
    inRig(async (rig) => {
      const s = await served(rig);
      const { conn } = await rig.server(s.hub, SIMPLE);
      const marks = { allowed: s.marks.allowed, underWay: new Uint32Array(8) };
      expect(s.hub.engine.serve(conn.id, { ...s.rules, marks: { ...marks, clients: 2 } })).toBe(false);
      expect(s.hub.engine.serve(conn.id, { ...s.rules, marks: { ...marks, clients: 1 } })).toBe(true);
      await unserve({ ...s, conn });
      await unserve(s);
    }),
  );
}

export function describeServeTogether(inRig: InRig): void {
  describe('connections served together', () => {
    for (const [name, wire] of BOTH) {
      for (const clients of [2, 3]) {
        it(
          `are answered all that they write and read, ${String(clients)} of them, and each is counted (${name})`,
          inRig(async (rig) => {
            const all = await group(rig, clients, wire);
            const device = new Device(all);
            const model = member(all, 0).model;
            const mine = (who: number): number[] => ALLOWED.filter((r) => r % clients === who);
            await Promise.all(
              all.map(async (s, who) => {
                for (const r of mine(who)) s.client.ask(write(r * REGION + who * BLOCK, 4096, r + 1));
                for (const r of mine(who)) model.set(pattern(4096, r + 1), r * REGION + who * BLOCK);
                await s.client.answersFrom(model, mine(who).length);
              }),
            );
            await Promise.all(
              all.map(async (s) => {
                for (const r of ALLOWED) s.client.ask(read(r * REGION, REGION));
                await s.client.answersFrom(model, ALLOWED.length);
              }),
            );
            expectBytes(await bytesOf(member(all, 0)), model);
            await device.unserveAll(all.map((_s, who) => mine(who).length + ALLOWED.length));
          }),
        );
      }
    }

    for (const [how, ends] of [
      [
        'in order',
        (s: Served) => {
          s.client.ask({ cmd: NBD_CMD_DISC });
        },
      ],
      [
        'abruptly',
        (s: Served) => {
          s.client.peer.destroy();
        },
      ],
      [
        'with a request half sent',
        (s: Served) => {
          s.client.peer.write(s.client.bytes([write(REGION, 4096, 99)]).subarray(0, 2000));
          s.client.peer.end();
        },
      ],
      [
        'with answers unread',
        (s: Served) => {
          s.client.peer.socket.pause();
          s.client.ask(...Array.from({ length: 60 }, (_x, i) => read((i % 8) * BLOCK, REGION)));
          s.client.peer.destroy();
        },
      ],
    ] as const) {
      it(
        `go on where one of them leaves ${how}, with nothing lost, and are served without it`,
        inRig(async (rig) => {
          const all = await group(rig, 3);
          const device = new Device(all);
          const stay = all.slice(1);
          const model = member(all, 0).model;
          for (const s of all) {
            s.client.ask(read(0, BLOCK));
            await s.client.answersFrom(model, 1);
          }
          // Each has regions of its own, and each block is written once.
          const asked = stay.map((_s, who) =>
            Array.from({ length: 180 }, (_x, i) => write((who * 7 + (i % 7)) * REGION + Math.floor(i / 7) * 2 * BLOCK, BLOCK * (1 + (i % 2)), i)),
          );
          for (const r of asked.flat()) model.set(r.payload ?? new Uint8Array(0), r.offset ?? 0);
          for (const [i, s] of stay.entries()) s.client.ask(...(asked[i] ?? []).slice(0, 60));
          ends(member(all, 0));
          for (const [i, s] of stay.entries()) s.client.ask(...(asked[i] ?? []).slice(60));
          await Promise.all(stay.map((s) => s.client.answersFrom(model, 180)));
          await rig.until(() => member(all, 0).conn.closed !== undefined && device.open === 0);
          member(all, 0).client.peer.destroy();
          for (const s of stay) expect(s.conn.closed).toBeUndefined();
          const image = await bytesOf(member(all, 0));
          for (const r of asked.flat())
            expectBytes(image.slice(r.offset, (r.offset ?? 0) + (r.payload?.length ?? 0)), r.payload ?? new Uint8Array(0));
          const counts = await Promise.all(all.map((s) => unserve(s)));
          for (const [i, s] of stay.entries()) expect((counts[i + 1] ?? 0) + device.told(s)).toBe(181);
          for (const s of stay) {
            s.rules = { ...s.rules, marks: { allowed: s.marks.allowed, underWay: s.underWay, clients: 2 } };
            expect(s.hub.engine.serve(s.conn.id, s.rules)).toBe(true);
          }
          await untilAllServed(stay);
          await Promise.all(stay.map((s) => unserve(s)));
        }),
      );
    }

    it(
      'do not wait for one that takes no answers, which gets them all later',
      inRig(async (rig) => {
        const all = await group(rig, 2);
        const [slow, quick] = [member(all, 0), member(all, 1)];
        const device = new Device(all);
        await untilServed(quick);
        const model = await bytesOf(slow);
        slow.client.peer.socket.pause();
        // More than sockets have room for.
        slow.client.ask(...Array.from({ length: 400 }, (_x, i) => read((i % 8) * REGION, REGION)));
        const before = quick.client.count;
        for (let i = 0; i < 50; i += 1) {
          quick.client.ask(write(12 * REGION, 4096, i), read(13 * REGION, REGION));
          await quick.client.answersFrom(model, 2);
        }
        expect(quick.client.count - before).toBe(100);
        expect(slow.client.peer.unreadBytes).toBeLessThan(400 * REGION);
        slow.client.peer.socket.resume();
        await slow.client.answersFrom(model, 400);
        expectBytes(await bytesOf(quick, 12 * REGION, 4096), pattern(4096, 49));
        await device.unserveAll([400, quick.client.count]);
      }),
    );

    it(
      'do not wait for the rest of what one has begun to send, and it is known whom is waited for',
      inRig(async (rig) => {
        const all = await group(rig, 2);
        const [slow, quick] = [member(all, 0), member(all, 1)];
        const device = new Device(all);
        await untilServed(quick);
        const { engine } = slow.hub;
        const model = await bytesOf(slow);
        const bytes = slow.client.bytes([write(0, 4096, 5), read(8192, 4096)]);
        slow.client.peer.write(bytes.subarray(0, 3000));
        await rig.until(() => engine.awaited(slow.conn.id) !== undefined);
        const since = engine.awaited(slow.conn.id);
        for (let i = 0; i < 50; i += 1) {
          quick.client.ask(read(REGION, 4096), write(2 * REGION, 4096, i), ...Array.from({ length: 8 }, () => read(3 * REGION, REGION)));
          // Also while the engine is about the other's requests.
          for (let looks = 0; looks < 200; looks += 1) {
            expect(engine.awaited(slow.conn.id)).toBe(since);
            if (looks % 20 === 0) await new Promise(setImmediate);
          }
          await quick.client.answersFrom(model, 10);
          expectBytes(await bytesOf(quick, 0, 4096), model.subarray(0, 4096));
        }
        await rig.until(() => engine.awaited(quick.conn.id) === undefined);
        expect(engine.awaited(slow.conn.id)).toBe(since);
        slow.client.peer.write(bytes.subarray(3000));
        await slow.client.answersFrom(model, 2);
        expectBytes(await bytesOf(quick, 0, 4096), pattern(4096, 5));
        await rig.until(() => engine.awaited(slow.conn.id) === undefined);
        await device.unserveAll([2, quick.client.count]);
      }),
    );

    it(
      'go on where one is closed in order whose answers wait for its client, which gets them',
      inRig(async (rig) => {
        const all = await group(rig, 2);
        const [slow, quick] = [member(all, 0), member(all, 1)];
        const device = new Device(all);
        await untilServed(quick);
        const model = await bytesOf(slow);
        slow.client.peer.socket.pause();
        slow.client.ask(...Array.from({ length: 20 }, (_x, i) => read((i % 8) * REGION, REGION)));
        await rig.until(() => servedOf(slow) + device.told(slow) > 0);
        slow.hub.engine.close(slow.conn.id, 0);
        for (let i = 0; i < 50; i += 1) {
          quick.client.ask(write(12 * REGION, 4096, i), read(13 * REGION, REGION));
          await quick.client.answersFrom(model, 2);
        }
        slow.client.peer.socket.resume();
        let answers = 0;
        while (
          await slow.client.answer().then(
            (a) => a.error === 0 && Buffer.compare(a.data, model.subarray((a.cookie % 8) * REGION, (a.cookie % 8) * REGION + REGION)) === 0,
            () => false,
          )
        )
          answers += 1;
        await rig.until(() => slow.conn.closed !== undefined && device.open === 0);
        expect(slow.conn.closed).toBe(0);
        expect(answers).toBeGreaterThan(0);
        expect((await unserve(slow)) + device.told(slow)).toBe(answers);
        expect((await unserve(quick)) + device.told(quick)).toBe(quick.client.count);
      }),
    );

    it(
      'do not keep an engine from its end, which comes while one has sent half a request and one takes no answers',
      inRig(async (rig) => {
        const all = await group(rig, 3);
        const device = new Device(all);
        await untilServed(member(all, 0));
        member(all, 1).client.peer.socket.pause();
        member(all, 1).client.ask(...Array.from({ length: 60 }, (_x, i) => read((i % 8) * REGION, REGION)));
        member(all, 2).client.peer.write(
          member(all, 2)
            .client.bytes([write(0, 4096, 5)])
            .subarray(0, 2000),
        );
        await rig.until(() => member(all, 0).hub.engine.awaited(member(all, 2).conn.id) !== undefined);
        await rig.settle();
        await rig.until(() => device.open === 0);
      }),
    );
  });
}
