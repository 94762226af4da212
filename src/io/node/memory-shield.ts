/**
 * What keeps this process from waiting for itself when memory is short: a filesystem on our device is written out through us.
 *
 *   io-flusher     the kernel gives our threads memory without waiting for dirty pages (PR_SET_IO_FLUSHER)
 *   oom-score      others are killed first
 *   locked-code    what has been touched of our code is not evicted; native-shims/pressure.c says why not all memory is locked
 *   locked-engine  nor are the engine's tables, and the buffers that it has ahead
 *
 * Programs inherit the first two from the main thread, at the moment they are started. So hooks are started outside of the
 * shield: they may start a database, which is no part of the device. What carries the device (nbdfuse, nbd-client) is started
 * inside of it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { errnoName } from '../types.ts';
import { errnoOf } from './errors.ts';
import { loadShim } from './native-shim.ts';

/**
 * Behind whatever else can be killed, and not beyond reach: memory that runs away in the daemon itself, nine tenths of all there
 * is, must not cost the machine.
 */
export const SHIELDED_SCORE = -900;
const SCORE_PATH = '/proc/self/oom_score_adj';

/** native-shims/pressure.c; each answers 0 or an errno. */
export interface PressureCalls {
  /** All threads there are, and those that they start. */
  ioFlusher(): number;
  /** This thread, and what it starts. */
  ioFlusherHere(on: boolean): number;
  /** What there is, and engines made from now on. */
  lockMemory(): number;
}

/** The process as the kernel knows it. */
export interface ShieldSystem {
  /** Undefined when the shim was not built. */
  readonly calls: PressureCalls | undefined;
  /** The score that the OOM killer adds. */
  readScore(): number;
  writeScore(score: number): void;
}

export type Protection = 'io-flusher' | 'oom-score' | 'locked-code' | 'locked-engine';

/** One errno for each protection that was tried, 0 where it is in place; or why nothing was. */
export type ShieldFacts = { tried: false } | { tried: true; shim: boolean; errnos: Readonly<Partial<Record<Protection, number>>> };

export interface ShieldLine {
  level: 'info' | 'warn';
  message: string;
  fields: Record<string, unknown>;
}

/** What its lack means, and what would give it. */
const lacks: Record<Protection, { means: string; remedy: string }> = {
  'io-flusher': {
    means: 'short of memory, the daemon may wait for dirty pages that only it can write: PR_SET_IO_FLUSHER is not set in all threads',
    remedy: 'CAP_SYS_RESOURCE, and Linux 5.6 or later',
  },
  'oom-score': {
    means: 'short of memory, the kernel may kill the daemon before others: its OOM score could not be lowered',
    remedy: `CAP_SYS_RESOURCE, or OOMScoreAdjust=${String(SHIELDED_SCORE)} in its systemd unit`,
  },
  'locked-code': {
    means: "short of memory, the kernel may evict the daemon's code: it could not be locked",
    remedy: 'CAP_IPC_LOCK, or LimitMEMLOCK=infinity in its systemd unit',
  },
  'locked-engine': {
    means: "short of memory, the kernel may swap the engine's tables and buffers out: they could not be locked",
    remedy: 'CAP_IPC_LOCK, or LimitMEMLOCK=infinity in its systemd unit',
  },
};

/** For the daemon's log, once: a line for what is in place, and one for each protection that is not. */
export function shieldLines(facts: ShieldFacts): ShieldLine[] {
  if (!facts.tried) return [{ level: 'info', message: 'NETRAID_MEMORY_SHIELD=off: nothing is done against a lack of memory', fields: {} }];
  const lines: ShieldLine[] = [];
  const inPlace: string[] = [];
  for (const [protection, { means, remedy }] of Object.entries(lacks)) {
    const errno = facts.errnos[protection as Protection];
    if (errno === 0) inPlace.push(protection);
    else if (errno !== undefined) lines.push({ level: 'warn', message: means, fields: { error: errnoName(errno), remedy } });
  }
  if (!facts.shim) {
    const message =
      'short of memory, the daemon may wait for dirty pages that only it can write, and its code be evicted: that takes the native shim';
    lines.push({ level: 'warn', message, fields: { remedy: 'npm run install, where a compiler and Python are' } });
  }
  if (inPlace.length > 0) lines.unshift({ level: 'info', message: 'shielded against a lack of memory', fields: { by: inPlace } });
  return lines;
}

/** NETRAID_MEMORY_SHIELD: `on` (also when unset or empty) or `off`. Throws for any other, naming those. */
export function shieldChoice(asked: string | undefined): boolean {
  if (asked === undefined || asked === '' || asked === 'on') return true;
  if (asked === 'off') return false;
  throw new Error(`NETRAID_MEMORY_SHIELD=${asked}: allowed are on and off`);
}

