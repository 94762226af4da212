/** Who takes a socket's descriptor over. One of the two is called, once, in the same turn or later. */
export interface Taker {
  /** `fd` is open during the call, and to be duplicated; `unread` arrived and was delivered to nobody. */
  take(fd: number, unread: Uint8Array): void;
  /** The socket closed before. errno 0: the peer ended in order. */
  gone(errno: number): void;
}
