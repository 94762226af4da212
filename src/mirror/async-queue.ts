/**
 * Writes on their way to an asynchronous target.
 *
 *   application's write --> [ w w w | w w | w ... ] --> target        | = flush boundary
 *
 * Invariants: writes between two boundaries may be in flight together unless they overlap; nothing behind a boundary is
 * sent before everything in front of it was acknowledged and the target has flushed. So the target is at any moment a
 * consistent older image. Entries and bytes are bounded; a full queue holds writers back. Each entry holds one
 * reference to its payload and one pending count in the intent log until the target has it.
 */
import { Errno, type Handle } from '../io/types.ts';
import type { OpOwner } from '../io/hub.ts';
import type { TargetClient } from './target-client.ts';

export interface AsyncLimits {
  writesMax: number;
  bytesMax: number;
  inFlightMax: number;
}

type Entry =
  | { kind: 'write'; offset: number; length: number; h: Handle; first: number; last: number; sent: boolean }
  | { kind: 'zero' | 'trim'; offset: number; length: number; mayPunch: boolean; first: number; last: number; sent: boolean }
  | { kind: 'boundary'; done: ((errno: number) => void)[]; sent: boolean };

export interface AsyncQueueOwner {
  release(h: Handle): void;
  /** The entry's regions are in on the target, or given up with the session. */
  entryEnded(first: number, last: number): void;
  /** There is room again. */
  room(): void;
  failed(errno: number, atFlush: boolean): void;
}

export class AsyncQueue implements OpOwner {
  readonly #client: TargetClient;
  readonly #owner: AsyncQueueOwner;
  readonly #limits: AsyncLimits;
  /** In order of arrival; the sent ones that are not acknowledged are among the first. */
  #entries: Entry[] = [];
  readonly #sent = new Map<number, Entry>();
  #nextTag = 1;
  #writes = 0;
  #bytes = 0;
  #full = false;
  #ended = false;

  constructor(client: TargetClient, limits: AsyncLimits, owner: AsyncQueueOwner) {
    this.#client = client;
    this.#limits = limits;
    this.#owner = owner;
  }

  get outstandingWrites(): number {
    return this.#writes;
  }

  get outstandingBytes(): number {
    return this.#bytes;
  }

  hasRoom(lengthBytes: number): boolean {
    const room = this.#writes === 0 || (this.#writes < this.#limits.writesMax && this.#bytes + lengthBytes <= this.#limits.bytesMax);
    if (!room) this.#full = true;
    return room;
  }

  /** Whether something on its way touches these bytes. */
  holds(start: number, end: number): boolean {
    return this.#entries.some((e) => e.kind !== 'boundary' && e.offset < end && start < e.offset + e.length);
  }

  /** Takes over one reference to `h`. */
  write(offset: number, length: number, h: Handle, first: number, last: number): void {
    this.#writes += 1;
    this.#bytes += length;
    this.#entries.push({ kind: 'write', offset, length, h, first, last, sent: false });
    this.#pump();
  }

  zero(kind: 'zero' | 'trim', offset: number, length: number, mayPunch: boolean, first: number, last: number): void {
    this.#writes += 1;
    this.#entries.push({ kind, offset, length, mayPunch, first, last, sent: false });
    this.#pump();
  }

  /** A flush boundary; `done` is called when the target has durably got everything before it, or with an errno. */
  boundary(done?: (errno: number) => void): void {
    if (this.#ended) {
      done?.(Errno.ESHUTDOWN);
      return;
    }
    const last = this.#entries.at(-1);
    if (last?.kind === 'boundary' && !last.sent) {
      if (done !== undefined) last.done.push(done);
    } else {
      this.#entries.push({ kind: 'boundary', done: done === undefined ? [] : [done], sent: false });
    }
    this.#pump();
  }

  /** The session is over: everything queued is given up (it stays marked for the target). */
  end(errno: number): void {
    this.#ended = true;
    const all = this.#entries;
    this.#entries = [];
    for (const e of all) this.#drop(e, errno);
    this.#sent.clear();
    this.#owner.room();
  }

  onDone(tag: number, errno: number): void {
    const e = this.#sent.get(tag);
    if (e === undefined) return; // given up by end()
    this.#sent.delete(tag);
    if (errno !== 0) {
      this.#owner.failed(errno, e.kind === 'boundary');
      return;
    }
    this.#entries.splice(this.#entries.indexOf(e), 1);
    this.#drop(e, 0);
    if (this.#full && this.hasRoomAgain()) {
      this.#full = false;
      this.#owner.room();
    }
    this.#pump();
  }

  hasRoomAgain(): boolean {
    return this.#writes < this.#limits.writesMax && this.#bytes < this.#limits.bytesMax;
  }

  #drop(e: Entry, errno: number): void {
    if (e.kind === 'boundary') {
      for (const f of e.done) f(errno);
      return;
    }
    this.#writes -= 1;
    if (e.kind === 'write') {
      this.#bytes -= e.length;
      this.#owner.release(e.h);
    }
    this.#owner.entryEnded(e.first, e.last);
  }

  #pump(): void {
    for (const e of this.#entries) {
      if (this.#ended || this.#sent.size >= this.#limits.inFlightMax) return;
      if (e.kind === 'boundary') {
        if (!e.sent && this.#entries[0] === e) {
          e.sent = true;
          this.#client.flush(this, this.#tag(e));
        }
        return; // nothing passes a boundary
      }
      if (e.sent) continue;
      if (this.#overlapsSent(e.offset, e.offset + e.length)) return;
      e.sent = true;
      if (e.kind === 'write') this.#client.write(this, this.#tag(e), e.offset, e.length, e.h, 0, false);
      else if (e.kind === 'trim') this.#client.trim(this, this.#tag(e), e.offset, e.length, false);
      else this.#client.writeZeroes(this, this.#tag(e), e.offset, e.length, false, e.mayPunch);
    }
  }

  #tag(e: Entry): number {
    const tag = this.#nextTag;
    this.#nextTag += 1;
    this.#sent.set(tag, e);
    return tag;
  }

  #overlapsSent(start: number, end: number): boolean {
    for (const e of this.#sent.values()) if (e.kind !== 'boundary' && e.offset < end && start < e.offset + e.length) return true;
    return false;
  }
}