export class MemoryShield {
  readonly #system: ShieldSystem;
  /** What this process has changed, and programs therefore must not inherit. */
  #flusher = false;
  #facts: ShieldFacts = { tried: false };
  /** The score that programs started outside get; undefined: ours. */
  #ordinaryScore: number | undefined;

  constructor(system: ShieldSystem) {
    this.#system = system;
  }

  /** Before the engine is made: its threads inherit, and its memory is locked as it comes. */
  raise(): void {
    const { calls } = this.#system;
    const score = { 'oom-score': this.#lowerScore() };
    if (calls === undefined) {
      this.#facts = { tried: true, shim: false, errnos: score };
      return;
    }
    const errnos = { 'io-flusher': calls.ioFlusher(), ...score, 'locked-code': calls.lockMemory() };
    // Also where a thread among many did not hear of it.
    this.#flusher = errnos['io-flusher'] === 0 || calls.ioFlusherHere(true) === 0;
    this.#facts = { tried: true, shim: true, errnos };
  }

  /** An engine was made, and its memory was locked with this errno. */
  engineMade(errno: number): void {
    const f = this.#facts;
    if (!f.tried) return;
    const before = f.errnos['locked-engine'] ?? 0;
    this.#facts = { ...f, errnos: { ...f.errnos, 'locked-engine': before === 0 ? errno : before } };
  }

  get facts(): ShieldFacts {
    return this.#facts;
  }

  #lowerScore(): number {
    return this.#trying(() => {
      const before = this.#system.readScore();
      if (before > SHIELDED_SCORE) this.#system.writeScore(SHIELDED_SCORE);
      // Where it was given from outside, such as by systemd, it was meant for the daemon alone too.
      this.#ordinaryScore = before > SHIELDED_SCORE ? before : 0;
    });
  }

  /** `start` starts a program, at once, that is no part of the device: it gets nothing of the shield. */
  outside<T>(start: () => T): T {
    const score = this.#ordinaryScore;
    return this.#whileIt({ flusher: this.#flusher ? false : undefined, score }, start).result;
  }

  /** `start` starts a program, at once, that carries the device. `errnos`: what it lacks. */
  inside<T>(start: () => T): { result: T; errnos: number[] } {
    return this.#whileIt({ flusher: true, score: SHIELDED_SCORE }, start);
  }

  #whileIt<T>(as: { flusher: boolean | undefined; score: number | undefined }, start: () => T): { result: T; errnos: number[] } {
    const { calls } = this.#system;
    const undo: (() => number)[] = [];
    const errnos: number[] = [];
    const change = (errno: number, back: () => number): void => {
      if (errno === 0) undo.push(back);
      else errnos.push(errno);
    };
    if (calls !== undefined && as.flusher !== undefined) change(calls.ioFlusherHere(as.flusher), () => calls.ioFlusherHere(this.#flusher));
    if (as.score !== undefined) {
      const { score } = as;
      let before = score;
      change(
        this.#trying(() => {
          before = this.#system.readScore();
          if (before !== score) this.#system.writeScore(score);
        }),
        () =>
          this.#trying(() => {
            if (before !== score) this.#system.writeScore(before);
          }),
      );
    }
    try {
      return { result: start(), errnos };
    } finally {
      // We could do this before; where we no longer can, that is told and nothing else ends.
      for (const errno of undo.map((back) => back()).filter((e) => e !== 0)) {
        process.emitWarning(`the memory shield is down since a program was started: ${errnoName(errno)}`);
      }
    }
  }

  #trying(f: () => void): number {
    try {
      f();
      return 0;
    } catch (e: unknown) {
      const errno = errnoOf(e);
      if (errno === undefined) throw e;
      return errno;
    }
  }
}

function isPressure(shim: object): shim is PressureCalls {
  return 'ioFlusher' in shim && 'ioFlusherHere' in shim && 'lockMemory' in shim;
}

export function nodeShieldSystem(): ShieldSystem {
  const shim = loadShim();
  return {
    calls: shim !== undefined && isPressure(shim) ? shim : undefined,
    readScore: () => Number(readFileSync(SCORE_PATH, 'utf8')),
    writeScore: (score) => {
      writeFileSync(SCORE_PATH, String(score));
    },
  };
}

let shield: MemoryShield | undefined;

/** This process's own. */
export function memoryShield(): MemoryShield {
  shield ??= new MemoryShield(nodeShieldSystem());
  return shield;
}
