/**
 * A small core of situations, crossed with facts that are as usual in it:
 *
 *   core x each value of each fact            `crossed`: nothing else is unusual
 *   core x each two values of two facts       `crossedByTwo`: what one fact does to another
 *
 * A value that says nothing in a situation (a word of a node that is not heard) is left out there: it would be the same once more.
 */
export interface Value<T> {
  name: string;
  /** Pure; null: it says nothing there. */
  in: (at: T) => T | null;
}

/** `values`: all but the usual one. */
export interface Fact<T> {
  name: string;
  values: readonly Value<T>[];
}

export interface Crossed<T> {
  at: T;
  /** The same without the value that was put in last. */
  without: T;
  /** Of the fact that was put in last. */
  last: string;
  /** For the one who reads a complaint. */
  of: string;
}

export function* crossed<T>(core: Iterable<T>, facts: readonly Fact<T>[]): Generator<Crossed<T>> {
  for (const without of core)
    for (const fact of facts)
      for (const value of fact.values) {
        const at = value.in(without);
        if (at !== null) yield { at, without, last: fact.name, of: value.name };
      }
}

/** Facts are put in in their order: a later one may look at what an earlier one has said. */
export function* crossedByTwo<T>(core: Iterable<T>, facts: readonly Fact<T>[]): Generator<Crossed<T>> {
  for (const usual of core)
    for (const [i, first] of facts.entries())
      for (const one of first.values) {
        const without = one.in(usual);
        if (without === null) continue;
        for (const second of facts.slice(i + 1))
          for (const other of second.values) {
            const at = other.in(without);
            if (at !== null) yield { at, without, last: second.name, of: `${one.name}; ${other.name}` };
          }
      }
}
