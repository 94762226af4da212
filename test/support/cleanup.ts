/** What a test has made outside its process is taken away again in the opposite order, whatever else fails. */
export class Cleanup {
  readonly #steps: { what: string; step: () => Promise<void> | void }[] = [];

  /** To be called right after, or just before, the thing was made. */
  add(what: string, step: () => Promise<void> | void): void {
    this.#steps.push({ what, step });
  }

  /** Every step is tried; rejects with all that went wrong. */
  async run(): Promise<void> {
    const problems: string[] = [];
    for (;;) {
      const next = this.#steps.pop();
      if (next === undefined) break;
      try {
        await next.step();
      } catch (e: unknown) {
        problems.push(`${next.what}: ${e instanceof Error ? e.message : String(e)}`);
      }
    }
    if (problems.length > 0) throw new Error(`not cleaned up:\n${problems.join('\n')}`);
  }
}
