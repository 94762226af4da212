/**
 * The device as an application has it: NBD requests to whatever node is in service, over its unix socket.
 *
 *   send -> connection to the node in service -> answered
 *                | lost, or another node has taken over meanwhile
 *                +-> wait until one is in service -> the same request again
 *
 * A request that a node answers with an error of its own (EIO, ENOSPC) is answered; it is not sent again.
 */
import { join } from 'node:path';
import { nodePaths } from '../failover/paths.ts';
import type { NodeName } from '../failover/types.ts';
import { Errno, IoError } from '../io/types.ts';
import { NbdClient } from '../nbd-client-js/client.ts';
import { HandshakeError } from '../nbd-client-js/errors.ts';
import { StepFailure, tellsOfConnection } from './errors.ts';
import type { Observer } from './observe.ts';
import { type ScenarioWorld, sleep, within } from './world.ts';

const POLL_MS = 50;
/** A request without an answer for so long makes us look whether another node has taken over. */
const LOOK_AFTER_MS = 300;
const CONNECT_MAX_MS = 2000;
/** The product answers, with an error if it must; this is the deadline of one that does not. */
const ANSWER_MAX_MS = 120_000;

interface Open {
  /** Whom it was opened for: `on`, or nobody in particular. */
  key: NodeName | null;
  node: NodeName;
  client: NbdClient;
}

export class Devices {
  readonly #world: ScenarioWorld;
  readonly #observer: Observer;
  readonly #tag: string;
  readonly #open = new Map<NodeName | null, Open>();
  readonly #opening = new Map<NodeName | null, Promise<Open | undefined>>();

  constructor(world: ScenarioWorld, observer: Observer, tag: string) {
    this.#world = world;
    this.#observer = observer;
    this.#tag = tag;
  }

  /**
   * Until it is answered. `on`: only there. `withinMs`: how long to wait while no node is in service; null: without end,
   * until `stopped` says so. Rejects with IoError for an error reply, with StepFailure when no node is in service, and
   * resolves to undefined when stopped.
   */
  async send<T>(
    o: { on: NodeName | null; withinMs: number | null; stopped?: () => boolean },
    request: (c: NbdClient) => Promise<T>,
  ): Promise<{ value: T } | undefined> {
    const { clock } = this.#world;
    let deadline = o.withinMs === null ? Infinity : clock.now() + o.withinMs;
    for (;;) {
      if (o.stopped?.() === true) return undefined;
      const open = await this.#find(o.on);
      if (open !== undefined) {
        try {
          return { value: await this.#answered(open, o, request(open.client)) };
        } catch (e: unknown) {
          if (!(e instanceof IoError)) throw e;
          const lost = open.client.lost !== undefined;
          if (!lost && !tellsOfConnection(e)) throw e;
          this.#drop(open);
          // It was in service: the wait for the next one begins now.
          if (lost && o.withinMs !== null) deadline = clock.now() + o.withinMs;
        }
      }
      if (clock.now() >= deadline) {
        const where = o.on === null ? 'no node is in service' : `${o.on} is not in service`;
        throw new StepFailure(`${where} within ${String(o.withinMs)} ms`);
      }
      this.#world.checkDaemons();
      await sleep(clock, POLL_MS);
    }
  }

  /**
   * One request that must end with an error in time: an error reply, the end of the connection it was sent on, or the
   * refusal of the export. Answers what it was; rejects with StepFailure.
   */
  async sendToFail(o: { on: NodeName | null; withinMs: number }, request: (c: NbdClient) => Promise<void>): Promise<string> {
    const { clock } = this.#world;
    const deadline = clock.now() + o.withinMs;
    const left = (): number => Math.max(0, deadline - clock.now());
    for (;;) {
      const node = o.on ?? (await this.#observer.inService())?.node;
      if (node !== undefined && this.#world.running(node) === 'up') {
        const connecting = await within(clock, left(), this.#connect(node, Math.max(1, left()))).catch((e: unknown) => {
          if (e instanceof IoError) return e;
          throw e;
        });
        if (connecting instanceof HandshakeError && connecting.failure === 'unknown-export') return `the export was refused: ${connecting.message}`;
        if (connecting !== undefined && 'value' in connecting) return await this.#failed(connecting.value, left(), request);
      }
      if (left() === 0) throw new StepFailure(`there was nobody to answer within ${String(o.withinMs)} ms`);
      await sleep(clock, Math.min(POLL_MS, left()));
    }
  }

  async #failed(client: NbdClient, ms: number, request: (c: NbdClient) => Promise<void>): Promise<string> {
    try {
      const answered = await within(this.#world.clock, ms, request(client));
      throw new StepFailure(answered === undefined ? `no answer within ${String(Math.round(ms))} ms` : 'it was answered with success');
    } catch (e: unknown) {
      if (!(e instanceof IoError)) throw e;
      return e.message;
    } finally {
      client.close(Errno.ESHUTDOWN);
    }
  }

  closeAll(): void {
    for (const open of this.#open.values()) open.client.close(Errno.ESHUTDOWN);
    this.#open.clear();
  }

  #drop(open: Open): void {
    open.client.close(Errno.ECONNRESET);
    if (this.#open.get(open.key) === open) this.#open.delete(open.key);
  }

  async #find(on: NodeName | null): Promise<Open | undefined> {
    const known = this.#open.get(on);
    if (known !== undefined && known.client.lost === undefined) return known;
    if (known !== undefined) this.#drop(known);
    const already = this.#opening.get(on);
    if (already !== undefined) return await already;
    const opening = this.#openOn(on).finally(() => this.#opening.delete(on));
    this.#opening.set(on, opening);
    return await opening;
  }

  async #openOn(on: NodeName | null): Promise<Open | undefined> {
    const node = await this.#serving(on);
    if (node === undefined) return undefined;
    try {
      const open = { key: on, node, client: await this.#connect(node, CONNECT_MAX_MS) };
      this.#open.set(on, open);
      return open;
    } catch (e: unknown) {
      // It has gone out of service since it was asked, or went away.
      if (e instanceof IoError) return undefined;
      throw e;
    }
  }

  async #connect(node: NodeName, connectTimeoutMs: number): Promise<NbdClient> {
    const { io, hub } = this.#world.io(node);
    const path = join(nodePaths(this.#world.root(node)).run, 'nbd.sock');
    return await NbdClient.connect({
      io,
      hub,
      address: { kind: 'unix', path },
      exportName: this.#tag,
      connectTimeoutMs,
      replyTimeoutMs: ANSWER_MAX_MS,
    });
  }

  async #serving(on: NodeName | null): Promise<NodeName | undefined> {
    if (on === null) return (await this.#observer.inService())?.node;
    const found = await this.#observer.status(on);
    return 'status' in found && found.status.inService ? on : undefined;
  }

  /** The answer; an error as of a lost connection when another node is in service by now, or the load was told to end. */
  async #answered<T>(open: Open, o: { on: NodeName | null; stopped?: () => boolean }, answer: Promise<T>): Promise<T> {
    const settled = answer.then(
      (value) => ({ value }),
      (e: unknown) => ({ error: e instanceof Error ? e : new Error(String(e)) }),
    );
    for (;;) {
      const found = await within(this.#world.clock, LOOK_AFTER_MS, settled);
      if (found !== undefined) {
        if ('error' in found.value) throw found.value.error;
        return found.value.value;
      }
      this.#world.checkDaemons();
      const serving = o.on === null ? await this.#serving(null) : undefined;
      if ((serving !== undefined && serving !== open.node) || o.stopped?.() === true) open.client.close(Errno.ECONNRESET);
    }
  }
}
