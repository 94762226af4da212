/**
 * Facts for scripts/demo, as lines that a shell can read; blanks in words are underscores:
 *
 *   demo-facts.mjs ports N            N free TCP ports of the loopback address
 *   demo-facts.mjs status             of `status --json` on stdin: node STATE INSERVICE REGIONBYTES INTENTBYTES, and a line for
 *                                     each target: NODE STATE, and KIND COVEREDBYTES SENTBYTES of its last resync
 *   demo-facts.mjs differ A B REGION  how two legs differ: bytes, and how many regions of REGION bytes hold them
 */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { createServer } from 'node:net';

const [what, ...args] = process.argv.slice(2);
const word = (value) => String(value ?? 'none').replaceAll(' ', '_');

async function ports(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const free = servers.map((s) => s.address().port);
  for (const s of servers) s.close();
  return free.join(' ');
}

function status() {
  const s = JSON.parse(readFileSync(0, 'utf8'));
  const node = ['node', s.state, s.inService, s.regionBytes, s.intentBytes];
  const targets = s.targets.map((t) => [t.node, t.state, t.lastResync?.kind, t.lastResync?.bytes ?? 0, t.lastResync?.sent ?? 0]);
  return [node, ...targets].map((line) => line.map(word).join(' ')).join('\n');
}

function differ(a, b, regionBytes) {
  const [fdA, fdB] = [openSync(a), openSync(b)];
  const size = fstatSync(fdA).size;
  if (fstatSync(fdB).size !== size) throw new Error(`${a} and ${b} differ in size`);
  const [one, other] = [Buffer.alloc(regionBytes), Buffer.alloc(regionBytes)];
  let bytes = 0;
  let regions = 0;
  for (let at = 0; at < size; at += regionBytes) {
    const n = readSync(fdA, one, 0, regionBytes, at);
    if (readSync(fdB, other, 0, regionBytes, at) !== n) throw new Error(`${b} can not be read at byte ${String(at)}`);
    if (one.compare(other, 0, n, 0, n) === 0) continue;
    regions += 1;
    for (let i = 0; i < n; i += 1) if (one[i] !== other[i]) bytes += 1;
  }
  closeSync(fdA);
  closeSync(fdB);
  return `${String(bytes)} ${String(regions)}`;
}

const facts = {
  ports: () => ports(Number(args[0])),
  status,
  differ: () => differ(args[0], args[1], Number(args[2])),
};
const fact = facts[what];
if (fact === undefined) throw new Error(`no such fact; known: ${Object.keys(facts).join(', ')}`);
process.stdout.write(`${await fact()}\n`);
