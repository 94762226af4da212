/** Which bytes of a READ's answer have come, when its chunks may come in any order but never twice. */
export class Coverage {
  /** Sorted, apart from each other: from, to, from, to … */
  readonly #edges: number[] = [];

  clear(): void {
    this.#edges.length = 0;
  }

  /** False when a byte of it had come before. `from` < `to`. */
  add(from: number, to: number): boolean {
    const e = this.#edges;
    let i = e.length;
    while (i > 0 && (e[i - 2] ?? 0) >= from) i -= 2;
    const before = i > 0 ? (e[i - 1] ?? 0) : -1;
    const after = i < e.length ? (e[i] ?? 0) : Infinity;
    if (before > from || to > after) return false;
    const joinsBefore = before === from;
    const joinsAfter = to === after;
    if (joinsBefore && joinsAfter) e.splice(i - 1, 2);
    else if (joinsBefore) e[i - 1] = to;
    else if (joinsAfter) e[i] = from;
    else e.splice(i, 0, from, to);
    return true;
  }

  isAll(length: number): boolean {
    return length === 0 || (this.#edges.length === 2 && this.#edges[0] === 0 && this.#edges[1] === length);
  }
}
