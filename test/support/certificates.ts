/**
 * Certificates that the `openssl` command makes, and nothing of ours: what the product reads is then what others write.
 *
 *   CertificateMaker (a CA in a folder) -> node folder:   ca-cert.pem, node-cert.pem, node-key.pem
 *                                       -> client folder: ca-cert.pem, client-cert.pem, client-key.pem
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Mutex } from '../../src/failover/mutex.ts';
import { runOk } from './programs.ts';

export interface CertificateOptions {
  /** It ended ten days ago. */
  expired?: boolean;
  /** Lines of x509v3_config(5) in place of the usual ones. */
  extensions?: readonly string[];
}

const DAY_MS = 24 * 3_600_000;

/** As `openssl ca` reads it. */
const asn1Time = (ms: number): string => `${new Date(ms).toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)}Z`;

const newKey = (out: string): string[] => ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', out];

export class CertificateMaker {
  readonly #dir: string;
  #made = 0;
  /** Its files are for one at a time. */
  readonly #signing = new Mutex();

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** `name`: of the CA; two of one name are still two. */
  static async make(dir: string, name = basename(dir)): Promise<CertificateMaker> {
    const m = new CertificateMaker(dir);
    mkdirSync(dir, { recursive: true });
    writeFileSync(m.#at('index.txt'), '');
    writeFileSync(m.#at('serial'), '01\n');
    writeFileSync(m.#at('crlnumber'), '01\n');
    const config = [
      '[ca]',
      'default_ca = own',
      '[own]',
      `dir = ${dir}`,
      `database = ${m.#at('index.txt')}`,
      `serial = ${m.#at('serial')}`,
      `crlnumber = ${m.#at('crlnumber')}`,
      `certificate = ${m.caCert}`,
      `private_key = ${m.#at('ca-key.pem')}`,
      `new_certs_dir = ${dir}`,
      'default_md = sha256',
      'default_crl_days = 30',
      'policy = names',
      'unique_subject = no',
      '[names]',
      'commonName = supplied',
      '[req]',
      'distinguished_name = asked',
      'prompt = no',
      '[asked]',
      'commonName = unset',
    ];
    writeFileSync(m.#config, `${config.join('\n')}\n`);
    const extensions = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
    const key = newKey(m.#at('ca-key.pem'));
    await runOk('openssl', [
      'req',
      '-config',
      m.#config,
      '-x509',
      ...key,
      '-days',
      '365',
      '-subj',
      `/CN=CA ${name}`,
      ...extensions,
      '-out',
      m.caCert,
    ]);
    return m;
  }

  get caCert(): string {
    return this.#at('ca-cert.pem');
  }

  /** Into `folder`, as a node has it below ROOT/etc/tls. */
  async node(folder: string, name: string, o: CertificateOptions = {}): Promise<void> {
    const extensions = [
      'extendedKeyUsage = serverAuth,clientAuth',
      'keyUsage = critical,digitalSignature',
      `subjectAltName = DNS:${name},DNS:localhost,IP:127.0.0.1`,
    ];
    await this.#issue(folder, 'node', name, extensions, o);
  }

  /** Into `folder`, as libnbd and qemu look for it. */
  async client(folder: string, name: string, o: CertificateOptions = {}): Promise<void> {
    await this.#issue(folder, 'client', name, ['extendedKeyUsage = clientAuth', 'keyUsage = critical,digitalSignature'], o);
  }

  /** Revokes that certificate, in lists made from here on. */
  async revoke(certificate: string): Promise<void> {
    await this.#ca('-revoke', certificate);
  }

  /** The list of what is revoked, into `folder`. */
  async crl(folder: string, o: { expired?: boolean } = {}): Promise<void> {
    const at = Date.now() - 20 * DAY_MS;
    const ended = ['-crl_lastupdate', asn1Time(at), '-crl_nextupdate', asn1Time(at + DAY_MS)];
    await this.#ca('-gencrl', ...(o.expired === true ? ended : []), '-out', join(folder, 'ca-crl.pem'));
  }

  async #issue(folder: string, kind: 'node' | 'client', cn: string, extensions: string[], o: CertificateOptions): Promise<void> {
    mkdirSync(folder, { recursive: true });
    this.#made += 1;
    const request = this.#at(`${String(this.#made)}.csr`);
    const wanted = this.#at(`${String(this.#made)}.ext`);
    const key = join(folder, `${kind}-key.pem`);
    await runOk('openssl', ['req', '-config', this.#config, '-new', ...newKey(key), '-subj', `/CN=${cn}`, '-out', request]);
    writeFileSync(wanted, `basicConstraints = critical,CA:FALSE\n${(o.extensions ?? extensions).join('\n')}\n`);
    const from = Date.now() - 20 * DAY_MS;
    const until = o.expired === true ? from + 10 * DAY_MS : from + 200 * DAY_MS;
    const times = ['-startdate', asn1Time(from), '-enddate', asn1Time(until)];
    await this.#ca('-notext', '-in', request, '-extfile', wanted, ...times, '-out', join(folder, `${kind}-cert.pem`));
    copyFileSync(this.caCert, join(folder, 'ca-cert.pem'));
  }

  #at(name: string): string {
    return join(this.#dir, name);
  }

  get #config(): string {
    return this.#at('openssl.cnf');
  }

  async #ca(...args: string[]): Promise<void> {
    await this.#signing.run(() => runOk('openssl', ['ca', '-batch', '-config', this.#config, ...args]));
  }
}

/** Lines of USER:HEX, as a node and libnbd and qemu read them. */
export function writeKeys(file: string, keys: Readonly<Record<string, string>>): void {
  writeFileSync(
    file,
    Object.entries(keys)
      .map(([user, hex]) => `${user}:${hex}\n`)
      .join(''),
    { mode: 0o600 },
  );
}
