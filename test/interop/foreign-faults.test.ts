/**
 * What can go wrong with a target that nobody here wrote, while an application writes: each fault is made by nbdkit, or done to the
 * server's process. The application is answered correctly and in time; the leg leaves, says why, and returns by a partial resync from
 * our own record when the fault is gone; both images are the same in the end.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { Daemons } from '../support/daemons.ts';
import { ENGINES, FAILURE_TIMEOUT_MS, MIB, SIZE, Stage, startEngines } from '../support/foreign-stage.ts';
import { testWith } from '../support/programs.ts';

/** Beyond failureTimeout: before the application hears, marks, record and generation are made durable, on a disk that others use too. */
const SLACK_MS = 1500;
/** Where the application writes while the fault lasts: what is copied then is less than the whole. */
const WINDOW_BYTES = 2 * MIB;
const ENOUGH = 40;

let daemons: Daemons;

beforeAll(async () => {
  daemons = await startEngines();
});

afterAll(async () => {
  await daemons.close();
});

interface Fault {
  title: string;
  programs: readonly string[];
  open: (s: Stage) => Promise<void>;
  begin: (s: Stage) => Promise<void> | void;
  end: (s: Stage) => Promise<void> | void;
  /** What the leg says of itself while the fault lasts; undefined: it stays in sync. */
  why: RegExp | undefined;
  /** Also in the portable engine. */
  both?: true;
}

const trigger = (s: Stage): string => s.file('trigger');
const pull = (s: Stage): void => {
  writeFileSync(trigger(s), '');
};
const letGo = (s: Stage): void => {
  rmSync(trigger(s), { force: true });
};
const kit =
  (...args: string[]) =>
  (s: Stage): Promise<void> =>
    s.nbdkit(args.map((a) => a.replaceAll('TRIGGER', trigger(s)).replaceAll('CONTROL', s.file('control'))));
const anew =
  (...args: string[]) =>
  (s: Stage): Promise<void> =>
    s.restart(args);

/** A server made of shell commands, that fails where they say so. */
const shell = (o: { flush?: string; pwrite?: string }): ((s: Stage) => Promise<void>) =>
  kit(
    'eval',
    `get_size=echo ${String(SIZE)}`,
    'pread=dd if=IMAGE iflag=skip_bytes,count_bytes,fullblock skip=$4 count=$3 bs=1M status=none',
    `pwrite=${o.pwrite ?? ''} dd of=IMAGE oflag=seek_bytes seek=$4 conv=notrunc bs=1M iflag=fullblock status=none`,
    'can_write=exit 0',
    'can_flush=exit 0',
    `flush=${o.flush ?? 'exit 0'}`,
  );

/** Says a letter to nbdkit's pause filter, and waits for its answer. */
const say = (s: Stage, letter: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const c = connect(s.file('control'), () => c.write(letter));
    c.on('error', reject).on('data', () => {
      c.destroy();
      resolve();
    });
  });

const SILENT = /no (reply|greeting) within 1500 ms/;
const GONE = /connection|ECONNREFUSED|ENOENT|closed/;
const FILE = ['file', 'IMAGE'];
const SLOW = ['delay-write=4', 'delay-zero=4', 'delay-trim=4'];

