/**
 * The application: two NBD connections to whoever is in service, with overlapping writes of all sizes, zeroes, trims, flushes
 * and reads, each told to the model before it is sent and after it was answered. A connection that is lost is made anew.
 */
import { EngineHub } from '../../../src/io/hub.ts';
import { Errno, IoError } from '../../../src/io/types.ts';
import { HandshakeError } from '../../../src/nbd-client-js/errors.ts';
import { NbdClient } from '../../../src/nbd-client-js/client.ts';
import { Stream } from '../../../src/io/simulated/seed.ts';
import type { Branch } from './branches.ts';
import type { Cluster, Machine } from './cluster.ts';
import { fillSectors, readSectors, SECTOR_BYTES } from './model.ts';
import { ROOT, TAG } from './plan.ts';

const SOCKET = { kind: 'unix' as const, path: `${ROOT}/run/nbd.sock` };
/** An application that hears nothing for so long hangs up, and looks for another node. */
const PATIENCE_MS = 1500;
/** Errors that mean "ask elsewhere", not "what you flushed is gone". */
const GONE = new Set<number>([Errno.ESHUTDOWN, Errno.ECONNRESET, Errno.EPIPE, Errno.ETIMEDOUT]);

interface Lane {
  client: NbdClient;
  hub: EngineHub;
  branch: Branch;
  machine: Machine;
  inFlight: number;
  lastAnswerAt: number;
}

export class Workload {
  readonly #c: Cluster;
  readonly #s: Stream;
  #stopping = false;
  #paused = false;
  #nextValue = 1;
  #requests = 0;
  #lanes = new Set<Lane>();
  readonly #running: Promise<void>[] = [];

  constructor(c: Cluster) {
    this.#c = c;
    this.#s = new Stream(c.plan.seed, 'workload');
  }

  get started(): boolean {
    return this.#running.length > 0;
  }

  start(): void {
    for (let i = 0; i < 2; i += 1) this.#running.push(this.#lane());
  }

  /** Ends new requests; resolves when all that were sent have been answered or given up. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
  }

  /** Sent so far. */
  get requests(): number {
    return this.#requests;
  }

