/** A CA in a temporary folder, at a time that the test sets. */
import { execFileSync } from 'node:child_process';
import { webcrypto, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { nodeFiles } from '../../../src/io/node/files.ts';
import type { Files } from '../../../src/io/types.ts';
import { initAuthority } from '../../../src/pki/authority.ts';
import { issue, type IssueOptions, type NewCertificate } from '../../../src/pki/issue.ts';
import type { PkiWorld } from '../../../src/pki/types.ts';
import { ManualClock } from '../../support/manual-clock.ts';

export const DAY_MS = 24 * 3_600_000;

/** Begins at the present, for programs that look at the machine's clock. */
export class WallClock extends ManualClock {
  ms = Date.now();

  override wallNow(): number {
    return this.ms;
  }
}

export interface TestCa {
  w: PkiWorld;
  clock: WallClock;
  root: string;
  dir: string;
  /** Of what is issued next. */
  out: string;
  issue(o?: Partial<IssueOptions>): Promise<NewCertificate>;
}

export function testWorld(files: Files = nodeFiles): { w: PkiWorld; clock: WallClock } {
  const clock = new WallClock();
  return { w: { files, clock, crypto: webcrypto }, clock };
}

/** A new CA below `root`. */
export async function testCa(root: string, o: { days?: number; files?: Files } = {}): Promise<TestCa> {
  const { w, clock } = testWorld(o.files);
  const dir = join(root, 'ca');
  const out = join(root, 'out');
  await initAuthority(w, { dir, cluster: 'test', days: o.days ?? 3650 });
  return {
    w,
    clock,
    root,
    dir,
    out,
    issue: (over = {}) => issue(w, { dir, name: 'server1', kind: 'node', hosts: [], days: 825, out, ...over }),
  };
}

export const certificateIn = (path: string): X509Certificate => new X509Certificate(readFileSync(path));
export const modeOf = (path: string): number => statSync(path).mode & 0o777;

/** Every file below a folder, with what is in it. */
export function contents(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
  return Object.fromEntries(files.map((e) => [join(e.parentPath, e.name), readFileSync(join(e.parentPath, e.name), 'latin1')]));
}

export function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch (e: unknown) {
    if (e instanceof Error && 'code' in e && e.code === 'ENOENT') return false;
    throw e;
  }
}

/** What openssl says of a certificate and the CA's list, in one line; `OK` when it is content. */
export function opensslVerify(ca: string, certificate: string): string {
  const args = ['verify', '-x509_strict', '-crl_check', '-CAfile', join(ca, 'ca-cert.pem'), '-CRLfile', join(ca, 'ca-crl.pem'), certificate];
  try {
    return execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' }).trim().replace(/^.*: /, '');
  } catch (e: unknown) {
    if (e instanceof Error && 'stderr' in e && typeof e.stderr === 'string') return /lookup: ?(.*)/.exec(e.stderr)?.[1] ?? e.stderr;
    throw e;
  }
}
