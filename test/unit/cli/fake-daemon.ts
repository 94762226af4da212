/** A daemon that answers from a table, and what a command needs besides. */
import { webcrypto } from 'node:crypto';
import { BufferTerminal, type BufferTerminalOptions } from '../../../src/cli/buffer-terminal.ts';
import { runCommandLine } from '../../../src/cli/run.ts';
import type { BlockDevices, World } from '../../../src/cli/world.ts';
import {
  type ActionName,
  type Actions,
  type ControlClient,
  ControlError,
  type ControlEvent,
  type MirrorStatus,
  type TargetStatus,
} from '../../../src/control/types.ts';
import type { Clock, Files } from '../../../src/io/types.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

type Handlers = { [A in ActionName]?: (p: Actions[A]['params']) => Actions[A]['result'] };

export class FakeDaemon implements ControlClient {
  handlers: Handlers;
  readonly calls: [ActionName, unknown][] = [];
  onEvent: ((e: ControlEvent) => void) | undefined;
  onEnd: ((why: ControlError) => void) | undefined;
  eventsToCome: ControlEvent[] = [];
  eventsStopped = false;

  constructor(handlers: Handlers = {}) {
    this.handlers = handlers;
  }

  call<A extends ActionName>(action: A, params: Actions[A]['params']): Promise<Actions[A]['result']> {
    this.calls.push([action, params]);
    const handler = this.handlers[action];
    if (handler === undefined) return Promise.reject(new ControlError('internal', `the fake daemon has no ${action}`));
    return new Promise((resolve) => {
      resolve(handler(params));
    });
  }

  events(onEvent: (e: ControlEvent) => void, onEnd?: (why: ControlError) => void): Promise<{ stop(): void }> {
    this.onEvent = onEvent;
    this.onEnd = onEnd;
    for (const e of this.eventsToCome) onEvent(e);
    return Promise.resolve({
      stop: () => {
        this.eventsStopped = true;
      },
    });
  }

  /** Names of the actions called, without those that only look. */
  changes(): ActionName[] {
    const looks: ActionName[] = ['info', 'list', 'status', 'preview', 'explain', 'verify-result'];
    return this.calls.map(([a]) => a).filter((a) => !looks.includes(a));
  }
}

export function target(node: string, over: Partial<TargetStatus> = {}): TargetStatus {
  return {
    node,
    state: 'Target',
    detail: '',
    mode: 'sync',
    foreign: false,
    priority: 10,
    progress: null,
    dirtyBytes: 0,
    dirtyRegions: 0,
    queuedWrites: 0,
    queuedBytes: 0,
    rule: null,
    lastResync: null,
    ...over,
  };
}

export function mirror(over: Partial<MirrorStatus> = {}): MirrorStatus {
  return {
    tag: 'datarep-ext3',
    node: 'server1',
    state: 'Source',
    inService: true,
    source: 'server1',
    sizeBytes: 1024 * 1024 * 1024,
    sectorBytes: 512,
    regionBytes: 65536,
    regions: 16384,
    leg: '/dev/sdb1',
    flags: { lastOwner: true, source: 'server1', dataCorrupt: false },
    generation: '0123456789abcdef',
    epoch: { number: 3, owner: 'server1' },
    decision: { action: 'go-in-service', rule: 'evidence', why: 'every required node is reachable' },
    intentBytes: 0,
    localLeg: 'in',
    nodes: {
      server1: { priority: 1, mode: 'sync', foreign: false, reachable: true },
      server2: { priority: 10, mode: 'sync', foreign: false, reachable: true },
    },
    targets: [target('server2')],
    verify: null,
    snapshots: [],
    export: { socketPath: '/r/run/nbd.sock', name: 'datarep-ext3' },
    failureTimeoutMs: 2000,
    failover: 'auto',
    confirm: null,
    takeoverAfterCleanStop: false,
    arbiter: 'none',
    arbiterOverruled: false,
    waitForPreviousSourceSec: -1,
    checkpoints: [],
    suspended: null,
    ...over,
  };
}

export const resyncing = target('server2', {
  state: 'Resyncing',
  progress: { kind: 'partial', totalBytes: 3.1 * 2 ** 30, doneBytes: 1.2 * 2 ** 30, bytesPerSec: 161793 * 1024, secondsLeft: 12.3 },
  dirtyRegions: 9921,
  dirtyBytes: 9921 * 65536,
  rule: 'serving',
});

export function harmless(
  lines: string[] = ['server1 -> server2: all bytes on server2 are overwritten'],
  over: Partial<Actions['preview']['result']> = {},
) {
  return (): Actions['preview']['result'] => ({
    lines,
    bytesOverwritten: 1024,
    lastOwnerHere: true,
    refused: null,
    confirms: [],
    by: 'server1',
    ...over,
  });
}

/** Time passes at once, in the order of its timers. */
export function quickClock(): Clock {
  let now = 0;
  return {
    now: () => now,
    wallNow: () => now,
    after(ms, f) {
      const immediate = setImmediate(() => {
        now += ms;
        f();
      });
      return {
        cancel: () => {
          clearImmediate(immediate);
        },
      };
    },
    soon(f) {
      setImmediate(f);
    },
  };
}

export interface Ran {
  code: number;
  out: string[];
  errors: string[];
  terminal: BufferTerminal;
}

export interface RunOptions extends BufferTerminalOptions {
  files?: Files;
  devices?: BlockDevices;
  clock?: Clock;
}

/** Runs a command as from a shell; words are parted by blanks, none of which is in a word. */
export async function run(command: string | readonly string[], client: ControlClient, o: RunOptions = {}): Promise<Ran> {
  const terminal = new BufferTerminal(o);
  const { devices } = o;
  const world: World = {
    client: () => client,
    terminal,
    clock: o.clock ?? quickClock(),
    files: o.files ?? new MemoryFiles(),
    devices: devices === undefined ? null : () => Promise.resolve(devices),
    crypto: webcrypto,
    version: '9.9.9',
  };
  const code = await runCommandLine(typeof command === 'string' ? command.split(' ').filter((w) => w !== '') : command, world);
  return { code, out: terminal.out, errors: terminal.errors, terminal };
}
