/** What can happen next to the tiny world: crash, return, cut, heal, write (whole, or torn by a crash), resync done, force. */
import type { Event } from './host.ts';
import type { World } from './world.ts';

export function eventsOf(w: World): Event[] {
  const found: Event[] = [];
  for (const n of w.names) {
    const h = w.host(n);
    if (!h.up) found.push({ kind: 'return', node: n });
    else found.push({ kind: 'crash', node: n });
    if (h.serving) {
      found.push({ kind: 'write', node: n }, { kind: 'torn', node: n });
      if (Object.values(h.links).includes('in-sync')) found.push({ kind: 'torn-on-target', node: n });
      for (const [target, state] of Object.entries(h.links)) if (state === 'resync') found.push({ kind: 'resynced', node: n, target });
    }
    if (h.up && !h.serving) found.push({ kind: 'force', node: n });
    for (const b of w.names) {
      if (b <= n) continue;
      const cut = w.cuts.includes(`${n}-${b}`);
      found.push({ kind: cut ? 'heal' : 'cut', a: n, b });
    }
  }
  return found;
}
