const HELD_MAX = 8;

/** One change of role at a time. */
export class Mutex {
  #last: Promise<void> = Promise.resolve();
  #held = 0;

  get busy(): boolean {
    return this.#held > 0;
  }

  /** So many wait that more of them would only pile up behind one that does not end. */
  get isFull(): boolean {
    return this.#held >= HELD_MAX;
  }

  async run<T>(f: () => Promise<T>): Promise<T> {
    const before = this.#last;
    let done: () => void = () => undefined;
    this.#last = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#held += 1;
    await before;
    try {
      return await f();
    } finally {
      this.#held -= 1;
      done();
    }
  }
}
