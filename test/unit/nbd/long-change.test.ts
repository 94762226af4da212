import { expect, test } from 'vitest';
import type { Replier } from '../../../src/nbd/device.ts';
import { LongChange, type LongChangeOwner, PIECE_MAX_BYTES } from '../../../src/nbd/long-change.ts';
import { NBD_CMD_FLAG_FUA, NBD_CMD_TRIM, NBD_EINVAL, NBD_EIO } from '../../../src/nbd/wire/constants.ts';

const REQ = 7;

/** A device that keeps its pieces for the test to answer, or answers each at once. */
class Owner implements LongChangeOwner {
  readonly pieces: { offset: number; length: number; flags: number }[] = [];
  readonly answers: (number | 'ok')[] = [];
  open = true;
  atOnce = false;
  endsAt = Infinity;
  replier: Replier | undefined;
  deepest = 0;
  #depth = 0;

  isOpen(): boolean {
    return this.open;
  }
  judgePiece(_cmd: number, _flags: number, offset: number, length: number): number {
    return offset + length > this.endsAt ? NBD_EINVAL : 0;
  }
  beginPiece(r: Replier, req: number, _cmd: number, flags: number, offset: number, length: number): void {
    this.#depth += 1;
    this.deepest = Math.max(this.deepest, this.#depth);
    this.pieces.push({ offset, length, flags });
    this.replier = r;
    if (this.atOnce) r.ok(req);
    this.#depth -= 1;
  }
  ok(): void {
    this.answers.push('ok');
  }
  error(_req: number, errno: number): void {
    this.answers.push(errno);
  }
  data(): void {
    throw new Error('not here');
  }
  extents(): void {
    throw new Error('not here');
  }
}

function begun(owner: Owner, offset: number, length: number): Owner {
  new LongChange(owner, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, offset, length).begin(REQ);
  return owner;
}

test('pieces follow one another, cover the range without gap or overlap, and keep their flags', () => {
  const owner = begun(new Owner(), 4096, 2 * PIECE_MAX_BYTES + 512);
  for (const piecesSoFar of [1, 2, 3]) {
    expect(owner.pieces.length).toBe(piecesSoFar);
    expect(owner.answers).toEqual([]);
    owner.replier?.ok(REQ);
  }
  expect(owner.pieces).toEqual([
    { offset: 4096, length: PIECE_MAX_BYTES, flags: NBD_CMD_FLAG_FUA },
    { offset: 4096 + PIECE_MAX_BYTES, length: PIECE_MAX_BYTES, flags: NBD_CMD_FLAG_FUA },
    { offset: 4096 + 2 * PIECE_MAX_BYTES, length: 512, flags: NBD_CMD_FLAG_FUA },
  ]);
  expect(owner.answers).toEqual(['ok']);
});

test('an error of a piece is that of the request, and nothing comes after it', () => {
  const owner = begun(new Owner(), 0, 3 * PIECE_MAX_BYTES);
  owner.replier?.ok(REQ);
  owner.replier?.error(REQ, NBD_EIO);
  expect([owner.pieces.length, owner.answers]).toEqual([2, [NBD_EIO]]);
});

test('M4: no piece is begun for a request that nobody waits for any more', () => {
  const owner = begun(new Owner(), 0, 3 * PIECE_MAX_BYTES);
  owner.open = false;
  owner.replier?.ok(REQ);
  expect([owner.pieces.length, owner.answers]).toEqual([1, []]);
});

test('a device that has become smaller meanwhile is not asked beyond its end', () => {
  const owner = begun(new Owner(), 0, 3 * PIECE_MAX_BYTES);
  owner.endsAt = PIECE_MAX_BYTES;
  owner.replier?.ok(REQ);
  expect([owner.pieces.length, owner.answers]).toEqual([1, [NBD_EINVAL]]);
});

test('a device that answers at once goes no deeper, however many pieces there are', () => {
  const owner = new Owner();
  owner.atOnce = true;
  begun(owner, 0, 20_000 * PIECE_MAX_BYTES);
  expect([owner.pieces.length, owner.answers, owner.deepest]).toEqual([20_000, ['ok'], 1]);
});
