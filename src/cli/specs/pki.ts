/** Commands of a small CA: certificates and keys, with which nodes and clients prove to each other who they are. */
import { type CommandSpec, type Option, type Positional, yes } from '../spec.ts';

const load = () => import('../commands/pki.ts');
const dir: Positional = { name: 'DIR', describe: "the CA's folder", required: true };
const name: Positional = { name: 'NAME', describe: 'whose certificate it is: a node by its name, or a client', required: true };
const out: Option = { name: 'out', value: 'FOLDER', describe: 'where the files go that NAME gets; always given' };
const days = (usual: number): Option => ({ name: 'days', value: 'N', describe: `how long it is valid; default: ${String(usual)}` });
const certificateDays = days(825);

export const pkiCommands: readonly CommandSpec[] = [
  {
    name: 'pki init',
    summary: 'makes a CA, which issues certificates to nodes and clients',
    detail: 'DIR holds its key, ca-key.pem: keep it on a machine of its own, with a copy elsewhere. A CA that is there already is left alone.',
    positionals: [{ ...dir, describe: `${dir.describe}, which is made when absent` }],
    options: [{ name: 'cluster', value: 'NAME', describe: 'the cluster that it is for, in its name' }, days(3650)],
    examples: [['netraid pki init /root/ca --cluster production', 'once for a cluster']],
    load: async () => (await load()).init,
  },
  {
    name: 'pki issue',
    summary: 'issues a certificate, with a new key',
    detail:
      'FOLDER gets ca-cert.pem, ca-crl.pem, and node-cert.pem and node-key.pem of a node, or client-cert.pem and client-key.pem of a client. ' +
      "A copy of the certificate stays in the CA's folder, never one of the key.",
    positionals: [dir, name],
    options: [
      { name: 'node', describe: 'for a node, which others connect to' },
      { name: 'client', describe: 'for a client, which only connects' },
      { name: 'host', value: 'HOST', describe: 'a name or address besides NAME by which it is reached; may be given again', many: true },
      certificateDays,
      out,
    ],
    examples: [
      ['netraid pki issue /root/ca server1 --node --host 10.0.0.1 --out /root/server1', 'for a node'],
      ['netraid pki issue /root/ca backup --client --out /root/backup', 'for a client, such as qemu or nbdcopy'],
    ],
    load: async () => (await load()).issueCertificate,
  },
  {
    name: 'pki renew',
    summary: 'issues a certificate in place of one that ends, with a new key',
    detail: "For the same name, kind and hosts. FOLDER's files are replaced. The one before stays valid until it ends, or is revoked.",
    positionals: [dir, name],
    options: [{ name: 'revoke-old', describe: 'revoke all before it' }, certificateDays, out],
    examples: [['netraid pki renew /root/ca server1 --out /root/server1', 'before it ends']],
    load: async () => (await load()).renewCertificate,
  },
  {
    name: 'pki revoke',
    summary: 'revokes every certificate of a node or client',
    detail: 'It is cut off by each node that has the new ca-crl.pem.',
    positionals: [dir, name],
    options: [yes],
    examples: [['netraid pki revoke /root/ca backup', 'backup may not connect any more']],
    load: async () => (await load()).revokeCertificates,
  },
  {
    name: 'pki list',
    summary: 'shows the certificates that a CA has issued',
    positionals: [dir],
    options: [],
    examples: [['netraid pki list /root/ca', 'who has which, and until when']],
    load: async () => (await load()).list,
  },
  {
    name: 'pki psk',
    summary: 'gives a user a pre-shared key, where certificates are too much',
    detail: "A line USER:KEY is appended, as GnuTLS's psktool does; the file is readable by its owner alone.",
    positionals: [
      { name: 'FILE', describe: 'the file of keys, which is made when absent', required: true },
      { name: 'USER', describe: 'who gets a key', required: true },
    ],
    options: [],
    examples: [['netraid pki psk /root/keys.psk backup', 'a new key for backup']],
    load: async () => (await load()).psk,
  },
];
