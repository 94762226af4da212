/**
 * Who leaves when all places are taken by strangers: of the address that holds most of them, whoever has been there longest.
 * One that comes and soon goes on, as an honest peer does, is pushed out only by a crowd from its own address. Pure.
 */
export function crowdedOut<T>(places: Iterable<T>, hostOf: (place: T) => string): T | undefined {
  const oldest = new Map<string, { first: T; count: number }>();
  for (const p of places) {
    const host = hostOf(p);
    const seen = oldest.get(host);
    if (seen === undefined) oldest.set(host, { first: p, count: 1 });
    else seen.count += 1;
  }
  let worst: { first: T; count: number } | undefined;
  // Of equals the one that was there first: maps keep their order.
  for (const h of oldest.values()) if (worst === undefined || h.count > worst.count) worst = h;
  return worst?.first;
}
