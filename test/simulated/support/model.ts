/**
 * What an application may find on the mirror, worked out from the promises alone (M2, M3, M4, M12), one sector at a time.
 *
 *   write submitted --> answered --> flushed         a sector's candidates: the writes whose data it may hold now
 *
 * A write counts as *held* once it is answered with success, until a node went in service after a power failure that it
 * may not have survived; once flushed it is held for good. A candidate v is impossible as soon as a held write began after
 * v had ended. What a read has shown, with no write under way, is from then on the sector's content like a held write.
 */
export const SECTOR_BYTES = 512;

/** Data of a write: its number in each sector; 0 reads as zeroes. */
export type Value = number;

export interface WriteOp {
  readonly value: Value;
  readonly first: number;
  readonly last: number;
  /** Moments of the model's own count, not of any clock. */
  readonly submitted: number;
  /** Infinity while it may still reach a leg. */
  ended: number;
  ok: boolean;
  flushed: boolean;
  /** Answered, unflushed, and perhaps lost with power. */
  perhapsLost: boolean;
  /** A failed FLUSH or FUA has told the application that it may be gone. */
  tainted: boolean;
  /** What a rebase found: when it is lost with power, nobody knows what was there before it. */
  rebased?: boolean;
  /** What a read has shown, and no write of its own. */
  pinned?: boolean;
}

export interface FlushOp {
  readonly submitted: number;
}

/** One moment for each thing that happens, shared by all models of a history. */
export class Moments {
  #now = 0;
  next(): number {
    this.#now += 1;
    return this.#now;
  }
}

const ZERO: Value = 0;
/** A mixture of what was there and of a write. */
const TORN: Value = -1;

function held(w: WriteOp): boolean {
  return w.ok && !w.perhapsLost;
}

export class Model {
  readonly sectors: number;
  readonly #moments: Moments;
  readonly #mayTear: boolean;
  #candidates: WriteOp[][];
  /** Reads under way, by when they began. */
  readonly #reads = new Set<number>();
  /** Writes that are not durable for certain. */
  #open = new Set<WriteOp>();
  /** Writes answered well since this model was made or rebased. */
  acknowledged = 0;

  /** `mayTear`: transfers of fewer bytes than a sector happen, so that a write that was cut short may leave a part of one. */
  constructor(sectors: number, moments: Moments, mayTear: boolean, of?: Model) {
    this.sectors = sectors;
    this.#mayTear = mayTear;
    this.#moments = moments;
    if (of === undefined) {
      const first = this.#done(ZERO, 0, sectors - 1, true);
      this.#candidates = Array.from({ length: sectors }, () => [first]);
      return;
    }
    const twins = new Map<WriteOp, WriteOp>();
    const at = moments.next();
    const twin = (w: WriteOp): WriteOp => {
      let t = twins.get(w);
      if (t === undefined) {
        t = { ...w, ended: Math.min(w.ended, at) };
        twins.set(w, t);
      }
      return t;
    };
    this.#candidates = of.#candidates.map((list) => list.map(twin));
    this.#open = new Set([...of.#open].map(twin));
  }

