/** Debian's PostgreSQL in a folder of the test, run as the user that its package made. */
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { run, runOk } from './programs.ts';

const VERSIONS = '/usr/lib/postgresql';

/** The folder of the newest version's programs; undefined when it is not installed. */
export function postgresPrograms(): string | undefined {
  let versions: string[];
  try {
    versions = readdirSync(VERSIONS);
  } catch (e: unknown) {
    if (!(e instanceof Error)) throw e;
    return undefined;
  }
  const newest = versions
    .map(Number)
    .sort((a, b) => a - b)
    .at(-1);
  return newest === undefined ? undefined : path.join(VERSIONS, String(newest), 'bin');
}

export class Postgres {
  readonly #programs: string;
  readonly #data: string;
  readonly #socketDir: string;
  #running = false;

  private constructor(programs: string, data: string, socketDir: string) {
    this.#programs = programs;
    this.#data = data;
    this.#socketDir = socketDir;
  }

  /** Makes a database with checksums below `folder`, and starts it. Its user must be able to pass through to the folder. */
  static async start(programs: string, folder: string): Promise<Postgres> {
    const data = path.join(folder, 'data');
    const socketDir = path.join(folder, 'run');
    for (const dir of [data, socketDir]) {
      mkdirSync(dir, { recursive: true });
      await runOk('chown', ['postgres:postgres', dir]);
    }
    const p = new Postgres(programs, data, socketDir);
    await p.#do('initdb', ['-D', data, '--data-checksums', '--no-instructions', '--auth=trust']);
    const settings = [
      "listen_addresses=''",
      `unix_socket_directories='${socketDir}'`,
      'max_wal_size=64MB',
      'min_wal_size=32MB',
      'shared_buffers=16MB',
    ];
    const options = settings.map((s) => `-c ${s}`).join(' ');
    await p.#do('pg_ctl', ['-D', data, '-w', '-t', '60', '-l', path.join(data, 'server.log'), '-o', options, 'start']);
    p.#running = true;
    return p;
  }

  /** A client program, such as pgbench or psql; gives its output. */
  async client(program: string, args: readonly string[]): Promise<string> {
    return await this.#do(program, ['-h', this.#socketDir, ...args, 'postgres']);
  }

  async query(sql: string): Promise<string> {
    return (await this.client('psql', ['-AtqX', '-c', sql])).trim();
  }

  /** With `fast`, in order; else as after a crash. Nothing when it does not run. */
  async stop(mode: 'fast' | 'immediate'): Promise<void> {
    if (!this.#running) return;
    await this.#do('pg_ctl', ['-D', this.#data, '-w', '-t', '60', '-m', mode, 'stop']);
    this.#running = false;
  }

  /** Every block's checksum, on a database that was stopped in order. */
  async checksums(): Promise<string> {
    return await this.#do('pg_checksums', ['--check', '-D', this.#data]);
  }

  async #do(program: string, args: readonly string[]): Promise<string> {
    const o = { timeoutMs: 90_000, cwd: '/' };
    // pg_ctl's server keeps the pipes of its starter open: its output goes to its own log.
    if (program !== 'pg_ctl') return await runOk('runuser', ['-u', 'postgres', '--', path.join(this.#programs, program), ...args], o);
    const script = 'exec "$@" >/dev/null 2>&1 </dev/null';
    const r = await run('runuser', ['-u', 'postgres', '--', 'sh', '-c', script, 'sh', path.join(this.#programs, program), ...args], o);
    if (r.code !== 0) throw new Error(`${program} ${args.join(' ')}: exit code ${String(r.code)}`);
    return '';
  }
}
