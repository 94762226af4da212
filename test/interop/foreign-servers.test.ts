/**
 * Which NBD servers that nobody here wrote can be targets, whatever they can do and can not: each is extended to, written to by an application, and holds the same in the end; who can not be one is refused, with the reason, and is not written to.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { type Daemons, storedBytes } from '../support/daemons.ts';
import { ELSEWHERE, ENGINES, MIB, PATIENT_MS, SIZE, Stage, startEngines } from '../support/foreign-stage.ts';
import { expectIdentical } from '../support/machine.ts';
import { runOk, testWith } from '../support/programs.ts';

const ENOUGH = 100;
const FILE = ['file', 'IMAGE'];

let daemons: Daemons;

beforeAll(async () => {
  daemons = await startEngines({ failureTimeoutMs: PATIENT_MS });
});

afterAll(async () => {
  await daemons.close();
});

const kit =
  (...args: string[]) =>
  (s: Stage): Promise<void> =>
    s.nbdkit(args.map((a) => a.replaceAll('LOG', s.file('requests'))));

/** Lines of nbdkit's log filter. */
const logged = (s: Stage, what: RegExp): string[] =>
  readFileSync(s.file('requests'), 'utf8')
    .split('\n')
    .filter((l) => what.test(l));

/** Connections that something was written over. */
const writers = (s: Stage): number => new Set(logged(s, / Write id=/).map((l) => / connection=(\d+) /.exec(l)?.[1])).size;

const lengths = (s: Stage, command: string): number[] =>
  logged(s, new RegExp(` ${command} id=`)).map((l) => Number(/ count=(0x[0-9a-f]+)/.exec(l)?.[1]));

interface Server {
  title: string;
  program: string;
  open: (s: Stage) => Promise<void>;
  /** What nbdinfo says of it, so that it is what the title says: of the server, and of the export. */
  server?: Readonly<Record<string, unknown>>;
  export?: Readonly<Record<string, unknown>>;
  sectorBytes?: number;
  look?: (s: Stage) => void;
  /** Where the copy is when it is in no file. */
  copy?: (s: Stage) => string;
  /** Also in the portable engine. */
  both?: true;
}

