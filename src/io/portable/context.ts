/** What the parts of the portable engine share: where results go, and the pools they draw from. */
import type { Clock, ConnId, EngineValue, Handle, OpId, RequestId } from '../types.ts';
import type { EventQueue } from './event-queue.ts';
import type { HandlePool } from './handles.ts';
import type { BlockPool, Outbox } from './outbox.ts';
import type { SharedRoom } from './shared-room.ts';

export interface EngineContext {
  readonly clock: Clock;
  readonly handles: HandlePool;
  readonly blocks: BlockPool;
  readonly events: EventQueue;
  readonly room: SharedRoom;
  /** After an orderly close: how long queued replies may take to leave. */
  readonly lingerMs: number;
  /** An operation begun by the caller is over. Operation 0 is nobody's. A handle given here goes to the caller with its reference. */
  done(op: OpId, errno: number, length: number, h: Handle, value: EngineValue | undefined): void;
  /** Has the outbox flushed at the end of this turn's work. */
  wantFlush(o: Outbox): void;
  /** A request came. The reference to `h` goes with it. */
  request(conn: ConnId, req: RequestId, cmd: number, flags: number, offset: number, length: number, h: Handle): void;
  /** A connection has reported CLOSED. */
  forget(conn: ConnId): void;
}
