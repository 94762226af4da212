/**
 * The commands of README.md's sections on failures and planned work, and a stage on which they are run as they stand there.
 *
 *   README.md -> commandsOf()            what must be run
 *   Story     -> steps in their order    a command line of README.md with what it must answer, or what makes the situation
 *   Stage     -> sh -c "LINE"            on a node: real daemons, the built programs in PATH, NETRAID_ROOT
 *
 * In a line only places are exchanged (`Stage.placed`); a line that asks is run once as it stands, which must be refused
 * because nobody is there to answer, and then with the `--yes` that README.md tells scripts to say.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'vitest';
import { mirrorLines } from '../../../src/cli/render.ts';
import { Relays } from '../../../src/scenario/process-relay.ts';
import { Cleanup } from '../../support/cleanup.ts';
import { Daemons, type NodeProcess } from '../../support/daemons.ts';
import { builtProgram } from '../../support/node-process.ts';
import { programsPath, type Ran, run, start } from '../../support/programs.ts';

export const TAG = 'data';
export const MIB = 1024 * 1024;
const OURS = ['netraid', 'mirror_action', 'mirror_status', 'mirror_resize', 'bitmap'];
const FIRST_SECTION = '## When something fails';
const AFTER_LAST_SECTION = '## Hooks';
const WATCHED_MAX_MS = 30_000;
const INTERRUPT_EXIT = 130;

/** Sizes of README.md, and of this stage: no machine that tests has room for several terabytes. */
const sizes: readonly (readonly [string, string])[] = [
  ['2TiB', '128MiB'],
  ['1TiB', '64MiB'],
  ['1000G', '60M'],
];
export const SIZE = 64 * MIB;

export interface Found {
  section: string;
  /** With its prompt when it stands in a block; without one when it stands in a sentence or a table. */
  line: string;
}

