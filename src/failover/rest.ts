/**
 * Between two tries to connect a target its link rests; an operator's word that is about the next try is not kept waiting by that.
 *
 * Invariant: a word ends one rest, that of now or the next one, also when it is given while the try before is still coming to its end.
 */
import type { Clock } from '../io/types.ts';

export class Rest {
  readonly #clock: Pick<Clock, 'after'>;
  #called = false;
  #wake: () => void = () => undefined;

  constructor(clock: Pick<Clock, 'after'>) {
    this.#clock = clock;
  }

  /** A try begins: what has been said so far, it knows. */
  tries(): void {
    this.#called = false;
  }

  end(): void {
    this.#called = true;
    this.#wake();
  }

  /** So long, or until it is ended. */
  take(ms: number): Promise<void> {
    if (this.#called) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#clock.after(ms, resolve);
      this.#wake = (): void => {
        timer.cancel();
        resolve();
      };
    });
  }
}
