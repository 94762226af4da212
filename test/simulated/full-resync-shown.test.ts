/** Both directions of one check: a split brain that an operator ends by a full resync counts as shown when the preview has shown it to him. */
import { expect, it, vi } from 'vitest';
import type * as Preview from '../../src/control/preview.ts';
import type { Script } from './support/actions.ts';
import { type HistoryReport, runHistory } from './support/history.ts';

/** Of a daemon that does not say what it will do. */
const lines = vi.hoisted(() => ({ withheld: false }));
vi.mock('../../src/control/preview.ts', async (load) => {
  const real = await load<typeof Preview>();
  const preview: typeof real.preview = (m, p) => ({ ...real.preview(m, p), ...(lines.withheld && p.action === 'fullresync' ? { lines: [] } : {}) });
  return { ...real, preview };
});

const CUT_AT = 3000;
const HEAL_AT = 4500;

/** Both serve and write apart, and again and again a full resync is ordered of the one that stops, until it can be. */
const script: Script = {
  actions: [
    { at: CUT_AT, action: { do: 'cut', a: 'server1', b: 'server2', network: null } },
    { at: HEAL_AT, action: { do: 'heal', a: 'server1', b: 'server2', network: null } },
    ...Array.from({ length: 20 }, (_, i) => ({
      at: HEAL_AT + 100 * (i + 1),
      action: { do: 'command' as const, node: 'server2', command: 'fullresync' as const, nodes: ['server1'] },
    })),
  ],
  endAt: HEAL_AT + 2500,
};

const lived = (): Promise<HistoryReport> => runHistory(5, { nodes: 2, arbiter: 'none', only: new Set(['cuts', 'operator']), script });

it('a full resync over a split brain that was shown breaks nothing', async () => {
  const h = await lived();
  expect(h.failure).toBeUndefined();
  expect(h.counts['split brain decided by a full resync']).toBe(1);
});

it('the same that was not shown breaks M10, though the nodes themselves know of it', async () => {
  lines.withheld = true;
  const h = await lived();
  expect(h.failure?.promise).toBe('M10');
  expect(h.failure?.what).toContain('lost without a split brain being shown');
});
