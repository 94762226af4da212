/**
 * Snapshots, as those who take backups see them: each is read again and again while the history goes on. What a healthy one answers is
 * what the mirror held in the turn in which it was made, and the same bytes each time.
 *
 *   snapshot-created (the turn of its moment) --> the model of its branch is forked: writes under way may have had an effect or not
 */
import { EngineHub } from '../../../src/io/hub.ts';
import { Stream } from '../../../src/io/simulated/seed.ts';
import { Errno, IoError } from '../../../src/io/types.ts';
import { NbdClient } from '../../../src/nbd-client-js/client.ts';
import { HandshakeError } from '../../../src/nbd-client-js/errors.ts';
import type { Cluster, Machine } from './cluster.ts';
import { type Model, readSectors, SECTOR_BYTES } from './model.ts';
import { ROOT, TAG } from './plan.ts';

const SOCKET = { kind: 'unix' as const, path: `${ROOT}/run/nbd.sock` };
export const SNAPSHOTS = `${ROOT}/snapshots/*`;
/** A reader that hears nothing for so long connects again. */
const PATIENCE_MS = 1500;
const READ_MAX_SECTORS = 128;

interface Taken {
  machine: Machine;
  boots: number;
  /** What its export is called. */
  name: string;
  model: Model;
  since: number;
  /** What was read first, and of which sectors. */
  seen: Uint8Array;
  known: Set<number>;
  chance: Stream;
}

export class SnapshotReaders {
  readonly #c: Cluster;
  #ended = false;
  #taken = 0;

  constructor(c: Cluster) {
    this.#c = c;
  }

  /** In the turn of its moment. */
  taken(machine: Machine, name: string): void {
    const branch = this.#c.branches.of(machine);
    if (branch === undefined) {
      // Another has taken over without what this one has answered (an async target): nothing is promised of it any more.
      if (machine.mirror?.source === undefined) this.#c.violated('snapshots', `${machine.name} made a snapshot, and does not serve`);
      else this.#c.count('snapshots: of a branch that was given up');
      return;
    }
    const model = branch.model.fork();
    this.#taken += 1;
    const t: Taken = {
      machine,
      boots: machine.sim.boots,
      name: `${TAG}@${name}`,
      model,
      since: model.beginRead(),
      seen: new Uint8Array(this.#c.plan.sizeBytes),
      known: new Set(),
      chance: new Stream(this.#c.plan.seed, `snapshot ${String(this.#taken)}`),
    };
    this.#c.count('snapshots taken');
    void this.#follow(t).catch((e: unknown) => {
      this.#c.violated('snapshots', `a reader of ${t.name} ended: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`);
    });
  }

  end(): void {
    this.#ended = true;
  }

  #goesOn(t: Taken): boolean {
    return !this.#ended && this.#c.violation === undefined && t.machine.sim.boots === t.boots;
  }

  async #follow(t: Taken): Promise<void> {
    while (this.#goesOn(t)) {
      const client = await this.#connect(t);
      if (client === undefined) return;
      await Promise.all([this.#use(t, client), this.#use(t, client)]);
      client.close(Errno.ESHUTDOWN);
    }
  }

  async #connect(t: Taken): Promise<NbdClient | undefined> {
    if (t.machine.sim.state !== 'running') return undefined;
    const io = this.#c.world.client(t.machine.name);
    try {
      const hub = new EngineHub(io.createEngine());
      return await NbdClient.connect({ io, hub, exportName: t.name, address: SOCKET, connectTimeoutMs: 1000, replyTimeoutMs: 600_000 });
    } catch (e: unknown) {
      if (e instanceof IoError || e instanceof HandshakeError) return undefined;
      throw e;
    }
  }

  /** Until it is lost, or the connection is. */
  async #use(t: Taken, client: NbdClient): Promise<void> {
    const { world, plan } = this.#c;
    const total = plan.sizeBytes / SECTOR_BYTES;
    while (this.#goesOn(t) && client.lost === undefined) {
      await world.sleep(t.chance.float() * 40);
      const count = Math.min(total, t.chance.between(1, t.chance.coin(0.3) ? READ_MAX_SECTORS : 8));
      // Where writes meet, more often than elsewhere.
      const within = t.chance.coin(0.6) ? Math.min(total, 128) : total;
      const first = t.chance.between(0, Math.max(0, within - count));
      const late = world.sleep(PATIENCE_MS).then(() => undefined);
      try {
        const bytes = await Promise.race([client.readBytes(first * SECTOR_BYTES, count * SECTOR_BYTES), late]);
        if (bytes === undefined) {
          client.close(Errno.ETIMEDOUT);
          return;
        }
        this.#judge(t, first, bytes);
      } catch (e: unknown) {
        if (!(e instanceof IoError)) throw e;
        this.#c.count(`snapshots: ${e.code}`);
        // A lost one stays so; a connection that is lost is made anew, if there is anything to connect to.
        client.close(Errno.ESHUTDOWN);
        return;
      }
    }
  }

  #judge(t: Taken, first: number, bytes: Uint8Array): void {
    this.#c.checked('snapshots');
    const values = readSectors(bytes, first);
    for (const [i, value] of values.entries()) {
      const sector = first + i;
      const now = bytes.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES);
      const before = t.seen.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
      if (t.known.has(sector)) {
        if (Buffer.compare(now, before) === 0) continue;
        const was = readSectors(before, sector)[0];
        this.#c.violated('snapshots', `${t.name} of ${t.machine.name}: sector ${String(sector)} was #${String(was)}, and is #${String(value)} now`);
        return;
      }
      if (!t.model.mayHold(sector, value, t.since)) {
        const allowed = t.model.describe(sector);
        this.#c.violated('snapshots', `${t.name} of ${t.machine.name}: sector ${String(sector)} holds #${String(value)}; allowed: ${allowed}`);
        return;
      }
      before.set(now);
      t.known.add(sector);
    }
  }
}
