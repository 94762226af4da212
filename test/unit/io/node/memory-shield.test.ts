import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  MemoryShield,
  memoryShield,
  nodeShieldSystem,
  type PressureCalls,
  SHIELDED_SCORE,
  shieldChoice,
  shieldLines,
  type ShieldSystem,
} from '../../../../src/io/node/memory-shield.ts';
import { nodePrograms } from '../../../../src/io/node/programs.ts';
import { Errno, IoError } from '../../../../src/io/types.ts';

/** A kernel that refuses what it is told to. */
class Kernel implements ShieldSystem {
  score = 0;
  flusher = false;
  refuses: { flusher?: number; threads?: number; score?: number; lock?: number } = {};
  calls: PressureCalls | undefined = {
    ioFlusher: () => this.calls?.ioFlusherHere(true) || (this.refuses.threads ?? 0),
    ioFlusherHere: (on) => {
      if (this.refuses.flusher !== undefined) return this.refuses.flusher;
      this.flusher = on;
      return 0;
    },
    lockMemory: () => this.refuses.lock ?? 0,
  };

  readScore(): number {
    return this.score;
  }

  /** Higher is always allowed. */
  writeScore(score: number): void {
    if (score < this.score && this.refuses.score !== undefined) throw new IoError(this.refuses.score, 'oom_score_adj');
    this.score = score;
  }

  get seen(): { score: number; flusher: boolean } {
    return { score: this.score, flusher: this.flusher };
  }
}

function raised(kernel: Kernel): MemoryShield {
  const shield = new MemoryShield(kernel);
  shield.raise();
  return shield;
}

const bare = { score: 0, flusher: false };
const shielded = { score: SHIELDED_SCORE, flusher: true };

describe('the memory shield', () => {
  it('is in place where all is allowed, and says so in one line', () => {
    const kernel = new Kernel();
    const shield = raised(kernel);
    shield.engineMade(0);
    expect(kernel.seen).toEqual(shielded);
    expect(shieldLines(shield.facts)).toEqual([
      { level: 'info', message: 'shielded against a lack of memory', fields: { by: ['io-flusher', 'oom-score', 'locked-code', 'locked-engine'] } },
    ]);
  });

  it('names for each protection that was refused the error, and what would give it', () => {
    const kernel = new Kernel();
    kernel.refuses = { flusher: Errno.EPERM, score: Errno.EACCES, lock: Errno.ENOMEM };
    const shield = raised(kernel);
    shield.engineMade(Errno.ENOMEM);
    shield.engineMade(0);
    expect(kernel.seen).toEqual(bare);
    const lines = shieldLines(shield.facts);
    expect(lines.map((l) => [l.level, l.fields['error']])).toEqual([
      ['warn', 'EPERM'],
      ['warn', 'EACCES'],
      ['warn', 'ENOMEM'],
      ['warn', 'ENOMEM'],
    ]);
    expect(lines.map((l) => l.fields['remedy'])).toEqual([
      expect.stringContaining('CAP_SYS_RESOURCE'),
      expect.stringContaining('OOMScoreAdjust=-900'),
      expect.stringContaining('CAP_IPC_LOCK'),
      expect.stringContaining('CAP_IPC_LOCK'),
    ]);
  });

  it('lowers the score without the shim, and says what takes it', () => {
    const kernel = new Kernel();
    kernel.calls = undefined;
    const lines = shieldLines(raised(kernel).facts);
    expect(kernel.score).toBe(SHIELDED_SCORE);
    expect(lines.map((l) => [l.level, l.message])).toEqual([
      ['info', 'shielded against a lack of memory'],
      ['warn', expect.stringContaining('takes the native shim')],
    ]);
  });

  it('is not raised where it is off', () => {
    const shield = new MemoryShield(new Kernel());
    shield.engineMade(Errno.ENOMEM);
    expect(shieldLines(shield.facts)).toEqual([{ level: 'info', message: expect.stringContaining('=off') as string, fields: {} }]);
    for (const asked of [undefined, '', 'on']) expect(shieldChoice(asked)).toBe(true);
    expect(shieldChoice('off')).toBe(false);
    expect(() => shieldChoice('no')).toThrow('NETRAID_MEMORY_SHIELD=no: allowed are on and off');
  });

  it('leaves a lower score as it was given', () => {
    const kernel = new Kernel();
    kernel.score = -1000;
    raised(kernel);
    expect(kernel.score).toBe(-1000);
  });

  it.each([
    ['of before', 0, 0],
    ['of before, where that was higher', 300, 300],
    ['of others, where the unit had lowered ours', SHIELDED_SCORE, 0],
  ])('is not over a program outside, which gets the score %s, and is over us again after it', (_which, before, inherited) => {
    const kernel = new Kernel();
    kernel.score = before;
    const shield = raised(kernel);
    expect(shield.outside(() => kernel.seen)).toEqual({ score: inherited, flusher: false });
    expect(kernel.seen).toEqual(shielded);
    expect(() =>
      shield.outside(() => {
        throw new Error('no such program');
      }),
    ).toThrow('no such program');
    expect(kernel.seen).toEqual(shielded);
  });

  it('is not over a program outside where some thread did not hear of it', () => {
    const kernel = new Kernel();
    kernel.refuses.threads = Errno.ETIMEDOUT;
    const shield = raised(kernel);
    expect(shieldLines(shield.facts).at(-1)?.fields['error']).toBe('ETIMEDOUT');
    expect(shield.outside(() => kernel.seen)).toEqual(bare);
    expect(kernel.seen).toEqual(shielded);
  });

  it('is over a program inside alone, when it is not over us', () => {
    const kernel = new Kernel();
    const shield = new MemoryShield(kernel);
    expect(shield.inside(() => kernel.seen)).toEqual({ result: shielded, errnos: [] });
    expect(kernel.seen).toEqual(bare);
    expect(shield.outside(() => kernel.seen)).toEqual(bare);
  });

  it('tells what a program inside lacks', () => {
    const kernel = new Kernel();
    kernel.refuses = { flusher: Errno.EPERM, score: Errno.EACCES };
    expect(new MemoryShield(kernel).inside(() => kernel.seen)).toEqual({ result: bare, errnos: [Errno.EPERM, Errno.EACCES] });
  });
});

describe("this process's own shield", () => {
  const score = (): number => nodeShieldSystem().readScore();

  it('is over it as far as it may be, and not over the programs that it starts', async () => {
    const before = score();
    memoryShield().raise();
    const { facts } = memoryShield();
    if (!facts.tried) throw new Error('it was raised');
    expect(facts.errnos['oom-score']).toBeOneOf([0, Errno.EACCES]);
    expect(score()).toBe(facts.errnos['oom-score'] === 0 ? Math.min(before, SHIELDED_SCORE) : before);
    const hook = await nodePrograms.run(
      '/bin/cat',
      ['/proc/self/oom_score_adj', '/proc/self/stat'],
      {},
      { timeoutMs: 5000, graceMs: 1000, outputMaxBytes: 4096 },
    );
    const [line, stat] = hook.output.split('\n');
    expect(Number(line)).toBe(before > SHIELDED_SCORE ? before : 0);
    // Fields behind the name, which may hold blanks; the ninth of all are the flags, among them PF_MEMALLOC_NOIO.
    const flags = Number((stat ?? '').split(') ')[1]?.split(' ')[6]);
    expect(flags & 0x80000).toBe(0);
    expect(readFileSync('/proc/self/status', 'utf8')).toMatch(/^VmLck:\s+\d+ kB$/m);
  });
});
