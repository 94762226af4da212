/**
 * What a connection has yet to send. Headers and short payloads are gathered into pooled blocks, long payloads are sent
 * from where they lie, and all of it goes to the socket in few writes.
 *
 *   reserve / bytes / mark ---> open block --+--> socket.write(piece) --sent--> marks reported, block reused
 *                               long payload -+
 *
 * Invariants:
 * - bytes leave in the order in which they were added
 * - a mark is reported once everything added before it has been handed to the kernel, and never after `drop`
 * - a long payload's bytes are not looked at after its mark, or after `drop`
 */
import type { IoSocket } from '../types.ts';
import { Fifo } from './fifo.ts';

const BLOCK_BYTES = 32 * 1024;
const BLOCKS_KEPT_MAX = 64;
/** Up to here copying is cheaper than one more piece in a socket's queue. */
const COPY_MAX_BYTES = 4096;

interface Block {
  bytes: Uint8Array;
  view: DataView;
}

export class BlockPool {
  readonly #kept: Block[] = [];

  take(): Block {
    const kept = this.#kept.pop();
    if (kept !== undefined) return kept;
    const bytes = new Uint8Array(BLOCK_BYTES);
    return { bytes, view: new DataView(bytes.buffer) };
  }

  give(b: Block): void {
    if (this.#kept.length < BLOCKS_KEPT_MAX) this.#kept.push(b);
  }
}

interface Piece {
  block: Block | undefined;
  length: number;
  marks: number[];
}

export class Outbox {
  readonly #socket: IoSocket;
  readonly #pool: BlockPool;
  readonly #wantFlush: () => void;
  readonly #onMark: (tag: number) => void;
  /** One function for all writes: `sent` comes in the order of the writes. */
  readonly #sent = (): void => {
    this.#pieceSent();
  };
  readonly #inSocket = new Fifo<Piece>();
  readonly #sparePieces: Piece[] = [];
  #open: Piece | undefined;
  #flushWanted = false;
  #unsentBytes = 0;
  #sentBytes = 0;
  #dropped = false;

  /** `wantFlush` is called when something waits for `flush`, once until it is flushed. */
  constructor(socket: IoSocket, pool: BlockPool, wantFlush: () => void, onMark: (tag: number) => void) {
    this.#socket = socket;
    this.#pool = pool;
    this.#wantFlush = wantFlush;
    this.#onMark = onMark;
  }

  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** Handed to the kernel so far, whole pieces. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Room for `length` bytes (at most a few dozen), to be written at once into `view` at the offset returned. */
  reserve(length: number): number {
    let piece = this.#open;
    if (piece === undefined || piece.length + length > BLOCK_BYTES) {
      this.#seal();
      piece = this.#newPiece(this.#pool.take());
      this.#open = piece;
    }
    const at = piece.length;
    piece.length += length;
    this.#unsentBytes += length;
    if (!this.#flushWanted) {
      this.#flushWanted = true;
      this.#wantFlush();
    }
    return at;
  }

  /** Of the block that `reserve` last gave room in. */
  get view(): DataView {
    if (this.#open?.block === undefined) throw new Error('no block is open');
    return this.#open.block.view;
  }

  /** True: copied, the caller may forget the bytes. False: they must not change until a later mark is reported. */
  bytes(b: Uint8Array): boolean {
    if (b.length <= COPY_MAX_BYTES) {
      const at = this.reserve(b.length);
      this.#open?.block?.bytes.set(b, at);
      return true;
    }
    this.#seal();
    const piece = this.#newPiece(undefined);
    piece.length = b.length;
    this.#unsentBytes += b.length;
    this.#inSocket.push(piece);
    this.#socket.write(b, this.#sent);
    return false;
  }

  /** Asks for `onMark(tag)` when all that was added so far is with the kernel. */
  mark(tag: number): void {
    const piece = this.#open ?? this.#inSocket.last();
    if (piece === undefined) this.#onMark(tag);
    else piece.marks.push(tag);
  }

  flush(): void {
    this.#flushWanted = false;
    this.#seal();
  }

  /** The socket is gone: nothing more is sent or reported. */
  drop(): void {
    this.#dropped = true;
    this.#open = undefined;
    this.#inSocket.clear();
    this.#unsentBytes = 0;
  }

  #newPiece(block: Block | undefined): Piece {
    const piece = this.#sparePieces.pop();
    if (piece === undefined) return { block, length: 0, marks: [] };
    piece.block = block;
    piece.length = 0;
    return piece;
  }

  #seal(): void {
    const piece = this.#open;
    if (piece?.block === undefined) return;
    this.#open = undefined;
    if (this.#dropped) return;
    this.#inSocket.push(piece);
    this.#socket.write(piece.block.bytes.subarray(0, piece.length), this.#sent);
  }

  #pieceSent(): void {
    if (this.#dropped) return;
    const piece = this.#inSocket.shift();
    if (piece === undefined) throw new Error('the socket reported more writes than were made');
    this.#unsentBytes -= piece.length;
    this.#sentBytes += piece.length;
    if (piece.block !== undefined) this.#pool.give(piece.block);
    piece.block = undefined;
    for (const tag of piece.marks) this.#onMark(tag);
    piece.marks.length = 0;
    this.#sparePieces.push(piece);
  }
}
