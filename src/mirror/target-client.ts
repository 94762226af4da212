/** What the mirror needs of a connection to a target: our own NBD client has it, and so has a test's double. */
import type { OpOwner, OpResult } from '../io/hub.ts';
import type { EngineValue, Handle } from '../io/types.ts';

export interface TargetClient {
  /** Each call ends in exactly one `owner.onDone(tag, …)`, also on a broken connection. The payload is held until then. */
  write(owner: OpOwner, tag: number, offset: number, length: number, h: Handle, hOffset: number, fua: boolean): void;
  read(owner: OpOwner, tag: number, offset: number, length: number): void;
  flush(owner: OpOwner, tag: number): void;
  trim(owner: OpOwner, tag: number, offset: number, length: number, fua: boolean): void;
  writeZeroes(owner: OpOwner, tag: number, offset: number, length: number, fua: boolean, mayPunch: boolean): void;
  /** Once, when a connection is lost or closed. */
  onClosed(f: (errno: number, why: string) => void): void;
  /** Why there is no connection any more, known before what was outstanding ends; undefined: there is. */
  lostWhy(): string | undefined;
  /** Ends all connections now; what is outstanding ends with `errno`. */
  close(errno: number): void;
}

/** Resolves with the errno of a FLUSH. */
export function flushOn(client: TargetClient): Promise<number> {
  return new Promise((resolve) => {
    client.flush(
      {
        onDone: (_tag, errno) => {
          resolve(errno);
        },
      },
      0,
    );
  });
}

/** The caller owns the handle in the result. */
export function readFrom(client: TargetClient, offset: number, length: number): Promise<OpResult> {
  return new Promise((resolve) => {
    const owner = {
      onDone: (_tag: number, errno: number, bytes: number, h: Handle, value: EngineValue | undefined): void => {
        resolve({ errno, length: bytes, h, value });
      },
    };
    client.read(owner, 0, offset, length);
  });
}
