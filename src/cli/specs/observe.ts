/** Commands that look, and change nothing but marks. */
import type { CommandSpec } from '../spec.ts';
import { tag, watch } from './parts.ts';

const loadStatus = () => import('../commands/status.ts');

export const observeCommands: readonly CommandSpec[] = [
  {
    name: 'status',
    summary: 'shows one mirror, or all of this node',
    positionals: [{ ...tag, required: false }],
    options: [watch],
    examples: [
      ['netraid status', 'all, one line each'],
      ['netraid status datarep-ext3 --json', 'one, with everything'],
    ],
    load: async () => (await loadStatus()).status,
  },
  {
    name: 'verify',
    summary: 'compares all legs online; what differs is resynced',
    detail: 'Exit code 1 when something differs, or a target could not be compared.',
    positionals: [tag],
    options: [],
    examples: [['netraid verify datarep-ext3', 'shows progress, then ranges that differ']],
    load: async () => (await import('../commands/verify.ts')).verify,
  },
  {
    name: 'events',
    summary: 'follows what happens',
    positionals: [{ ...tag, required: false }],
    options: [{ name: 'count', value: 'N', describe: 'end after this many' }],
    examples: [['netraid events --json', 'one JSON object a line']],
    load: async () => (await import('../commands/events.ts')).events,
  },
  {
    name: 'explain',
    summary: 'says what this node would decide now, by which rule, and why',
    positionals: [tag],
    options: [
      { name: 'what-if', value: 'TEXT', describe: 'decide as if: "NODE lost", "NODE back", "in-service", "force" or "force --without-last-owner"' },
    ],
    examples: [['netraid explain datarep-ext3 --what-if "server1 lost"', 'who would take over']],
    load: async () => (await import('../commands/explain.ts')).explain,
  },
  {
    name: 'info',
    summary: 'shows this node, its cluster and who can be reached',
    positionals: [],
    options: [],
    examples: [['netraid info', 'name, version, peers']],
    load: async () => (await loadStatus()).info,
  },
];
