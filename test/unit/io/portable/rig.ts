/** The parts of a portable engine without the engine, on sockets in memory. */
import type { EngineContext } from '../../../../src/io/portable/context.ts';
import { SharedRoom } from '../../../../src/io/portable/shared-room.ts';
import { EventQueue } from '../../../../src/io/portable/event-queue.ts';
import { HandlePool } from '../../../../src/io/portable/handles.ts';
import { BlockPool, type Outbox } from '../../../../src/io/portable/outbox.ts';
import { type EngineValue, EventKind, type Handle, type IoSocket, type SocketHandler } from '../../../../src/io/types.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

export interface Seen {
  kind: number;
  conn: number;
  id: number;
  cmd: number;
  errno: number;
  length: number;
  handle: Handle;
  value: EngineValue | undefined;
}

export interface Parts {
  clock: ManualClock;
  context: EngineContext;
  seen: Seen[];
  /** Flushes and delivers what is due. */
  turn(): Promise<void>;
}

export function makeParts(): Parts {
  const clock = new ManualClock();
  const seen: Seen[] = [];
  const waiting: Outbox[] = [];
  const events = new EventQueue(clock, () => undefined);
  events.handle((e) => {
    for (let i = 0; i < e.count; i += 1) {
      seen.push({
        kind: e.kind[i] ?? 0,
        conn: e.conn[i] ?? 0,
        id: e.id[i] ?? 0,
        cmd: e.kind[i] === EventKind.REQUEST ? (e.cmd[i] ?? 0) : 0,
        errno: e.errno[i] ?? 0,
        length: e.length[i] ?? 0,
        handle: e.handle[i] ?? 0,
        value: e.value[i],
      });
    }
  });
  const context: EngineContext = {
    clock,
    handles: new HandlePool(),
    blocks: new BlockPool(),
    events,
    room: new SharedRoom(clock),
    lingerMs: 100,
    done: (op, errno, length, h, value) => {
      if (op !== 0) events.done(op, errno, length, h, value);
    },
    wantFlush: (o) => {
      waiting.push(o);
    },
    request: (conn, req, cmd, flags, offset, length, h) => {
      events.request(conn, req, cmd, flags, offset, length, h);
    },
    forget: () => undefined,
  };
  return {
    clock,
    context,
    seen,
    async turn() {
      for (const o of waiting.splice(0)) o.flush();
      for (let i = 0; i < 50; i += 1) await Promise.resolve();
    },
  };
}

/** A socket whose writes the test takes out by hand. */
export class HandSocket implements IoSocket {
  readonly remote = 'hand';
  handler: SocketHandler | undefined;
  readonly written: { bytes: Uint8Array; sent: (() => void) | undefined }[] = [];
  paused = false;
  ending: 'end' | 'destroy' | undefined;

  start(h: SocketHandler): void {
    this.handler = h;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  write(bytes: Uint8Array, sent?: () => void): boolean {
    this.written.push({ bytes, sent });
    return false;
  }

  unsentBytes(): number {
    return this.written.reduce((n, w) => n + w.bytes.length, 0);
  }

  end(): void {
    this.ending ??= 'end';
  }

  destroy(): void {
    this.ending = 'destroy';
  }

  /** Sends all that is queued: returns its bytes. */
  takeAll(): Uint8Array {
    const all: number[] = [];
    for (const w of this.written.splice(0)) {
      all.push(...w.bytes);
      w.sent?.();
    }
    return new Uint8Array(all);
  }
}
