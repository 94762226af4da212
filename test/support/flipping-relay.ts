/** A wire that can be told to turn bits over in what passes, one in each piece, as a bad memory on the way would. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type AddressInfo } from 'node:net';

/** From the one who connects, or to it. */
export type Way = 'there' | 'back';

interface Order {
  way: Way;
  /** Only in pieces of at least so many bytes, of connections that have carried at least so many there. */
  pieceMinBytes: number;
  carriedMinBytes: number;
  /** Pieces still to be damaged. */
  times: number;
  done: () => void;
}

export class FlippingRelay {
  readonly #servers = new Set<Server>();
  readonly #sockets = new Set<Socket>();
  #orders: Order[] = [];

  /** A port of 127.0.0.1 that leads to another, where all come from the address `from`. */
  async open(toPort: number, from = '127.0.0.1'): Promise<number> {
    const server = createServer({ noDelay: true }, (near) => {
      const far = connect({ host: '127.0.0.1', port: toPort, localAddress: from, noDelay: true });
      const carried = { there: 0, back: 0 };
      this.#carry(near, far, 'there', carried);
      this.#carry(far, near, 'back', carried);
    });
    this.#servers.add(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return (server.address() as AddressInfo).port;
  }

  /** Once, or in so many pieces; resolves when all that has been done. */
  flip(way: Way, o: { pieceMinBytes: number; carriedMinBytes: number }, times = 1): Promise<void> {
    return new Promise((resolve) => {
      this.#orders.push({ way, ...o, times, done: resolve });
    });
  }

  /** What was ordered and has not been done is not done. */
  forget(): void {
    this.#orders = [];
  }

  async close(): Promise<void> {
    for (const s of this.#sockets) s.destroy();
    await Promise.all(
      [...this.#servers].map(
        (s) =>
          new Promise((resolve) => {
            s.close(resolve);
          }),
      ),
    );
  }

  #carry(from: Socket, to: Socket, way: Way, carried: Record<Way, number>): void {
    this.#sockets.add(from);
    from.on('data', (piece: Buffer) => {
      carried[way] += piece.length;
      const order = this.#orders.find((o) => o.way === way && piece.length >= o.pieceMinBytes && carried.there >= o.carriedMinBytes);
      if (order !== undefined) {
        order.times -= 1;
        if (order.times === 0) this.#orders = this.#orders.filter((o) => o !== order);
        const at = piece.length >> 1;
        piece.writeUInt8(piece.readUInt8(at) ^ 0x10, at);
        if (order.times === 0) order.done();
      }
      if (!to.write(piece)) from.pause();
    });
    to.on('drain', () => {
      from.resume();
    });
    from.on('end', () => {
      to.end();
    });
    // Each is followed by its close.
    from.on('error', () => from.destroy());
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}
