/**
 * The wires between nodes: hosts, links, listeners, and how a connection comes about.
 *
 * A host is a node's address in one network; nodes may share several networks, so that one path can be cut while another
 * lives. `127.0.0.1`, `localhost` and unix sockets stay on the node and are never cut.
 */
import { type Address, Errno, IoError, type IoSocket, type Listener } from '../types.ts';
import { Arrivals } from './arrivals.ts';
import type { Counters } from './counters.ts';
import { Link, type Slowness } from './link.ts';
import type { Owned, Process } from './process.ts';
import type { Schedule } from './schedule.ts';
import type { LatencyMs, Stream } from './seed.ts';
import { SimSocket, type SocketContext } from './socket.ts';

export const DEFAULT_NETWORK = 'lan';
const LOOPBACK: LatencyMs = { fromMs: 0.005, toMs: 0.03 };
/** First wait before a lost handshake is tried again; doubled each time. */
const HANDSHAKE_RETRY_MS = 1000;

interface Machine {
  up: boolean;
  /** To be called when it has power again. */
  waiting: (() => void)[];
  tcp: Map<number, Accepting>;
  unix: Map<string, Accepting>;
  /** Unix paths that somebody once bound: no longer listening there is a refusal, never bound is "no such file". */
  unixBound: Set<string>;
  nextPort: number;
}

class Accepting implements Owned {
  readonly process: Process;
  readonly address: Address;
  readonly onConnection: (s: IoSocket) => void;
  readonly #remove: () => void;
  open = true;

  constructor(process: Process, address: Address, onConnection: (s: IoSocket) => void, remove: () => void) {
    this.process = process;
    this.address = address;
    this.onConnection = onConnection;
    this.#remove = remove;
    process.own(this);
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.#remove();
    this.process.disown(this);
  }

  processDied(): void {
    this.close();
  }
}

export class Network {
  readonly #schedule: Schedule;
  readonly #counters: Counters;
  readonly #stream: Stream;
  readonly #latency: LatencyMs;
  readonly #sockets: SocketContext;
  readonly #machines = new Map<string, Machine>();
  readonly #hosts = new Map<string, { node: string; network: string }>();
  readonly #networks = new Set<string>([DEFAULT_NETWORK]);
  readonly #links = new Map<string, Link>();
  readonly #arrivals = new Map<string, Arrivals>();

  constructor(schedule: Schedule, stream: Stream, counters: Counters, latency: LatencyMs, windowBytes: number) {
    this.#schedule = schedule;
    this.#stream = stream;
    this.#counters = counters;
    this.#latency = latency;
    this.#sockets = { stream, counters, windowBytes };
  }

  addMachine(node: string): void {
    this.#machines.set(node, { up: true, waiting: [], tcp: new Map(), unix: new Map(), unixBound: new Set(), nextPort: 40000 });
    this.addHost(node, node, DEFAULT_NETWORK);
  }

  addHost(host: string, node: string, network: string): void {
    this.#machine(node);
    this.#hosts.set(host, { node, network });
    this.#networks.add(network);
  }

  setPower(node: string, up: boolean): void {
    const machine = this.#machine(node);
    machine.up = up;
    if (!up) return;
    const { waiting } = machine;
    machine.waiting = [];
    for (const go of waiting) go();
  }

