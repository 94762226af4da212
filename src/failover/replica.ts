/**
 * This node as a target: its leg, served to the one session of the one epoch that is current.
 *
 *   session.open --> old session ended: connections closed, its requests done or discarded (M4) --> new token
 *   NBD connection with the token --> LegDevice --> leg
 *
 * The token is the whole of the access right: it is random, known only to the source of the epoch that opened the
 * session, and dead as soon as the session is.
 */
import { ClusterError } from '../cluster/errors.ts';
import { type Handle, IoError, type LegInfo } from '../io/types.ts';
import { LegDevice } from '../nbd/leg-device.ts';
import type { NodeEnv } from './env.ts';
import type { Epoch, NodeName } from './types.ts';

export interface ReplicaSession {
  id: string;
  token: string;
  from: NodeName;
  epoch: Epoch;
  kind: 'none' | 'partial' | 'full';
  joined: boolean;
  device: LegDevice;
}

export class Replica {
  readonly #env: NodeEnv;
  readonly #path: string;
  #leg: LegInfo | undefined;
  #opening: Promise<LegInfo> | undefined;
  #session: ReplicaSession | undefined;
  /** Of the session that ended last: whoever ends it too waits for the same. */
  #ending: Promise<void> = Promise.resolve();

  constructor(env: NodeEnv, legPath: string) {
    this.#env = env;
    this.#path = legPath;
  }

  get session(): ReplicaSession | undefined {
    return this.#session;
  }

  get leg(): LegInfo | undefined {
    return this.#leg;
  }

  /** Opens and locks the leg; EBUSY when somebody else has it. */
  async open(): Promise<LegInfo> {
    if (this.#leg !== undefined) return this.#leg;
    this.#opening ??= this.#env.hub.engine.openLeg(this.#path, { write: true, lock: true });
    try {
      this.#leg = await this.#opening;
      return this.#leg;
    } finally {
      this.#opening = undefined;
    }
  }

  /** After `end` of what was before. */
  begin(o: { id: string; from: NodeName; epoch: Epoch; kind: 'none' | 'partial' | 'full'; leg: LegInfo; sizeBytes: number }): ReplicaSession {
    if (this.#session !== undefined) throw new Error('a replica has one session at a time');
    const device = new LegDevice(this.#env.hub, { ...o.leg, sizeBytes: o.sizeBytes }, { description: `replica for ${o.from}` });
    const s: ReplicaSession = { id: o.id, token: this.#env.io.chance.hex64(), from: o.from, epoch: o.epoch, kind: o.kind, joined: false, device };
    this.#session = s;
    this.#env.replicas.set(s.token, device);
    return s;
  }

  /** The session with this id, or a refusal that the source understands. */
  require(id: string): ReplicaSession {
    if (this.#session?.id !== id) throw new ClusterError('no-session', 'that session has ended');
    return this.#session;
  }

  /** Ends the session, if any: nothing of it reaches the leg once this has resolved. */
  async end(): Promise<void> {
    const s = this.#session;
    if (s !== undefined) {
      this.#session = undefined;
      this.#ending = Promise.all([this.#ending, this.#drain(s)]).then(() => undefined);
    }
    await this.#ending;
  }

  async #drain(s: ReplicaSession): Promise<void> {
    this.#env.replicas.delete(s.token);
    s.device.stop();
    await this.#env.replicaServer.closeExport(s.device);
    await s.device.drained();
  }

  async sync(): Promise<void> {
    const leg = this.#leg;
    if (leg === undefined) return;
    await this.#env.hub.must(`sync of ${this.#path}`, (op) => {
      this.#env.hub.engine.sync(op, leg.leg);
    });
  }

  /** sha256 of bytes of the leg, hexadecimal. */
  async digest(offset: number, length: number): Promise<string> {
    const leg = await this.open();
    const { hub } = this.#env;
    const read = await hub.must(`read of ${this.#path}`, (op) => {
      hub.engine.read(op, leg.leg, offset, length);
    });
    const h: Handle = read.h;
    try {
      const d = await hub.must('digest', (op) => {
        hub.engine.digest(op, h, 0, length, 'sha256');
      });
      if (d.value?.kind !== 'digest') throw new IoError(5, 'the engine gave no digest');
      return d.value.hex;
    } finally {
      hub.engine.release(h);
    }
  }

  /** Grows a leg file to at least `sizeBytes`; a device must be large enough already. */
  async grow(sizeBytes: number): Promise<void> {
    const leg = await this.open();
    const now = await this.#env.hub.engine.legSize(leg.leg);
    if (now < sizeBytes) await this.#env.hub.engine.setLegSize(leg.leg, sizeBytes);
    this.#leg = { ...leg, sizeBytes: Math.max(now, sizeBytes) };
    this.#session?.device.setSizeBytes(sizeBytes);
  }

  /** Ends the session and lets go of the leg. */
  async close(): Promise<void> {
    await this.end();
    if (this.#opening !== undefined) await this.#opening;
    const leg = this.#leg;
    this.#leg = undefined;
    if (leg !== undefined) await this.#env.hub.engine.closeLeg(leg.leg);
  }
}
