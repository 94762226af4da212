/**
 * When what came damaged is sent again, and when it is too much. Pure but for whom it tells.
 *
 * Three in a row are too much, and both readings of that count: one payload that was damaged each time it was sent, since others
 * that come through meanwhile do not help it (M14); and three answers running, to whatever requests, since a way that damages all that
 * passes is not tried with every one of them.
 */
export const MISMATCHES_MAX = 3;

export class Mismatches {
  readonly #told: () => void;
  #running = 0;

  constructor(told: () => void) {
    this.#told = told;
  }

  /** `sent`: how often this payload has been. Why the connections are given up; undefined: it is sent again. */
  met(sent: number): string | undefined {
    this.#told();
    this.#running += 1;
    if (sent >= MISMATCHES_MAX) return `one payload did not match its checksum ${String(sent)} times in a row`;
    if (this.#running >= MISMATCHES_MAX) return `${String(this.#running)} payloads in a row did not match their checksums`;
    return undefined;
  }

  /** A header: nobody knows what it said, so that its connection has ended. */
  metHeader(): void {
    this.#told();
  }

  answeredWell(): void {
    this.#running = 0;
  }
}