  cut(from: string, to: string, network: string | undefined): void {
    for (const link of this.#between(from, to, network)) link.cut();
  }

  heal(from: string, to: string, network: string | undefined): void {
    for (const link of this.#between(from, to, network)) link.heal();
  }

  healAll(): void {
    for (const link of this.#links.values()) link.heal();
  }

  slow(from: string, to: string, slowness: Slowness, network: string | undefined): void {
    for (const link of this.#between(from, to, network)) link.slow(slowness);
  }

  flip(from: string, to: string, share: number, leastBytes: number): void {
    for (const link of this.#between(from, to, undefined)) link.flip(share, leastBytes);
  }

  isDamaging(from: string, to: string, network: string): boolean {
    return this.#link(from, to, network).isDamaging;
  }

  isCut(from: string, to: string, network: string): boolean {
    return this.#link(from, to, network).isCut;
  }

  arrivals(from: string, to: string): Arrivals {
    this.#machine(from);
    this.#machine(to);
    const key = `${from}>${to}`;
    const arrivals = this.#arrivals.get(key) ?? new Arrivals();
    this.#arrivals.set(key, arrivals);
    return arrivals;
  }

  listen(process: Process, node: string, at: Address, onConnection: (s: IoSocket) => void): Listener {
    const machine = this.#machine(node);
    const accepting =
      at.kind === 'unix' ? this.#bindUnix(machine, process, at, onConnection) : this.#bindTcp(machine, process, node, at, onConnection);
    return {
      address: accepting.address,
      close: () =>
        process.call('net.unlisten', 0, () => {
          accepting.close();
        }),
    };
  }

  connect(process: Process, node: string, to: Address, timeoutMs: number): Promise<IoSocket> {
    return new Promise<IoSocket>((resolve, reject) => {
      let over = false;
      const timer = process.post('timer', timeoutMs, () => {
        this.#counters.add('connectsTimedOut');
        settle(() => {
          reject(new IoError(Errno.ETIMEDOUT, `${describe(to)} did not answer within ${String(timeoutMs)} ms`));
        });
      });
      const settle = (f: () => void): void => {
        if (over) return;
        over = true;
        timer.cancel();
        f();
      };
      const refuse = (delayMs: number, errno: number, why: string): void => {
        this.#counters.add('connectsRefused');
        process.post('net.refused', delayMs, () => {
          settle(() => {
            reject(new IoError(errno, `${describe(to)}: ${why}`));
          });
        });
      };
      const target = to.kind === 'unix' || isLoopback(to.host) ? { node, network: DEFAULT_NETWORK } : this.#hosts.get(to.host);
      if (target === undefined) {
        refuse(0.1, Errno.EHOSTUNREACH, 'no such host');
        return;
      }
      const out = this.#link(node, target.node, target.network);
      const back = this.#link(target.node, node, target.network);
      const attempt = (retryMs: number): void => {
        this.#schedule.after(out.journeyMs(0), 'net.syn', out.name, () => {
          if (over || !process.alive) return;
          const machine = this.#machine(target.node);
          if (out.isCut || back.isCut || !machine.up) {
            this.#counters.add('handshakesLost');
            this.#schedule.after(retryMs, 'net.synAgain', out.name, () => {
              if (!over) attempt(retryMs * 2);
            });
            return;
          }
          const accepting = this.#accepting(machine, to);
          if (accepting === undefined) {
            const absent = to.kind === 'unix' && !machine.unixBound.has(to.path);
            refuse(back.journeyMs(0), absent ? Errno.ENOENT : Errno.ECONNREFUSED, absent ? 'no such socket' : 'nobody listens');
            return;
          }
          const mine = this.#establish(process, node, to, out, back, accepting);
          process.post('net.connected', back.journeyMs(0), () => {
            if (over) mine.destroy();
            settle(() => {
              resolve(mine);
            });
          });
        });
      };
      attempt(HANDSHAKE_RETRY_MS);
    });
  }

  #establish(process: Process, node: string, to: Address, out: Link, back: Link, accepting: Accepting): SimSocket {
    this.#counters.add('connections');
    const up = (name: string, again: () => void): boolean => this.#isUp(name, again);
    const machine = this.#machine(node);
    machine.nextPort += 1;
    const mine = new SimSocket(process, describe(to), out, up, this.#sockets);
    const from = to.kind === 'unix' ? describe(to) : `${node}:${String(machine.nextPort)}`;
    const theirs = new SimSocket(accepting.process, from, back, up, this.#sockets);
    SimSocket.join(mine, theirs);
    accepting.process.post('net.accept', this.#stream.latency(LOOPBACK), () => {
      if (accepting.open) accepting.onConnection(theirs);
      else theirs.destroy();
    });
    return mine;
  }

  #bindUnix(machine: Machine, process: Process, at: Address & { kind: 'unix' }, f: (s: IoSocket) => void): Accepting {
    if (machine.unix.has(at.path)) throw new IoError(Errno.EADDRINUSE, `${at.path} is in use`);
    const accepting = new Accepting(process, at, f, () => machine.unix.delete(at.path));
    machine.unix.set(at.path, accepting);
    machine.unixBound.add(at.path);
    return accepting;
  }

  #bindTcp(machine: Machine, process: Process, node: string, at: Address & { kind: 'tcp' }, f: (s: IoSocket) => void): Accepting {
    if (!isWildcard(at.host) && !isLoopback(at.host) && this.#hosts.get(at.host)?.node !== node) {
      throw new IoError(Errno.EADDRNOTAVAIL, `${at.host} is not an address of ${node}`);
    }
    let { port } = at;
    while (port === 0) {
      machine.nextPort += 1;
      if (!machine.tcp.has(machine.nextPort)) port = machine.nextPort;
    }
    if (machine.tcp.has(port)) throw new IoError(Errno.EADDRINUSE, `port ${String(port)} of ${node} is in use`);
    const accepting = new Accepting(process, { kind: 'tcp', host: at.host, port }, f, () => machine.tcp.delete(port));
    machine.tcp.set(port, accepting);
    return accepting;
  }

  #accepting(machine: Machine, to: Address): Accepting | undefined {
    if (to.kind === 'unix') return machine.unix.get(to.path);
    const found = machine.tcp.get(to.port);
    if (found?.address.kind !== 'tcp') return undefined;
    const { host } = found.address;
    return isLoopback(to.host) || isWildcard(host) || host === to.host ? found : undefined;
  }

  #isUp(node: string, again: () => void): boolean {
    const machine = this.#machine(node);
    if (machine.up) return true;
    machine.waiting.push(again);
    return false;
  }

  #machine(node: string): Machine {
    const found = this.#machines.get(node);
    if (found === undefined) throw new Error(`there is no node ${node} in this world`);
    return found;
  }

  #between(from: string, to: string, network: string | undefined): Link[] {
    if (from === to) throw new Error('a node cannot be cut off from itself');
    return (network === undefined ? [...this.#networks] : [network]).map((n) => this.#link(from, to, n));
  }

  #link(from: string, to: string, network: string): Link {
    this.#machine(from);
    this.#machine(to);
    const key = `${from}>${to}/${network}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      const latency = from === to ? LOOPBACK : this.#latency;
      link = new Link(from, to, network, () => this.#schedule.now(), this.#stream, latency, this.arrivals(from, to));
      this.#links.set(key, link);
    }
    return link;
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function isWildcard(host: string): boolean {
  return host === '' || host === '0.0.0.0' || host === '::';
}

function describe(a: Address): string {
  return a.kind === 'unix' ? `unix:${a.path}` : `${a.host}:${String(a.port)}`;
}