const servers: Server[] = [
  {
    title: 'nbdkit with a file, over four connections',
    program: 'nbdkit',
    open: kit('--filter=log', ...FILE, 'logfile=LOG'),
    export: { can_flush: true, can_fua: true, can_trim: true, can_zero: true, can_multi_conn: true },
    look: (s) => {
      expect(writers(s)).toBe(4);
      for (const command of ['Trim', 'Flush']) expect(lengths(s, command).length, command).toBeGreaterThan(0);
      expect(logged(s, / Write .* fua=1/).length).toBeGreaterThan(0);
    },
    both: true,
  },
  {
    title: 'nbdkit without CAN_MULTI_CONN, over one connection',
    program: 'nbdkit',
    open: kit('--filter=log', '--filter=multi-conn', ...FILE, 'multi-conn-mode=disable', 'logfile=LOG'),
    export: { can_multi_conn: false },
    look: (s) => {
      expect(writers(s)).toBe(1);
    },
  },
  {
    title: 'nbdkit that lets in two clients at a time',
    program: 'nbdkit',
    open: kit('--filter=log', '--filter=limit', ...FILE, 'limit=2', 'logfile=LOG'),
    export: { can_multi_conn: true },
    look: (s) => {
      expect(writers(s)).toBe(2);
    },
  },
  {
    title: 'nbdkit with memory',
    program: 'nbdkit',
    open: kit('memory', String(SIZE)),
    copy: (s) => s.uri,
  },
  {
    title: 'nbdkit without FUA: a flush after each write that asks for it',
    program: 'nbdkit',
    open: kit('--filter=log', '--filter=fua', ...FILE, 'logfile=LOG'),
    export: { can_fua: false, can_flush: true },
    look: (s) => {
      expect(logged(s, / fua=1/)).toEqual([]);
    },
    both: true,
  },
  {
    title: 'nbdkit without WRITE_ZEROES: zeroes are written',
    program: 'nbdkit',
    open: kit('--filter=log', '--filter=nozero', ...FILE, 'logfile=LOG'),
    export: { can_zero: false, can_trim: true },
    look: (s) => {
      expect(lengths(s, 'Zero')).toEqual([]);
    },
  },
  {
    title: 'a server of shell commands that can write and flush and nothing else',
    program: 'nbdkit',
    open: kit(
      '--filter=nozero',
      'eval',
      `get_size=echo ${String(SIZE)}`,
      'pread=dd if=IMAGE iflag=skip_bytes,count_bytes,fullblock skip=$4 count=$3 bs=1M status=none',
      'pwrite=dd of=IMAGE oflag=seek_bytes seek=$4 conv=notrunc bs=1M iflag=fullblock status=none',
      'can_write=exit 0',
      'can_fua=echo none',
      'can_flush=exit 0',
      'flush=exit 0',
    ),
    export: { can_fua: false, can_trim: false, can_zero: false, can_multi_conn: false },
  },
  {
    title: 'nbdkit without structured replies',
    program: 'nbdkit',
    open: kit('--no-sr', ...FILE),
    server: { structured: false },
    both: true,
  },
  {
    title: 'nbdkit that takes 64 KiB at most: longer requests are split',
    program: 'nbdkit',
    open: kit(
      '--filter=log',
      '--filter=blocksize-policy',
      ...FILE,
      'blocksize-minimum=512',
      'blocksize-maximum=65536',
      'blocksize-error-policy=error',
      'logfile=LOG',
    ),
    export: { block_size_maximum: 65536 },
    look: (s) => {
      expect(Math.max(...lengths(s, 'Write'))).toBe(65536);
    },
    both: true,
  },
  {
    title: 'nbdkit that would rather have 1 MiB at a time',
    program: 'nbdkit',
    open: kit('--filter=blocksize-policy', ...FILE, 'blocksize-minimum=1', 'blocksize-preferred=1M', 'blocksize-maximum=32M'),
    export: { block_size_minimum: 1, block_size_preferred: MIB },
  },
  {
    title: 'nbdkit that takes only blocks of 4096 bytes, of a mirror with such sectors',
    program: 'nbdkit',
    open: kit('--filter=blocksize-policy', ...FILE, 'blocksize-minimum=4096', 'blocksize-error-policy=error'),
    export: { block_size_minimum: 4096 },
    sectorBytes: 4096,
  },
  {
    title: 'nbdkit with an export name that needs quoting',
    program: 'nbdkit',
    open: (s) =>
      s.nbdkit(['--filter=exportname', ...FILE, 'exportname=a b/ä?#', 'exportname-strict=true'], { exportName: encodeURIComponent('a b/ä?#') }),
    export: { 'export-name': 'a b/ä?#' },
  },
  {
    title: 'an old server that is newstyle without being fixed: EXPORT_NAME is all it knows',
    program: 'nbdkit',
    open: kit('--mask-handshake=0', ...FILE),
    server: { protocol: 'newstyle' },
    both: true,
  },
  {
    title: 'nbdkit that is larger than the mirror, by no whole block',
    program: 'nbdkit',
    open: (s) => s.nbdkit(FILE, { imageBytes: SIZE + MIB + 100 }),
    export: { 'export-size': SIZE + MIB + 100 },
  },
  {
    title: 'qemu-nbd',
    program: 'qemu-nbd',
    open: (s) => s.qemuNbd(),
    export: { can_fua: true, can_trim: true, can_zero: true, can_multi_conn: true },
    both: true,
  },
  {
    title: 'qemu-nbd that punches holes',
    program: 'qemu-nbd',
    open: (s) => s.qemuNbd(['--discard=unmap', '--detect-zeroes=unmap']),
  },
  {
    title: 'nbd-server with flush, FUA and trim',
    program: 'nbd-server',
    open: (s) => s.nbdServer(['flush = true', 'fua = true', 'trim = true']),
    server: { structured: false },
    export: { can_flush: true, can_fua: true, can_trim: true },
    both: true,
  },
  {
    title: 'nbd-server with flush alone',
    program: 'nbd-server',
    open: (s) => s.nbdServer(['flush = true']),
    export: { can_flush: true, can_fua: false, can_trim: false },
  },
];

describe.concurrent.each(ENGINES)('a foreign target, in the %s engine', (engine) => {
  for (const c of servers) {
    if (engine === 'portable' && c.both !== true) continue;
    testWith([c.program, 'nbdinfo', 'qemu-img', 'truncate'], c.title, () =>
      Stage.run(daemons, engine, async (s) => {
        await c.open(s);
        expect(JSON.parse(await runOk('nbdinfo', ['--json', s.uri]))).toMatchObject({ ...c.server, exports: [c.export ?? {}] });
        await s.open(c.sectorBytes === undefined ? {} : { sectorBytes: c.sectorBytes });
        await s.answers(ENOUGH);
        expect(await s.end(c.copy?.(s))).toMatchObject({ foreign: true, lastResync: { kind: 'full' } });
        expect(s.logged(/elsewhere has left the mirror/)).toEqual([]);
        c.look?.(s);
      }),
    );
  }
});

interface Refused {
  title: string;
  program: string;
  open: (s: Stage) => Promise<void>;
  why: RegExp;
}