  /** The same past, another future; what is under way here will never have an effect there. */
  fork(): Model {
    return new Model(this.sectors, this.#moments, this.#mayTear, this);
  }

  begin(value: Value, first: number, last: number): WriteOp {
    const w: WriteOp = {
      value,
      first,
      last,
      submitted: this.#moments.next(),
      ended: Infinity,
      ok: false,
      flushed: false,
      perhapsLost: false,
      tainted: false,
    };
    this.#open.add(w);
    for (let s = first; s <= last; s += 1) this.#candidates[s]?.push(w);
    return w;
  }

  /** `durable`: it was answered under FUA. */
  succeeded(w: WriteOp, durable: boolean): void {
    w.ended = Math.min(w.ended, this.#moments.next());
    w.ok = true;
    this.acknowledged += 1;
    if (durable) this.#settle(w);
  }

  /** It may have had its effect or not; it will have none any more. */
  failed(w: WriteOp, toldLost: boolean): void {
    w.ended = Math.min(w.ended, this.#moments.next());
    if (toldLost) this.#taint();
  }

  beginFlush(): FlushOp {
    return { submitted: this.#moments.next() };
  }

  flushed(f: FlushOp): void {
    for (const w of [...this.#open]) if (w.ok && w.ended < f.submitted) this.#settle(w);
  }

  flushFailed(): void {
    this.#taint();
  }

  /** An epoch is over: what was under way in it can't reach the legs of the next one. */
  epochOver(): void {
    const at = this.#moments.next();
    for (const w of this.#open) w.ended = Math.min(w.ended, at);
  }

  /** A node goes in service after power was lost somewhere: what was not flushed may be gone. */
  powerWasLost(): void {
    for (const w of this.#open) {
      if (!w.ok) continue;
      w.perhapsLost = true;
      // No later flush brings it back; a read that finds it decides.
      this.#open.delete(w);
    }
  }

  /** To be ended with `endRead`. */
  beginRead(): number {
    const since = this.#moments.next();
    this.#reads.add(since);
    return since;
  }

  endRead(since: number): void {
    this.#reads.delete(since);
  }

  /** Whether a read that began at `since` may find this; `shown: false`: what reads have shown binds nobody. */
  mayHold(sector: number, value: Value, since: number, o: { shown: boolean } = { shown: true }): boolean {
    const all = this.#candidates[sector] ?? [];
    const list = o.shown ? all : all.filter((w) => w.pinned !== true);
    const possible = list.filter((v) => !list.some((w) => held(w) && w.ended < since && v.ended < w.submitted));
    if (possible.some((v) => v.value === value || (v.rebased === true && v.perhapsLost))) return true;
    // Cut short in the middle of a sector, and never answered, or lost with power but for the first part, or read in the middle of it.
    return value === TORN && this.#mayTear && possible.some((v) => !v.ok || v.perhapsLost || v.ended >= since);
  }

  /** Nothing that may still change the sector was under way at any time since then. */
  isQuiet(sector: number, since: number): boolean {
    return (this.#candidates[sector] ?? []).every((w) => w.ended < since);
  }

  /** A read has found this while all was quiet: the sector's content is decided. */
  pin(first: number, values: readonly Value[], since: number): void {
    for (let i = 0; i < values.length; ) {
      let end = i + 1;
      while (end < values.length && values[end] === values[i]) end += 1;
      this.#pinRun(first + i, first + end - 1, values[i] ?? ZERO, since);
      i = end;
    }
  }

  #pinRun(first: number, last: number, value: Value, since: number): void {
    let now: WriteOp | undefined;
    for (let s = first; s <= last; s += 1) {
      const list = this.#candidates[s];
      if (list === undefined || list.length < 2 || !this.isQuiet(s, since) || this.isDecided(s, value)) continue;
      now ??= { ...this.#done(value, first, last, false), pinned: true };
      now.tainted ||= list.some((w) => w.tainted);
      this.#open.add(now);
      list.push(now);
    }
  }

  /** The only possible content is this one. */
  isDecided(sector: number, value: Value): boolean {
    const list = this.#candidates[sector] ?? [];
    return list.every((v) => v.value === value || list.some((w) => held(w) && v.ended < w.submitted));
  }

  /** A write of this value came after that moment. */
  writtenSince(sector: number, value: Value, moment: number): boolean {
    return (this.#candidates[sector] ?? []).some((w) => w.value === value && w.submitted > moment && w.pinned !== true && w.rebased !== true);
  }

  /** Values that a reader may find now, for a report. */
  possible(sector: number): Value[] {
    const list = this.#candidates[sector] ?? [];
    return [...new Set(list.map((w) => w.value))].filter((v) => this.mayHold(sector, v, Infinity));
  }

  /** For a report. */
  describe(sector: number): string {
    return (this.#candidates[sector] ?? [])
      .map(
        (w) =>
          `#${String(w.value)}[${String(w.submitted)}..${String(w.ended)}${w.ok ? ' ok' : ''}${w.flushed ? ' flushed' : ''}${w.perhapsLost ? ' perhaps lost' : ''}${w.tainted ? ' tainted' : ''}]`,
      )
      .join(' ');
  }

  /** The operator's word, or a lost branch: whatever is there now is what there is; after a loss of power, anything before it. */
  rebase(values: readonly Value[]): void {
    for (const list of this.#candidates) for (const w of list) Object.assign(w, { perhapsLost: true, flushed: false });
    this.epochOver();
    this.#open = new Set();
    this.acknowledged = 0;
    const before = this.#candidates;
    this.#candidates = [];
    for (let s = 0; s < values.length; ) {
      let end = s + 1;
      while (end < values.length && values[end] === values[s]) end += 1;
      const w: WriteOp = { ...this.#done(values[s] ?? ZERO, s, end - 1, false), rebased: true };
      this.#open.add(w);
      for (; s < end; s += 1) this.#candidates.push([...(before[s] ?? []), w]);
    }
  }

  #done(value: Value, first: number, last: number, flushed: boolean): WriteOp {
    const at = this.#moments.next();
    return { value, first, last, submitted: at, ended: at, ok: true, flushed, perhapsLost: false, tainted: false };
  }

  #taint(): void {
    for (const w of this.#open) w.tainted = true;
  }

  /** Durable for good: what ended before it began can't come back. */
  #settle(w: WriteOp): void {
    if (w.tainted) return;
    w.flushed = true;
    w.perhapsLost = false;
    this.#open.delete(w);
    // A read that began before may still find what was there then.
    const since = Math.min(Infinity, ...this.#reads);
    for (let s = w.first; s <= w.last; s += 1) {
      const list = this.#candidates[s];
      if (list === undefined || !list.includes(w)) continue;
      if (list.length > 1) this.#candidates[s] = list.filter((v) => !list.some((x) => x.flushed && x.ended < since && v.ended < x.submitted));
    }
  }
}

/** Bytes of a write: each sector says whose it is and where it belongs. */
export function fillSectors(bytes: Uint8Array, value: Value, firstSector: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const perSector = SECTOR_BYTES / 4;
  for (let i = 0; i < words.length; i += 2) {
    words[i] = value;
    words[i + 1] = firstSector + Math.floor(i / perSector);
  }
}

/** Whose data each sector holds; TORN (-1): not those of any one write. */
export function readSectors(bytes: Uint8Array, firstSector: number): Value[] {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, Math.floor(aligned.byteLength / 4));
  const perSector = SECTOR_BYTES / 4;
  const out: Value[] = [];
  for (let at = 0; at < words.length; at += perSector) {
    const value = words[at] ?? 0;
    const place = value === ZERO ? 0 : firstSector + out.length;
    let sound = true;
    for (let i = at; i < at + perSector; i += 2) {
      if (words[i] !== value || words[i + 1] !== place) {
        sound = false;
        break;
      }
    }
    out.push(sound ? value : TORN);
  }
  return out;
}
