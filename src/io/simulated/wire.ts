/** What one end has sent and the other has not received: in order, held back while the way is cut or the receiver has no power. */
import type { Counters } from './counters.ts';
import type { Link } from './link.ts';
import type { Segment } from './received.ts';
import type { Schedule } from './schedule.ts';
import type { Stream } from './seed.ts';

interface Receiver {
  /** What arrived at one moment; undefined: the sender's FIN. */
  receive(segments: readonly (Segment | undefined)[]): void;
}

interface Travelling {
  /** Undefined: the sender's FIN. */
  segment: Segment | undefined;
  sentAt: number;
  arrivesAt: number;
}

/** How long a kernel goes on sending for a socket whose process is gone. */
const ORPHAN_MS = 100_000;
/** Segments up to this size may travel as one. */
const SEGMENT_MAX_BYTES = 64 * 1024;

export class Wire {
  readonly link: Link;
  /** Asks whether the receiver's machine has power; if not, `again` is called when it has. */
  readonly machineIsUp: (node: string, again: () => void) => boolean;
  readonly #schedule: Schedule;
  readonly #counters: Counters;
  #receiver: Receiver | undefined;
  #segments: Travelling[] = [];
  #armed = false;
  #orphanSince: number | undefined;

  constructor(schedule: Schedule, link: Link, machineIsUp: (node: string, again: () => void) => boolean, counters: Counters) {
    this.#schedule = schedule;
    this.link = link;
    this.machineIsUp = machineIsUp;
    this.#counters = counters;
  }

  deliverTo(receiver: Receiver): void {
    this.#receiver = receiver;
  }

  send(bytes: Uint8Array | undefined): void {
    // A copy of what was written, and nobody's but ours.
    const damaged = bytes !== undefined && this.link.damage(bytes);
    if (damaged) this.#counters.add('bitsFlipped');
    const segment = bytes === undefined ? undefined : { bytes, damaged };
    const now = this.#schedule.now();
    const last = this.#segments.at(-1);
    if (last?.sentAt === now && this.link.travelsTogether()) {
      this.#segments.push({ segment, sentAt: now, arrivesAt: last.arrivesAt });
    } else {
      const arrivesAt = now + this.link.journeyMs(bytes?.length ?? 0);
      this.#segments.push({ segment, sentAt: now, arrivesAt: Math.max(arrivesAt, last?.arrivesAt ?? 0) });
    }
    this.#arm(0);
  }

  clear(): void {
    this.#dropFrom(0);
  }

  /** The sender's machine lost power: what had left it may still arrive. */
  loseSome(stream: Stream): void {
    this.#dropFrom(stream.between(0, this.#segments.length));
  }

  /** The sender's process is gone: its kernel does not try for ever. */
  orphan(): void {
    this.#orphanSince = this.#schedule.now();
  }

  #dropFrom(first: number): void {
    for (const s of this.#segments.splice(first)) this.#counters.add('bytesDropped', s.segment?.bytes.length ?? 0);
  }

  #arm(leastMs: number): void {
    const head = this.#segments[0];
    if (this.#armed || head === undefined) return;
    this.#armed = true;
    this.#schedule.after(Math.max(leastMs, head.arrivesAt - this.#schedule.now()), 'net.arrive', this.link.name, () => {
      this.#armed = false;
      this.#arrive();
    });
  }

  #arrive(): void {
    if (this.#segments.length === 0) return;
    if (this.link.isCut) {
      this.#armed = true;
      this.#counters.add('segmentsHeld', this.#segments.length);
      this.link.onHeal((delayMs) => {
        this.#armed = false;
        this.#goOn(delayMs);
      });
      return;
    }
    const again = (): void => {
      this.#armed = false;
      this.#goOn(1);
    };
    if (!this.machineIsUp(this.link.to, again)) {
      this.#armed = true;
      return;
    }
    this.#receiver?.receive(this.#takeArrived());
    this.#arm(0);
  }

  #goOn(delayMs: number): void {
    if (this.#orphanSince !== undefined && this.#schedule.now() - this.#orphanSince > ORPHAN_MS) this.clear();
    this.#arm(delayMs);
  }

  /** The head, and what arrives at the same moment. */
  #takeArrived(): (Segment | undefined)[] {
    const out: (Segment | undefined)[] = [];
    let bytes = 0;
    for (;;) {
      const head = this.#segments[0];
      if (head === undefined || (out.length > 0 && (head.arrivesAt > this.#schedule.now() || bytes >= SEGMENT_MAX_BYTES))) return out;
      this.#segments.shift();
      out.push(head.segment);
      bytes += head.segment?.bytes.length ?? 0;
    }
  }
}
