/**
 * Long WRITEs of client connections, such as a mirror sends to its targets, several of them at a time: what a peer reads is what was sent, in
 * order; each is told once, when its answer has come and its payload has left; and however it ends, nothing stays behind.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Errno, type Handle, type WireParams } from '../../../src/io/types.ts';
import type { EngineHub } from '../../../src/io/hub.ts';
import { NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE, NBD_EINVAL, NBD_ENOSPC } from '../../../src/nbd/wire/constants.ts';
import { Chance } from '../../support/chance.ts';
import type { InRig } from './engine-conformance.ts';
import { Connection, expectBytes, handleOf, type Rig, ROOMY, SIMPLE, takeBytes, WAIT_MS } from './engine-rig.ts';
import { type Sent, StreamPeer } from './stream-peer.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SEALED: WireParams = { ...SIMPLE, checksums: true };
const LENGTHS = [512, 4 * KIB, 48 * KIB - 512, 48 * KIB, 64 * KIB, 256 * KIB, 256 * KIB, MIB];
/** More than any socket between two processes takes. */
const ENDLESS = 16 * MIB;
const REQUESTS = 24;

/** No part of it is as another. */
function bytesOf(length: number, seed: number): Uint8Array {
  const c = new Chance(seed);
  return new Uint8Array(Uint32Array.from({ length: length / 4 }, () => c.below(2 ** 32)).buffer);
}

interface Asked extends Sent {
  told: number;
  errno: number | undefined;
  answered: number | undefined;
}

/** A client connection, its peer, and what was asked of it. */
class Session {
  readonly asked: Asked[] = [];
  readonly hub: EngineHub;
  readonly conn: Connection;
  readonly peer: StreamPeer;
  readonly #payloads: Payloads;

  constructor(hub: EngineHub, conn: Connection, peer: StreamPeer, payloads: Payloads) {
    this.hub = hub;
    this.conn = conn;
    this.peer = peer;
    this.#payloads = payloads;
  }

