/** Who takes a socket's descriptor over. One of the two is called, once, in the same turn or later. */
export interface Taker {
  /**
   * `fd` is open during the call, and to be duplicated; `unread` arrived and was delivered to nobody. `ended`, where there is one, is to
   * be told when whoever took it has closed it, with the errno that it had for that.
   */
  take(fd: number, unread: Uint8Array, ended?: (errno: number) => void): void;
  /** The socket closed before. errno 0: the peer ended in order. */
  gone(errno: number): void;
}
