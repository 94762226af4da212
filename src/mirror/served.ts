/**
 * Plain requests of a source's clients that the engine executes by itself (`Engine.serve`): while the mirror has no target, nothing has to be
 * decided about a read, or about a write of a region whose mark is durable.
 *
 *   resume --may?--> served --look: may not any more--> ending --> quiet: all is told
 *                      `--asks for a mark--> marked, durable --> allowed, served
 *
 * Invariants
 * - a region is written so only while its mark is durable (M1), and what was written so is told to the intent log before that says what is
 *   unproven, closes a number or lets a mark go (M5)
 * - requests of different clients that overlap have one order (M4), the range lock's or the engine's: all clients are served together or
 *   none, by what knows of each other's requests, and only when all that one that has gone had asked is answered
 * - whoever needs to know of every write (a session, a snapshot, a checkpoint, another geometry) first awaits `quiet`, in a state in which
 *   nothing is served, or under a bar of its own
 */
import type { EngineHub } from '../io/hub.ts';
import type { ConnId, LegId } from '../io/types.ts';
import { ServedConns } from '../nbd/served-conns.ts';
import { Asked, AskedMarks } from './asked-marks.ts';
import type { Marks } from './marks.ts';
import { ServedMarks } from './served-marks.ts';

/** More have two bitmaps of more than 2 MiB each. */
const REGIONS_MAX = 2 ** 24;
/** Clients that are served together: of 16 it was measured not to be quicker any more. */
const CLIENTS_MAX = 8;
/** Writes of one connection that are executed at a time, where an engine executes more than one. */
const WRITES_MAX = 16;

export interface ServedOwner {
  readonly hub: EngineHub;
  readonly local: { readonly info: { readonly leg: LegId } };
  readonly marks: Marks;
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** Nothing has to be decided about a plain request now. */
  mayServe(): boolean;
  /** Regions that were written, or are being written. */
  told(first: number, last: number): void;
  /** Marks them as being written; true: that has to be durable first. */
  begin(first: number, last: number): boolean;
  /** Resolves when every request that the device has been told of by now is answered. */
  answered(): Promise<void>;
}

export class Served {
  readonly #o: ServedOwner;
  readonly #conns: ServedConns;
  #bars = 0;
  #clients = 0;
  #waiting: (() => void)[] = [];
  /** The marks that writes are told to. */
  #of: Marks | undefined;
  #shared: ServedMarks | undefined;
  readonly #asked: AskedMarks;
  /** Of the one client that is served by itself. */
  #asking: Asked | undefined;

  constructor(owner: ServedOwner) {
    this.#o = owner;
    this.#asked = new AskedMarks(owner, () => {
      this.#lookWhetherQuiet();
    });
    this.#conns = new ServedConns({
      hub: owner.hub,
      together: true,
      rules: (clients) => {
        const { sizeBytes, sectorBytes } = owner;
        const { touched, allowed } = this.#marks();
        const alone = clients === 1 ? { asks: this.#newAsks() } : {};
        const marks = { allowed, underWay: new Uint32Array(WRITES_MAX), clients, ...alone };
        return { leg: owner.local.info.leg, sizeBytes, blockBytes: sectorBytes, touched: touched.words, regionBytes: touched.regionBytes, marks };
      },
      asked: (conn, asks) => {
        const of = this.#asking;
        if (of?.asks.words !== asks) throw new Error('marks are asked for by nobody who is served');
        of.conn = conn;
        this.#asked.take(of);
      },
      quiet: () => {
        this.#lookWhetherQuiet();
      },
    });
    this.#conns.pause();
  }

  #newAsks(): Uint32Array {
    const of = new Asked({
      answered: (conn) => {
        if (this.#asking === of) this.#conns.answered(conn);
      },
      failed: () => {
        if (this.#asking === of) this.#conns.pause();
      },
    });
    this.#asking = of;
    return of.asks.words;
  }

  #lookWhetherQuiet(): void {
    if (this.underWay) return;
    this.#o.marks.hear();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const f of waiting) f();
  }

  /** Those of the device's geometry, which changes only while nothing is served. */
  #marks(): ServedMarks {
    const { marks, sizeBytes } = this.#o;
    if (this.#shared !== undefined && this.#of === marks) return this.#shared;
    const shared = new ServedMarks(sizeBytes, marks.regions.regionBytes, () => this.#conns.regionsUnderWay());
    marks.share(shared, (first, last) => {
      this.#o.told(first, last);
    });
    this.#shared = shared;
    this.#of = marks;
    return shared;
  }

  /** One more client: resolves when what another has asked is in hand here, or done, so that this one's requests come behind it (M4). */
  enter(): Promise<void> {
    this.#clients += 1;
    return this.quiet();
  }

  /** One has gone. What was in hand of it comes before what others ask, too. */
  leave(): void {
    this.#clients -= 1;
    void this.#o.answered().then(this.bar());
  }

  opened(conn: ConnId): void {
    this.#conns.opened(conn);
  }

  closed(conn: ConnId): void {
    this.#conns.closed(conn);
  }

  answeredOn(conn: ConnId): number {
    return this.#conns.answeredOn(conn);
  }

  isBusy(conn: ConnId): boolean {
    return this.#conns.isBusy(conn);
  }

  /** A write that nobody was told of may be on its way, or a mark for one. */
  get underWay(): boolean {
    return this.#conns.underWay || this.#asked.underWay;
  }

  /** Something has changed that may bar it: no write begins from this turn on that would not be told. */
  look(): void {
    if (!this.#may()) this.#conns.pause();
  }

  /** On the hot path: serves again what it may. */
  resume(): void {
    if (this.#conns.paused && this.#may()) this.#conns.resume();
  }

  #may(): boolean {
    // Of one that has asked for nothing yet it is not known what it has sent.
    const all = this.#clients <= CLIENTS_MAX && this.#conns.open === this.#clients;
    // Whoever waits until all is quiet is not passed by.
    return this.#bars === 0 && all && this.#waiting.length === 0 && this.#o.marks.regions.regionCount <= REGIONS_MAX && this.#o.mayServe();
  }

  /** Pauses; resolves when every write that was under way has ended and was told. It is served again by the next request, where nothing bars it. */
  quiet(): Promise<void> {
    this.#conns.pause();
    if (!this.underWay) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Nothing is served before the answer is called, once. */
  bar(): () => void {
    this.#bars += 1;
    this.look();
    return () => {
      this.#bars -= 1;
    };
  }
}