const refused: Refused[] = [
  {
    title: 'a server without FLUSH',
    program: 'nbd-server',
    open: (s) => s.nbdServer(['fua = true']),
    why: /has no FLUSH, so nothing on it could be/,
  },
  { title: 'nbdkit that is read-only', program: 'nbdkit', open: kit('-r', ...FILE), why: /is read-only/ },
  { title: 'qemu-nbd that is read-only', program: 'qemu-nbd', open: (s) => s.qemuNbd(['-r']), why: /is read-only/ },
  {
    title: 'nbd-server that is read-only',
    program: 'nbd-server',
    open: (s) => s.nbdServer(['readonly = true', 'flush = true']),
    why: /is read-only/,
  },
  {
    title: 'a server that is too small',
    program: 'nbdkit',
    open: (s) => s.nbdkit(FILE, { imageBytes: SIZE - 512 }),
    why: /has 8388096 bytes, the mirror 8388608/,
  },
  {
    title: 'a server whose smallest block is larger than a sector',
    program: 'nbdkit',
    open: kit('--filter=blocksize-policy', ...FILE, 'blocksize-minimum=4096'),
    why: /takes only blocks of 4096 bytes, and mirror t\d+ of 512/,
  },
  { title: 'a server of the old style', program: 'nbdkit', open: kit('-o', ...FILE), why: /speaks the oldstyle protocol/ },
  {
    title: 'an export that is not there',
    program: 'nbdkit',
    open: (s) => s.nbdkit(['--filter=exportname', ...FILE, 'exportname=a', 'exportname-strict=true'], { exportName: 'b' }),
    why: /it has no such export/,
  },
  {
    title: 'a server that has gone',
    program: 'nbdkit',
    open: async (s) => {
      await s.nbdkit(FILE);
      await s.server.kill();
    },
    why: /ECONNREFUSED|ENOENT/,
  },
];

describe.concurrent('as a foreign target is refused, with the reason, and not written to:', () => {
  for (const c of refused) {
    testWith([c.program, 'truncate'], c.title, () =>
      Stage.run(daemons, 'native', async (s) => {
        await c.open(s);
        await s.create();
        const said: unknown = await s.extend().catch((e: unknown) => e);
        expect(String(said)).toMatch(/elsewhere can not be a target of t\d+: /);
        expect(String(said)).toMatch(c.why);
        expect((await s.status()).targets).toEqual([]);
        expect(storedBytes(s.image)).toBe(0);
      }),
    );
  }
});

describe('a foreign target and who is the source', () => {
  testWith(['nbdkit', 'qemu-io', 'qemu-img', 'truncate'], 'says that it is foreign, and can be paused', () =>
    Stage.run(daemons, 'native', async (s) => {
      await s.nbdkit(FILE);
      await s.open();
      const shown = async (): Promise<string> => (await daemons.node('native').cli('mirror_status', [s.tag])).stdout;
      expect(await shown()).toMatch(/\[-\] native -> elsewhere\n {4}Status: Target\n {4}Type: Synchronous, foreign\n/);
      await s.app.end();
      expect((await daemons.node('native').cli('mirror_action', [s.tag, 'pause'])).code).toBe(0);
      expect(await shown()).toMatch(/Status: Paused/);
      expect((await daemons.node('native').cli('mirror_action', [s.tag, 'resume'])).code).toBe(0);
      await s.untilTarget('is in sync', (t) => t.state === 'Target');
    }),
  );

  testWith(
    ['nbdkit', 'qemu-io', 'qemu-img', 'truncate'],
    'is never the one that takes over, first as it may be, and is copied in full by who does',
    () =>
      Stage.run(daemons, 'native', async (s) => {
        await s.nbdkit(FILE);
        await s.create();
        expect((await s.netraid('extend', s.tag, ELSEWHERE, '--foreign', s.uri, '--priority', '5', '--yes', '--wait', '20s')).code).toBe(0);
        expect((await s.netraid('extend', s.tag, 'portable', s.file('leg2'), '--priority', '30', '--zeroed', '--yes', '--wait', '20s')).code).toBe(0);
        const asked = await s.netraid('switchover', s.tag, ELSEWHERE, '--yes');
        expect([asked.code, asked.stderr]).toEqual([1, expect.stringMatching(/foreign/)]);
        const write = async (node: string, command: string): Promise<string> =>
          await runOk('qemu-io', ['-f', 'raw', '-c', command, '-c', 'flush', daemons.node(node).uri(s.tag)], { timeoutMs: 20_000 });
        await write('native', 'write -P 1 0 4M');
        await daemons.node('native').kill();
        await daemons.until('portable has taken over', async () => {
          const { inService, decision } = await daemons.node('portable').control.call('status', { tag: s.tag });
          return inService && decision?.rule === 'takeover';
        });
        await write('portable', 'write -P 2 1M 1M');
        const t = await daemons.untilTarget('portable', s.tag, ELSEWHERE, 'is in sync', (x) => x.state === 'Target');
        expect(t).toMatchObject({ foreign: true, lastResync: { kind: 'full', bytes: SIZE } });
        await expectIdentical([s.file('leg2'), s.image]);
        await daemons.node('native').start();
        await daemons.untilInSync('portable', s.tag);
        await expectIdentical([s.file('leg'), s.file('leg2'), s.image]);
        const back = await daemons.node('portable').cli('netraid', ['switchover', s.tag, 'native', '--yes']);
        expect([back.code, back.stderr]).toEqual([0, expect.any(String)]);
        await daemons.untilInSync('native', s.tag);
        expect((await s.target()).lastResync?.kind).toBe('full');
      }),
  );
});
