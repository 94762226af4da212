/** Zeroes and trims on a target, so that it reads the same as our own leg whatever its server can do. */
import type { OpOwner } from '../io/hub.ts';
import { type Engine, Errno } from '../io/types.ts';
import type { NbdClient } from '../nbd-client-js/client.ts';

const PIECE_BYTES = 1024 * 1024;

/** WRITE_ZEROES where the server has it, else a write of zeroes in pieces. */
export function zeroOn(
  engine: Engine,
  client: NbdClient,
  owner: OpOwner,
  tag: number,
  offset: number,
  length: number,
  fua: boolean,
  mayPunch: boolean,
): void {
  if (client.info.canWriteZeroes) {
    client.writeZeroes(owner, tag, offset, length, { fua, mayPunch });
    return;
  }
  const pieceBytes = Math.min(length, PIECE_BYTES);
  const h = engine.allocate(pieceBytes);
  engine.view(h).subarray(0, pieceBytes).fill(0);
  let at = 0;
  const step: OpOwner = {
    onDone(_tag, errno) {
      if (errno !== 0 || at >= length) {
        engine.release(h);
        owner.onDone(tag, errno, length, 0, undefined);
        return;
      }
      const from = offset + at;
      const n = Math.min(pieceBytes, length - at);
      at += n;
      client.write(step, 0, from, n, h, 0, fua);
    },
  };
  step.onDone(0, 0, 0, 0, undefined);
}

/** The trim is passed on; zeroes after it, because of another server's trim the spec promises nothing. */
export function trimOnForeign(engine: Engine, client: NbdClient, owner: OpOwner, tag: number, offset: number, length: number, fua: boolean): void {
  const zero = (): void => {
    zeroOn(engine, client, owner, tag, offset, length, fua, true);
  };
  if (!client.info.canTrim) {
    zero();
    return;
  }
  const after: OpOwner = {
    onDone(_tag, errno) {
      if (errno === 0 || errno === Errno.ENOTSUP || errno === Errno.EINVAL) zero();
      else owner.onDone(tag, errno, length, 0, undefined);
    },
  };
  client.trim(after, 0, offset, length, false);
}