  get inFlight(): number {
    let n = 0;
    for (const l of this.#lanes) n += l.inFlight;
    return n;
  }

  async #lane(): Promise<void> {
    const { world } = this.#c;
    while (!this.#stopping) {
      const found = this.#c.serving;
      if (found.length === 0 || this.#paused) {
        await world.sleep(this.#s.between(5, 60));
        continue;
      }
      const lane = await this.connect(this.#s.pick(found));
      if (lane === undefined) {
        await world.sleep(this.#s.between(5, 60));
        continue;
      }
      await this.#use(lane);
    }
  }

  /** Undefined: it does not serve. */
  async connect(m: Machine): Promise<Lane | undefined> {
    const branch = this.#c.branches.of(m);
    if (branch === undefined || m.sim.state !== 'running') return undefined;
    const io = this.#c.world.client(m.name);
    const hub = new EngineHub(io.createEngine());
    try {
      const client = await NbdClient.connect({ io, hub, exportName: TAG, address: SOCKET, connectTimeoutMs: 1000, replyTimeoutMs: 600_000 });
      if (this.#c.branches.of(m) !== branch) {
        client.close(Errno.ESHUTDOWN);
        return undefined;
      }
      return { client, hub, branch, machine: m, inFlight: 0, lastAnswerAt: this.#c.world.now() };
    } catch (e: unknown) {
      if (e instanceof IoError || e instanceof HandshakeError) return undefined;
      throw e;
    }
  }

  async #use(lane: Lane): Promise<void> {
    const { world, plan } = this.#c;
    this.#lanes.add(lane);
    const thinkMaxMs = this.#s.pick([6, 30, 100]);
    let restAt = world.now() + this.#s.between(50, 600);
    while (lane.client.lost === undefined) {
      const now = world.now();
      if (lane.inFlight > 0 && now - lane.lastAnswerAt > PATIENCE_MS) {
        this.#c.count('application: gave up waiting');
        lane.client.close(Errno.ETIMEDOUT);
        break;
      }
      if (this.#stopping && lane.inFlight === 0) {
        lane.client.close(Errno.ESHUTDOWN);
        break;
      }
      if (!this.#stopping && !this.#paused && now > restAt) {
        // A quiet moment, now and then, for the checks that need one.
        if (lane.inFlight === 0) {
          restAt = now + this.#s.between(100, 800);
          await world.sleep(this.#s.between(10, 120));
        }
      } else if (!this.#stopping && !this.#paused && lane.inFlight < plan.depth) this.#issue(lane);
      await world.sleep(this.#s.float() * thinkMaxMs);
    }
    // What is still under way is told of by then.
    while (lane.inFlight > 0) await world.sleep(1);
    this.#lanes.delete(lane);
  }

  #issue(lane: Lane): void {
    const { requestsMax } = this.#c.plan;
    if (requestsMax !== null && this.#requests >= requestsMax) return;
    this.#requests += 1;
    const draw = this.#s.float();
    if (draw < 0.55) this.#write(lane);
    else if (draw < 0.63) this.#zero(lane, false);
    else if (draw < 0.7) this.#zero(lane, true);
    else if (draw < 0.85) this.#flush(lane);
    else this.#read(lane);
  }

  #range(): { first: number; count: number } {
    const total = this.#c.plan.sizeBytes / SECTOR_BYTES;
    const draw = this.#s.float();
    const most = draw < 0.6 ? 8 : draw < 0.93 ? 32 : 400;
    const count = Math.min(this.#s.between(1, most), total);
    // Half of it in a small part of the device, so that writes meet.
    const within = this.#s.coin(0.5) ? Math.min(total, 128) : total;
    return { first: this.#s.between(0, Math.max(0, Math.max(within, count) - count)), count };
  }

  #answered(lane: Lane): void {
    lane.inFlight -= 1;
    lane.lastAnswerAt = this.#c.world.now();
  }

  #sent(lane: Lane): void {
    if (lane.inFlight === 0) lane.lastAnswerAt = this.#c.world.now();
    lane.inFlight += 1;
  }

  #write(lane: Lane): void {
    const { first, count } = this.#range();
    const value = this.#nextValue;
    this.#nextValue += 1;
    const { engine } = lane.hub;
    const length = count * SECTOR_BYTES;
    const h = engine.allocate(length);
    fillSectors(engine.view(h).subarray(0, length), value, first);
    const fua = this.#s.coin(0.15);
    this.#change(lane, value, first, count, fua, fua ? 'write, FUA' : 'write', (owner) => {
      lane.client.write(owner, 0, first * SECTOR_BYTES, length, h, 0, fua);
    });
    engine.release(h);
  }

  #zero(lane: Lane, trim: boolean): void {
    const { first, count } = this.#range();
    const fua = this.#s.coin(0.15);
    const mayPunch = this.#s.coin(0.5);
    this.#change(lane, 0, first, count, fua, trim ? 'trim' : 'zero', (owner) => {
      const [offset, length] = [first * SECTOR_BYTES, count * SECTOR_BYTES];
      if (trim) lane.client.trim(owner, 0, offset, length, fua);
      else lane.client.writeZeroes(owner, 0, offset, length, { fua, mayPunch });
    });
  }

  #change(
    lane: Lane,
    value: number,
    first: number,
    count: number,
    fua: boolean,
    what: string,
    send: (owner: { onDone: (tag: number, errno: number) => void }) => void,
  ): void {
    const { model } = lane.branch;
    const w = model.begin(value, first, first + count - 1);
    this.#sent(lane);
    send({
      onDone: (_tag, errno) => {
        this.#answered(lane);
        if (errno === 0) {
          model.succeeded(w, fua);
          this.#c.count(`application: ${what}`);
        } else {
          if (!GONE.has(errno)) {
            model.failed(w, fua);
            this.#c.count('application: EIO');
          } else if (errno !== Errno.ETIMEDOUT && this.#c.branches.of(lane.machine) !== lane.branch) model.failed(w, false);
        }
      },
    });
  }

  #flush(lane: Lane): void {
    const { model } = lane.branch;
    const f = model.beginFlush();
    this.#sent(lane);
    lane.client.flush(
      {
        onDone: (_tag, errno) => {
          this.#answered(lane);
          if (errno === 0) {
            model.flushed(f);
            this.#c.count('application: flush');
          } else if (!GONE.has(errno)) model.flushFailed();
        },
      },
      0,
    );
  }

  #read(lane: Lane): void {
    const { first, count } = this.#range();
    const { model } = lane.branch;
    const since = model.beginRead();
    this.#sent(lane);
    lane.client.read(
      {
        onDone: (_tag, errno, _length, h) => {
          this.#answered(lane);
          if (errno !== 0) {
            model.endRead(since);
            return;
          }
          const { engine } = lane.hub;
          const values = readSectors(engine.view(h).slice(0, count * SECTOR_BYTES), first);
          engine.release(h);
          this.#c.count('application: read');
          this.judge(lane, first, values, since);
          model.endRead(since);
        },
      },
      0,
      first * SECTOR_BYTES,
      count * SECTOR_BYTES,
    );
  }

  /** M2, M4: what was read is what was written. */
  judge(lane: Lane, first: number, values: readonly number[], since: number): void {
    this.#c.checked('M2');
    const { model } = lane.branch;
    const bad = values.findIndex((v, i) => !model.mayHold(first + i, v, since));
    if (bad >= 0) {
      this.#c.violated(
        'M2',
        `${lane.machine.name} read #${String(values[bad])} in sector ${String(first + bad)} in epoch ${lane.branch.key}; allowed: ${model.describe(first + bad)}`,
      );
      return;
    }
    model.pin(first, values, since);
  }

  /** The whole device, through a connection of its own; undefined: it could not be read. */
  async readAll(m: Machine): Promise<boolean> {
    const lane = await this.connect(m);
    if (lane === undefined) return false;
    const since = lane.branch.model.beginRead();
    const pieceBytes = 256 * 1024;
    try {
      await lane.client.flushNow();
      for (let at = 0; at < this.#c.plan.sizeBytes; at += pieceBytes) {
        const bytes = await lane.client.readBytes(at, Math.min(pieceBytes, this.#c.plan.sizeBytes - at));
        this.judge(lane, at / SECTOR_BYTES, readSectors(bytes, at / SECTOR_BYTES), since);
      }
      return true;
    } catch (e: unknown) {
      if (e instanceof IoError) return false;
      throw e;
    } finally {
      lane.branch.model.endRead(since);
      lane.client.close(Errno.ESHUTDOWN);
    }
  }
}