const faults: Fault[] = [
  {
    title: 'every request is answered with EIO',
    programs: ['nbdkit'],
    open: kit('--filter=error', ...FILE, 'error=EIO', 'error-rate=100%', 'error-file=TRIGGER'),
    begin: pull,
    end: letGo,
    why: /EIO/,
    both: true,
  },
  {
    title: 'its disk is full',
    programs: ['nbdkit'],
    open: kit('--filter=error', ...FILE, 'error-pwrite=ENOSPC', 'error-pwrite-rate=100%', 'error-pwrite-file=TRIGGER'),
    begin: pull,
    end: letGo,
    why: /ENOSPC/,
  },
  {
    title: 'zeroing and trimming fail, writing does not',
    programs: ['nbdkit'],
    open: kit('--filter=error', ...FILE, 'error-zero-rate=100%', 'error-zero-file=TRIGGER', 'error-trim-rate=100%', 'error-trim-file=TRIGGER'),
    begin: pull,
    end: letGo,
    why: /EIO/,
  },
  {
    title: 'reading fails, which nobody does',
    programs: ['nbdkit'],
    open: kit('--filter=error', ...FILE, 'error-pread-rate=100%', 'error-pread-file=TRIGGER'),
    begin: pull,
    end: letGo,
    why: undefined,
  },
  {
    title: 'each answer takes its time, less than failureTimeout',
    programs: ['nbdkit'],
    open: kit('--filter=delay', ...FILE, 'delay-write=60ms', 'delay-zero=60ms', 'delay-trim=60ms'),
    begin: () => undefined,
    end: () => undefined,
    why: undefined,
  },
  {
    title: 'each answer takes longer than failureTimeout',
    programs: ['nbdkit'],
    open: kit(...FILE),
    begin: anew('--filter=delay', ...FILE, ...SLOW),
    end: anew(...FILE),
    why: SILENT,
  },
  {
    title: 'its line has become slower than a request in failureTimeout',
    programs: ['nbdkit'],
    open: kit('--filter=rate', ...FILE, 'rate=8G', 'rate-file=TRIGGER'),
    begin: (s) => {
      writeFileSync(trigger(s), '64K\n');
    },
    end: (s) => {
      writeFileSync(trigger(s), '8G\n');
    },
    why: SILENT,
  },
  {
    title: 'it is paused, and goes on',
    programs: ['nbdkit'],
    open: kit('--filter=pause', ...FILE, 'pause-control=CONTROL'),
    begin: (s) => say(s, 'p'),
    end: (s) => say(s, 'r'),
    why: SILENT,
  },
  {
    title: 'it has come to be smaller than the mirror',
    programs: ['nbdkit'],
    open: kit(...FILE),
    begin: anew('--filter=truncate', ...FILE, 'truncate=4M'),
    end: anew(...FILE),
    why: /has 4194304 bytes, the mirror 8388608/,
  },
  {
    title: 'its only place is taken by somebody else',
    programs: ['nbdkit'],
    open: kit('--filter=limit', ...FILE, 'limit=9'),
    begin: async (s) => {
      // Whoever comes first has it: the mirror may, and then it is tried again.
      for (let taken = false; !taken; ) {
        await s.restart(['--filter=limit', ...FILE, 'limit=1']);
        taken = await s.occupy();
      }
    },
    end: (s) => {
      s.leave();
    },
    why: GONE,
  },
  {
    title: 'it takes larger blocks alone from now on',
    programs: ['nbdkit'],
    open: kit(...FILE),
    begin: anew('--filter=blocksize-policy', ...FILE, 'blocksize-minimum=4096', 'blocksize-error-policy=error'),
    end: anew(...FILE),
    why: /takes only blocks of 4096 bytes/,
  },
  {
    title: 'it has come to be read-only',
    programs: ['nbdkit'],
    open: kit(...FILE),
    begin: anew('-r', ...FILE),
    end: anew(...FILE),
    why: /is read-only/,
  },
  {
    title: 'its flush fails',
    programs: ['nbdkit', 'dd'],
    open: shell({ flush: 'if test -e TRIGGER; then echo EIO no disk >&2; exit 1; fi' }),
    begin: pull,
    end: letGo,
    why: /flush on elsewhere: EIO/,
    both: true,
  },
  {
    title: 'one write fails, once',
    programs: ['nbdkit', 'dd'],
    open: shell({ pwrite: 'if rm TRIGGER 2>/dev/null; then echo EIO a bad sector >&2; exit 1; fi;' }),
    begin: pull,
    end: () => undefined,
    why: /EIO/,
  },
  {
    title: 'it is killed, and started again',
    programs: ['nbdkit'],
    open: kit(...FILE),
    begin: (s) => s.server.kill(),
    end: (s) => s.server.start(),
    why: GONE,
    both: true,
  },
  {
    title: 'qemu-nbd is killed, and started again',
    programs: ['qemu-nbd'],
    open: (s) => s.qemuNbd(),
    begin: (s) => s.server.kill(),
    end: (s) => s.server.start(),
    why: GONE,
  },
  {
    title: 'nbd-server is killed, and started again',
    programs: ['nbd-server'],
    open: (s) => s.nbdServer(['flush = true', 'fua = true', 'trim = true']),
    begin: (s) => s.server.kill(),
    end: (s) => s.server.start(),
    why: GONE,
  },
  {
    title: 'it is frozen, and thaws',
    programs: ['nbdkit'],
    open: kit(...FILE),
    begin: (s) => {
      s.server.signal('SIGSTOP');
    },
    end: (s) => {
      s.server.signal('SIGCONT');
    },
    why: SILENT,
    both: true,
  },
];

describe.concurrent.each(ENGINES)('a foreign target, in the %s engine', (engine) => {
  for (const f of faults) {
    if (engine === 'portable' && f.both !== true) continue;
    testWith([...f.programs, 'qemu-img', 'truncate'], f.title, () =>
      Stage.run(daemons, engine, async (s) => {
        await f.open(s);
        await s.open();
        await s.answers(ENOUGH);
        s.app.within(WINDOW_BYTES);
        await s.answers(ENOUGH);
        s.app.measure();
        await f.begin(s);
        if (f.why !== undefined) {
          const why = f.why;
          await s.untilTarget('is out and says why', (t) => t.state !== 'Target' && why.test(t.detail));
          expect(s.logged(/elsewhere has left the mirror/).length).toBeGreaterThan(0);
        }
        await s.answers(ENOUGH);
        await f.end(s);
        await s.untilTarget('is in sync', (t) => t.state === 'Target');
        await s.answers(ENOUGH);
        const { longestMs } = s.app.measure();
        const { lastResync, foreign } = await s.end();
        expect(longestMs).toBeLessThan(FAILURE_TIMEOUT_MS + SLACK_MS);
        expect(foreign).toBe(true);
        if (f.why === undefined) expect(s.logged(/elsewhere has left the mirror/)).toEqual([]);
        else {
          expect(lastResync?.kind).toBe('partial');
          expect(lastResync?.bytes).toBeLessThan(SIZE);
        }
      }),
    );
  }
});
