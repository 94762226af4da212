/** Two networks of their own on this machine, joined by one wire, and an ear on that wire. Needs root. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { Cleanup } from './cleanup.ts';
import { findProgram, runOk, start, until } from './programs.ts';

/** Debian's own, and not another that comes first in PATH. */
const PYTHON = '/usr/bin/python3';

/** What keeps this machine from it; undefined: nothing. */
export function lackingForNetworks(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  if (!existsSync(PYTHON)) return PYTHON;
  return ['ip', 'openssl', 'nbdcopy'].find((p) => findProgram(p) === undefined);
}

/** Every packet both ways; what is on the standard input ends it. */
const LISTENER = `
import json, select, socket, struct, sys
marker = bytes.fromhex(sys.argv[2])
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)
ear.bind((sys.argv[1], 0))
print("listening", flush=True)
heard = packets = seen = 0
ended = False
while True:
    ready, _, _ = select.select([ear] if ended else [ear, sys.stdin], [], [], 0 if ended else None)
    if ear in ready:
        packet = ear.recv(1 << 20)
        heard += len(packet)
        packets += 1
        seen += packet.count(marker)
    elif ended:
        break
    if sys.stdin in ready:
        ended = True
lost = struct.unpack("II", ear.getsockopt(263, 6, 8))[1]
print(json.dumps({"bytes": heard, "packets": packets, "seen": seen, "lost": lost}))
`;

export interface Heard {
  bytes: number;
  packets: number;
  /** How often the marker was in a packet. */
  seen: number;
  /** Packets that went by unheard. */
  lost: number;
}

export class TwoNetworks {
  readonly hosts: readonly [string, string] = ['10.77.0.1', '10.77.0.2'];
  readonly #names: readonly [string, string];

  private constructor(name: string) {
    this.#names = [`${name}a`, `${name}b`];
  }

  static async make(cleanup: Cleanup): Promise<TwoNetworks> {
    const made = new TwoNetworks(`netraid${String(process.pid)}`);
    for (const name of made.#names) {
      await runOk('ip', ['netns', 'add', name]);
      cleanup.add(`network ${name}`, async () => {
        await runOk('ip', ['netns', 'del', name]);
      });
    }
    const [a, b] = made.#names;
    await runOk('ip', ['-n', a, 'link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'wire', 'netns', b]);
    for (const [i, name] of made.#names.entries()) {
      await made.address(i === 0 ? 0 : 1, `${made.hosts[i] ?? ''}/24`);
      for (const device of ['lo', 'wire']) await runOk('ip', ['-n', name, 'link', 'set', device, 'up']);
    }
    return made;
  }

  /** The command that runs another in that network. */
  within(side: 0 | 1): readonly string[] {
    return ['ip', 'netns', 'exec', this.#names[side]];
  }

  /** One more address there. */
  async address(side: 0 | 1, cidr: string): Promise<void> {
    await runOk('ip', ['-n', this.#names[side], 'address', 'add', cidr, 'dev', 'wire', 'nodad']);
  }

  /** Connects from an address to a port of the other network, and waits for the end of it. Answers what came. */
  async dial(side: 0 | 1, from: string, to: string, port: number): Promise<string> {
    const script = `
import socket, sys
s = socket.create_connection((sys.argv[2], int(sys.argv[3])), 10, (sys.argv[1], 0))
try:
    while True:
        got = s.recv(4096)
        if not got: break
        sys.stdout.buffer.write(got)
except ConnectionResetError:
    pass
`;
    const [program = '', ...args] = this.within(side);
    return await runOk(program, [...args, PYTHON, '-c', script, from, to, String(port)], { timeoutMs: 20_000 });
  }

  /** Everything that goes over the wire, from here until the answered function is called. */
  async hear(marker: Uint8Array, cleanup: Cleanup): Promise<() => Promise<Heard>> {
    const [program = '', ...args] = this.within(0);
    const child = start(program, [...args, PYTHON, '-c', LISTENER, 'wire', Buffer.from(marker).toString('hex')]);
    cleanup.add('the ear', () => {
      child.kill('SIGKILL');
    });
    let said = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    let complaint = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    const ended = once(child, 'close');
    await until('the ear is on the wire', () => said.includes('listening') || child.exitCode !== null);
    return async () => {
      child.stdin?.end();
      await ended;
      const answer = said.split('\n')[1] ?? '';
      if (answer === '') throw new Error(`nothing was heard: ${complaint}`);
      return JSON.parse(answer) as Heard;
    };
  }
}
