/** One request of a client connection, as a reused record. */
import type { EngineValue, Handle, OpId } from '../types.ts';
import { Coverage } from './coverage.ts';

const NO_BYTES = new Uint8Array(0);

export class ClientRequest {
  op: OpId = 0;
  cmd = 0;
  flags = 0;
  offset = 0;
  length = 0;
  /** What it counts for against the connection's `bytesMax`. */
  heldBytes = 0;
  /** -1: not yet sent. */
  slot = -1;
  serial = 0;
  /** The payload of a WRITE until it has left; 0: none. */
  payload: Handle = 0;
  payloadBytes: Uint8Array = NO_BYTES;
  sent = false;
  replied = false;
  /** The first error the server reported. */
  errno = 0;
  /** What a READ has brought so far; allocated when the first byte comes. */
  data: Handle = 0;
  readonly coverage = new Coverage();
  value: EngineValue | undefined;

  reset(): void {
    this.op = 0;
    this.slot = -1;
    this.payload = 0;
    this.payloadBytes = NO_BYTES;
    this.sent = false;
    this.replied = false;
    this.errno = 0;
    this.data = 0;
    this.coverage.clear();
    this.value = undefined;
  }
}