/** Each command line of the blocks, and once a section each whole command in its sentences and tables. */
export function commandsOf(readme: string): Found[] {
  const from = readme.indexOf(`\n${FIRST_SECTION}\n`);
  const to = readme.indexOf(`\n${AFTER_LAST_SECTION}\n`);
  if (from < 0 || to < from) throw new Error(`README.md has no "${FIRST_SECTION}" before "${AFTER_LAST_SECTION}"`);
  return readme
    .slice(from, to)
    .split(/^##+ /m)
    .slice(1)
    .flatMap((part) => {
      const section = part.slice(0, part.indexOf('\n'));
      const blocks = [...part.matchAll(/^```console\n([^]*?)^```$/gm)].map((m) => m[1] ?? '');
      const shown = blocks.flatMap((b) => b.split('\n').filter((l) => /^(?:server\d)?[#$] /.test(l)));
      const prose = part.replace(/^```[^]*?^```$/gm, '');
      const quoted = [...prose.matchAll(/`([^`\n]+)`/g)].map((m) => m[1] ?? '');
      const whole = quoted.filter((q) => OURS.some((o) => q === o || q.startsWith(`${o} `)));
      return [...shown, ...new Set(whole)].map((line) => ({ section, line }));
    });
}

export function readme(): string {
  return readFileSync(path.join(import.meta.dirname, '../../../README.md'), 'utf8');
}

export interface Expected {
  /** Where a line without a node in its prompt is typed. */
  on?: string;
  section?: string;
  /** 0 when left out. */
  exit?: number;
  prints?: RegExp;
  asks?: true;
  /** It goes on until it is interrupted, after it has printed `prints`. */
  follows?: true;
}

export interface Command extends Expected {
  line: string;
}

export type Step = Command | ((s: Stage) => Promise<void>);

export interface Story {
  title: string;
  section: string;
  nodes: readonly string[];
  /** Needs block devices and mounts, or programs besides. */
  devices?: true;
  programs?: readonly string[];
  /** Their links go through this process, which can cut them, and then must not wait for a mounted filesystem. */
  links?: true;
  /** A machine that is busy takes longer to answer: longer where nothing is to fail. */
  failureTimeoutMs: number;
  /** A leg of this node fails when it is told to. */
  faults?: string;
  steps: readonly Step[];
}

export function command(line: string, expected: Expected = {}): Command {
  return { line, ...expected };
}

export class Stage {
  readonly daemons: Daemons;
  readonly relays: Relays;
  readonly cleanup: Cleanup;
  /** Address of an NBD server that is not ours. */
  foreign: string | undefined;
  /** By node: the block device that is attached there. */
  readonly #devices = new Map<string, string>();
  readonly #bin: string;
  readonly #faults: string;

  private constructor(daemons: Daemons, relays: Relays, cleanup: Cleanup, faults: string) {
    this.#faults = faults;
    this.daemons = daemons;
    this.relays = relays;
    this.cleanup = cleanup;
    this.#bin = daemons.path('bin');
    mkdirSync(this.#bin);
    for (const name of OURS) {
      const file = path.join(this.#bin, name);
      writeFileSync(file, `#!/bin/sh\nexec '${process.execPath}' '${builtProgram(name)}' "$@"\n`);
      chmodSync(file, 0o755);
    }
  }

  static async make(story: Story): Promise<Stage> {
    const cleanup = new Cleanup();
    const relays = new Relays();
    cleanup.add('the relays', () => relays.close());
    const faults = mkdtempSync(path.join(tmpdir(), 'netraid-faults-'));
    cleanup.add('the faults', () => {
      rmSync(faults, { recursive: true });
    });
    try {
      const daemons = await Daemons.start({
        nodes: story.nodes,
        failureTimeoutMs: story.failureTimeoutMs,
        ...(story.links === true ? { reach: (from, to, port) => relays.open(from, to, '127.0.0.1', port) } : {}),
        ...(story.faults === undefined ? {} : { env: { [story.faults]: { NETRAID_TEST_FAULTS: faults } } }),
      });
      cleanup.add('the daemons', () => daemons.close());
      return new Stage(daemons, relays, cleanup, faults);
    } catch (e: unknown) {
      await cleanup.run();
      throw e;
    }
  }

  node(name: string): NodeProcess {
    return this.daemons.node(name);
  }

  /** The file that is `/dev/NAME` of a node. */
  leg(node: string, name = 'sdb1'): string {
    return this.daemons.path(`${node}-${name}`);
  }

  /** The folder that is DIR of a node. */
  dir(node: string, name = 'srv-data'): string {
    return this.daemons.path(`${node}-${name}`);
  }

  /** A mirror of these nodes, in sync; the first is the source. */
  async mirror(...nodes: readonly string[]): Promise<void> {
    await this.daemons.createMirror({ tag: TAG, sizeBytes: SIZE, legs: Object.fromEntries(nodes.map((n) => [n, this.leg(n)])) });
  }

  /** The line as it is typed on that node, with the places of this stage. */
  placed(line: string, on: string): string {
    // The leg that `extend` and `replace` name is on their target.
    const legOn = /^netraid (?:extend|replace) \S+ (\S+) /.exec(line)?.[1] ?? on;
    let text = line
      .replace(/\/dev\/(sd\w+)/g, (_, name: string) => this.leg(legOn, name))
      .replace('/dev/nbd0', () => this.#devices.get(on) ?? 'no-device')
      .replace('/srv/data', this.dir(on))
      .replace('/backup', this.dir(on, 'backup'))
      .replace(/\/mnt\b/, this.dir(on, 'mnt'))
      .replace('/var/lib/netraid', this.node(on).root)
      .replace('10.0.0.9:10809', () => this.foreign ?? 'no-server');
    for (const [theirs, ours] of sizes) text = text.replace(theirs, ours);
    return text;
  }

  async typed(line: string, on: string): Promise<Ran> {
    return await run('sh', ['-c', this.placed(line, on)], { env: this.#environment(on), timeoutMs: 60_000 });
  }

  /** Types a command of README.md, and expects what it must answer. */
  async carryOut(c: Command): Promise<void> {
    const prompted = /^(server\d)?[#$] (.*)$/.exec(c.line);
    const line = prompted?.[2] ?? c.line;
    const on = prompted?.[1] ?? c.on;
    if (on === undefined) throw new Error(`on which node is this typed: ${c.line}`);
    if (c.follows === true) {
      await this.#follow(line, on, c.prints ?? /./);
      return;
    }
    if (c.asks === true) {
      const unanswered = await this.typed(line, on);
      expect([c.line, unanswered.code, unanswered.stderr]).toEqual([c.line, 2, expect.stringContaining('--yes says it beforehand')]);
    }
    const ran = await this.typed(c.asks === true ? `${line} --yes` : line, on);
    const said = `${ran.stdout}${ran.stderr}`;
    const about = `${c.line}, typed on ${on}: ${said}`;
    expect(ran.code, `${about}\n${this.node(on).log()}`).toBe(c.exit ?? 0);
    if (c.prints !== undefined) expect(said, about).toMatch(c.prints);
    const device = /^data is (?:mounted on .* on )?(\/dev\/\w+)/m.exec(ran.stdout)?.[1];
    if (device !== undefined) this.#devices.set(on, device);
  }

  async #follow(line: string, on: string, prints: RegExp): Promise<void> {
    const child = start('sh', ['-c', `exec ${this.placed(line, on)}`], { env: this.#environment(on) });
    let said = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    try {
      await this.daemons.until(`${line} prints ${String(prints)}`, () => Promise.resolve(prints.test(said)), WATCHED_MAX_MS);
    } finally {
      child.kill('SIGINT');
    }
    expect([null, INTERRUPT_EXIT]).toContain(await ended);
  }

  #environment(on: string): Record<string, string> {
    return { NETRAID_ROOT: this.node(on).root, PATH: `${this.#bin}:${programsPath}` };
  }

  /** Until what `netraid status data` shows on a node matches; asked without a process for each look. */
  async shows(on: string, what: RegExp): Promise<void> {
    let said = '';
    const look = async (): Promise<boolean> => {
      said = await this.node(on)
        .control.call('status', { tag: TAG })
        .then((s) => `${mirrorLines(s, { colour: false }).join('\n')}\n`, String);
      return what.test(said);
    };
    await this.daemons.until(`${on} shows ${String(what)}`, look).catch((e: unknown) => {
      throw new Error(`${String(e)}\n${said}`, { cause: e });
    });
  }

  async inSync(source: string): Promise<void> {
    await this.daemons.untilInSync(source, TAG);
  }

  /** One MiB of a byte, written and synced; what the client's exit code was. */
  async write(on: string, byte: number, atMib: number, mib = 1): Promise<number | null> {
    const commands = ['-c', `write -P ${String(byte)} ${String(atMib)}M ${String(mib)}M`, '-c', 'flush'];
    return (await run('qemu-io', ['-f', 'raw', ...commands, this.node(on).uri(TAG)])).code;
  }

  /** Syncs of the leg of `Story.faults` fail from now on, or succeed again. */
  syncsFail(node: string, fail: boolean): void {
    const file = path.join(this.#faults, `${path.basename(this.leg(node))}.fault`);
    writeFileSync(`${file}.tmp`, fail ? 'error sync' : 'none');
    renameSync(`${file}.tmp`, file);
  }

  /** The first byte of that MiB of a leg. */
  async byteAt(leg: string, atMib: number): Promise<number> {
    const r = await run('od', ['-An', '-tu1', '-j', String(atMib * MIB), '-N', '1', leg]);
    return Number(r.stdout.trim());
  }
}