  send(cmd: number, length = 0, from = 0): Asked {
    const { hub, asked } = this;
    const offset = cmd === NBD_CMD_READ || cmd === NBD_CMD_WRITE ? asked.length * MIB : 0;
    const a: Asked = { cmd, offset, length, from, told: 0, errno: undefined, answered: undefined };
    asked.push(a);
    this.peer.expected.push(a);
    const onDone = (_tag: number, errno: number, _length: number, h: Handle): void => {
      a.told += 1;
      a.errno = errno;
      if (h !== 0) expectBytes(takeBytes(hub, h), this.#payloads.bytes.subarray(0, length));
    };
    hub.engine.send(hub.start({ onDone }, 0), this.conn.id, cmd, 0, offset, length, cmd === NBD_CMD_WRITE ? this.#payloads.h : 0, from);
    return a;
  }

  answer(i: number, errno: number): void {
    const a = this.asked[i];
    if (a === undefined) throw new Error(`nothing was asked as ${String(i)}`);
    a.answered = errno;
    this.peer.answer(i, errno);
  }

  get untold(): number {
    return this.asked.filter((a) => a.told === 0).length;
  }

  check(): void {
    expect(this.peer.wrong).toBeUndefined();
    for (const a of this.asked) expect(a.told).toBe(1);
  }
}

/** What WRITEs of all sessions of an engine send parts of. */
interface Payloads {
  h: Handle;
  bytes: Uint8Array;
}

async function session(rig: Rig, hub: EngineHub, wire: WireParams, payloads: Payloads, limits = ROOMY): Promise<Session> {
  const { accepted, connected } = await rig.pair();
  const conn = new Connection(hub, hub.engine.adopt(connected, 'client', { ...wire, payloadMaxBytes: ENDLESS }, limits, new Uint8Array(0)));
  return new Session(hub, conn, new StreamPeer(accepted, wire, payloads.bytes), payloads);
}

function payloadsOf(hub: EngineHub, length: number, seed: number): Payloads {
  const bytes = bytesOf(length, seed);
  return { h: handleOf(hub, bytes), bytes };
}

async function end(rig: Rig, sessions: readonly Session[], payloads: Payloads): Promise<void> {
  sessions[0]?.hub.engine.release(payloads.h);
  for (const s of sessions) {
    if (s.conn.closed === undefined) s.hub.engine.close(s.conn.id, Errno.ESHUTDOWN);
    s.peer.socket.destroy();
  }
  await rig.until(() => sessions.every((s) => s.conn.closed !== undefined && s.untold === 0));
  for (const s of sessions) s.check();
}

/* ---------------------------------------------------------------------------------------------------- many at a time */

const MANNERS = ['reads all', 'reads in pieces', 'stops and goes on', 'ends', 'resets', 'is left', 'is cut off'] as const;
type Manner = (typeof MANNERS)[number];
const LASTS: readonly Manner[] = ['reads all', 'reads in pieces', 'stops and goes on'];

/** A session that goes by chance, a step at a time. */
class Course {
  readonly s: Session;
  readonly manner: Manner;
  readonly #c: Chance;
  readonly #turningPoint: number;
  #turned = false;
  #left = 0;
  #steps = 0;

  constructor(s: Session, manner: Manner, c: Chance) {
    this.s = s;
    this.manner = manner;
    this.#c = c;
    this.#turningPoint = c.below(MIB);
    s.peer.onPiece = () => {
      if (manner === 'reads in pieces' || (manner === 'stops and goes on' && !this.#turned && s.peer.bytes >= this.#turningPoint))
        s.peer.socket.pause();
    };
  }

  get over(): boolean {
    const { conn, peer, untold } = this.s;
    return conn.closed !== undefined && peer.closed !== undefined && untold === 0;
  }

  step(payloadBytes: number): void {
    this.#steps += 1;
    if (this.s.conn.closed === undefined) this.#ask(payloadBytes);
    this.#answer();
    this.#goOn();
  }

  #ask(payloadBytes: number): void {
    const { asked, untold, hub, conn } = this.s;
    for (let i = this.#c.below(4); i > 0 && asked.length < REQUESTS; i -= 1) {
      const kind = this.#c.below(10);
      const length = LENGTHS[this.#c.below(LENGTHS.length)] ?? 0;
      if (kind === 0) this.s.send(NBD_CMD_FLUSH);
      else if (kind === 1) this.s.send(NBD_CMD_READ, length);
      else this.s.send(NBD_CMD_WRITE, length, this.#c.below(payloadBytes - length));
    }
    if (!LASTS.includes(this.manner) || asked.length < REQUESTS || untold > 0) return;
    if (asked.length === REQUESTS) this.s.send(NBD_CMD_DISC);
    else hub.engine.close(conn.id, 0);
  }

  /** Some of those that have come whole, in any order; some are refused before. */
  #answer(): void {
    const { asked, peer } = this.s;
    for (let i = 0; i < peer.heads.length; i += 1) {
      const a = asked[i];
      if (a === undefined || a.answered !== undefined || a.cmd === NBD_CMD_DISC) continue;
      if (i < peer.wholes && this.#c.below(3) === 0) this.s.answer(i, this.#c.below(8) === 0 ? NBD_ENOSPC : 0);
      else if (i >= peer.wholes && this.#c.below(6) === 0) this.s.answer(i, NBD_EINVAL);
    }
  }

  #goOn(): void {
    const { asked, untold, peer, hub, conn } = this.s;
    if (this.manner === 'reads in pieces' && this.#c.below(2) === 0) peer.socket.resume();
    if (peer.bytes < this.#turningPoint && (asked.length < REQUESTS || untold > 0)) return;
    if (this.manner === 'stops and goes on') {
      this.#left += 1;
      if (this.#left !== 50) return;
      this.#turned = true;
      peer.socket.resume();
    } else if (!this.#turned) {
      this.#turned = true;
      if (this.manner === 'ends') peer.socket.end();
      if (this.manner === 'resets') peer.socket.destroy();
      if (this.manner === 'is left') hub.engine.close(conn.id, 0);
      if (this.manner === 'is cut off') hub.engine.close(conn.id, Errno.ETIMEDOUT);
    }
  }

  check(): void {
    const { asked, conn, peer } = this.s;
    this.s.check();
    for (const a of asked) {
      const answered = a.cmd === NBD_CMD_DISC ? 0 : a.answered;
      if (LASTS.includes(this.manner)) expect(a.errno).toBe(answered);
      // What is asked for after the end is refused so, and what an orderly one cuts off is told so.
      else expect([answered, conn.closed === 0 ? undefined : conn.closed, Errno.ESHUTDOWN]).toContain(a.errno);
    }
    if (LASTS.includes(this.manner)) expect([conn.closed, peer.wholes]).toEqual([0, REQUESTS + 1]);
    if (this.manner === 'is left') expect(conn.closed).toBe(0);
    if (this.manner === 'is cut off') expect(conn.closed).toBe(Errno.ETIMEDOUT);
  }

  toString(): string {
    const { asked, conn, peer, untold } = this.s;
    const told = `${String(asked.length - untold)} of ${String(asked.length)} told`;
    return `${this.manner}: ${told}, ${String(peer.wholes)} read, ends ${String(conn.closed)} ${String(peer.closed)}, ${String(this.#steps)} steps`;
  }
}

async function campaign(rig: Rig, seed: number, wire: WireParams): Promise<void> {
  const c = new Chance(seed);
  const hub = rig.hub();
  const payloads = payloadsOf(hub, 3 * MIB, seed);
  const courses: Course[] = [];
  for (const manner of MANNERS) {
    const limits = { requestsMax: 2 + c.below(20), bytesMax: 256 * KIB + c.below(4 * MIB) };
    courses.push(new Course(await session(rig, hub, wire, payloads, limits), manner, c));
  }
  const giveUp = rig.io.clock.now() + WAIT_MS;
  for (let steps = 1; !courses.every((o) => o.over); steps += 1) {
    for (const o of courses) o.step(payloads.bytes.length);
    if (rig.io.clock.now() > giveUp) throw new Error(`waited in vain: ${courses.join('; ')}`);
    await (steps % 4 === 0 ? rig.pass(1) : rig.turn());
  }
  for (const o of courses) o.check();
  hub.engine.release(payloads.h);
  expect(hub.engine.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
}

/** `roomy`: its sockets take a long write without its peer. */
export function describeClientLongSends(inRig: InRig, roomy: boolean): void {
  describe('long writes of several client connections', () => {
    for (const [how, wire] of [
      ['with checksums', SEALED],
      ['without checksums', SIMPLE],
    ] as const) {
      it(
        `arrive as they were sent, and are told once, whatever the peers do, ${how}`,
        inRig(async (rig) => {
          await fc.assert(
            fc.asyncProperty(fc.nat(), async (seed) => {
              await campaign(rig, seed, wire);
            }),
            { numRuns: 3, endOnFailure: true },
          );
        }),
      );
    }

    it(
      'are told when they have left, where they were refused before, though nothing else comes',
      inRig(async (rig) => {
        const hub = rig.hub();
        const payloads = payloadsOf(hub, ENDLESS, 1);
        const sessions = [await session(rig, hub, SIMPLE, payloads), await session(rig, hub, SEALED, payloads)];
        for (const s of sessions) {
          s.peer.onPiece = () => {
            if (s.peer.heads.length === 1) s.peer.socket.pause();
          };
          s.send(NBD_CMD_WRITE, ENDLESS);
        }
        // Of this one no answer comes at all.
        const other = await session(rig, hub, SIMPLE, payloads);
        other.send(NBD_CMD_FLUSH);
        await rig.until(() => sessions.every((s) => s.peer.heads.length === 1));
        for (const s of sessions) s.answer(0, NBD_EINVAL);
        await rig.settle();
        expect(sessions.map((s) => s.untold)).toEqual([1, 1]);
        for (const s of sessions) {
          s.peer.onPiece = undefined;
          s.peer.socket.resume();
        }
        await rig.until(() => sessions.every((s) => s.untold === 0 && s.peer.wholes === 1));
        for (const s of sessions) expect(s.asked[0]?.errno).toBe(Errno.EINVAL);
        await end(rig, [...sessions, other], payloads);
      }),
    );

    it(
      'do not keep DISC behind them from being told, though none of them is answered',
      inRig(async (rig) => {
        const hub = rig.hub();
        const payloads = payloadsOf(hub, 64 * KIB, 2);
        const s = await session(rig, hub, SIMPLE, payloads);
        const write = s.send(NBD_CMD_WRITE, 64 * KIB);
        const disc = s.send(NBD_CMD_DISC);
        await rig.until(() => disc.told === 1);
        expect([disc.errno, write.told]).toEqual([0, 0]);
        hub.engine.close(s.conn.id, 0);
        await rig.until(() => s.peer.closed !== undefined);
        expect([s.peer.wholes, s.conn.closed, write.errno]).toEqual([2, 0, Errno.ESHUTDOWN]);
        await end(rig, [s], payloads);
      }),
    );

    it(
      'are followed by as many short ones as there are, though none is answered before all have come',
      inRig(async (rig) => {
        const hub = rig.hub();
        const payloads = payloadsOf(hub, 64 * KIB, 3);
        const s = await session(rig, hub, SEALED, payloads);
        s.send(NBD_CMD_WRITE, 64 * KIB);
        for (let i = 0; i < 100; i += 1) s.send(NBD_CMD_WRITE, 512, i * 16);
        await rig.until(() => s.peer.wholes === 101);
        for (let i = 100; i >= 0; i -= 1) s.answer(i, 0);
        await rig.until(() => s.untold === 0);
        await end(rig, [s], payloads);
      }),
    );

    it(
      'are followed by what is asked for while they leave, though none is answered before all have come',
      inRig(async (rig) => {
        const hub = rig.hub();
        const payloads = payloadsOf(hub, 64 * KIB, 7);
        const other = await session(rig, hub, SIMPLE, payloads);
        other.send(NBD_CMD_FLUSH);
        const s = await session(rig, hub, SIMPLE, payloads);
        for (let round = 1; round <= 16; round += 1) {
          s.send(NBD_CMD_WRITE, 64 * KIB);
          await rig.turn();
          s.send(NBD_CMD_WRITE, 512, round);
          await rig.until(() => s.peer.wholes === 2 * round);
          for (let i = 2 * round - 2; i < 2 * round; i += 1) s.answer(i, 0);
          await rig.until(() => s.untold === 0);
        }
        await end(rig, [s, other], payloads);
      }),
    );

    it(
      'are done if they were answered, and the end is orderly, however soon after DISC it comes',
      inRig(async (rig) => {
        const hub = rig.hub();
        const payloads = payloadsOf(hub, 64 * KIB, 4);
        for (let round = 0; round < 20; round += 1) {
          const s = await session(rig, hub, SIMPLE, payloads);
          s.peer.onPiece = () => {
            if (s.peer.wholes !== 2) return;
            s.answer(0, 0);
            s.peer.socket.end();
          };
          s.send(NBD_CMD_WRITE, 64 * KIB);
          s.send(NBD_CMD_DISC);
          await rig.until(() => s.conn.closed !== undefined && s.untold === 0);
          expect([s.asked.map((a) => a.errno), s.conn.closed]).toEqual([[0, 0], 0]);
          s.check();
        }
        await end(rig, [], payloads);
        hub.engine.release(payloads.h);
      }),
    );

    if (roomy) {
      it(
        'leave with DISC behind them when their connection is closed in order, wherever they are then',
        inRig(async (rig) => {
          const hub = rig.hub();
          const payloads = payloadsOf(hub, 64 * KIB, 6);
          for (let round = 0; round < 16; round += 1) {
            const sessions = [await session(rig, hub, SIMPLE, payloads), await session(rig, hub, SEALED, payloads)];
            for (const s of sessions) {
              s.send(NBD_CMD_WRITE, 64 * KIB);
              if (round % 2 === 0) await rig.turn();
              s.send(NBD_CMD_DISC);
            }
            if (round % 4 < 2) await rig.turn();
            for (const s of sessions) hub.engine.close(s.conn.id, 0);
            await rig.until(() => sessions.every((s) => s.conn.closed !== undefined && s.untold === 0 && s.peer.closed !== undefined));
            for (const s of sessions) {
              s.check();
              expect([s.peer.wholes, s.conn.closed, s.peer.closed]).toEqual([2, 0, 0]);
            }
          }
          hub.engine.release(payloads.h);
        }),
      );
    }

    it(
      'end with the connection, and are told once, wherever they are then',
      inRig(async (rig) => {
        const hub = rig.hub();
        const payloads = payloadsOf(hub, MIB, 5);
        for (const errno of [0, Errno.ETIMEDOUT]) {
          const sessions: Session[] = [];
          for (let i = 0; i < 8; i += 1) sessions.push(await session(rig, hub, i % 2 === 0 ? SIMPLE : SEALED, payloads));
          for (const [i, s] of sessions.entries()) {
            for (const length of [MIB, 64 * KIB, 256 * KIB]) s.send(NBD_CMD_WRITE, length, 0);
            // What has begun by then differs from one to the next.
            if (i % 3 === 0) await rig.turn();
            if (i % 2 === 1) hub.engine.close(s.conn.id, errno);
          }
          for (const s of sessions) hub.engine.close(s.conn.id, errno);
          await rig.until(() => sessions.every((s) => s.conn.closed !== undefined && s.untold === 0 && s.peer.closed !== undefined));
          for (const s of sessions) {
            s.check();
            expect([s.conn.closed, new Set(s.asked.map((a) => a.errno))]).toEqual([errno, new Set([errno === 0 ? Errno.ESHUTDOWN : errno])]);
          }
        }
        hub.engine.release(payloads.h);
      }),
    );
  });
}
