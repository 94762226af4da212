/** One change of role at a time. */
export class Mutex {
  #last: Promise<void> = Promise.resolve();
  #held = 0;

  get busy(): boolean {
    return this.#held > 0;
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
