/**
 * NBD clients that do no good, by plain sockets and bytes: idle ones, and such as do each one thing that no honest client does.
 * Each comes from one of many addresses of this machine (127.x.y.z), and comes again when it has been ended.
 *
 * A crowd on other machines would not cost this one the time to make what it sends: that is made beforehand, and what one peer sends at
 * a time leaves by one call. Whoever was held up makes up for it, and counts tell whether all was done that was to be.
 */
import { connect, type Socket } from 'node:net';
import * as wire from '../../src/nbd/wire/constants.ts';
import * as hs from '../../src/nbd/wire/handshake.ts';
import { REQUEST, viewOf } from '../../src/nbd/wire/layout.ts';
import { encodeRequest } from '../../src/nbd/wire/transmission.ts';

const MISDEEDS = ['unread', 'half', 'garbage', 'options', 'trickle', 'churn', 'refused'] as const;
type Misdeed = (typeof MISDEEDS)[number];
type Kind = 'silent' | 'idle' | Misdeed;

const TICK_MS = 100;
/** Made up for at once when the process was held up; what is beyond that is not done, and counted. */
const TICKS_LATE_MAX = 10;
const MiB = 1024 * 1024;
const READS = 64;
const READ_BYTES = 1 * MiB;
/** Of a WRITE whose payload does not come. */
const PROMISED_BYTES = 32 * MiB;
const PER_ADDRESS = 8;

export interface HostileOptions {
  port: number;
  exportName: string;
  /** A third of them say nothing from the beginning, the others are in transmission. */
  idle: number;
  misbehaving: number;
  /** Of the net 127.0.0.0/8 that they come from: a crowd after another on the same ones would find them barred. */
  secondByte: number;
}

export interface HostileCounts {
  connected: number;
  inTransmission: number;
  /** Times one was ended, or not let in. */
  ended: number;
  /** Turns in which each did what it does, and those that there was time for since the beginning: less when the process was held up. */
  turns: number;
  turnsDue: number;
}

function request(cmd: number, flags: number, cookie: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(REQUEST.SIZE);
  encodeRequest(viewOf(bytes), 0, { flags, type: cmd, cookieHi: 0, cookieLo: cookie, offset, length });
  return bytes;
}

const HELLO = Buffer.concat([
  hs.encodeClientFlags(wire.NBD_FLAG_C_FIXED_NEWSTYLE | wire.NBD_FLAG_C_NO_ZEROES),
  hs.encodeOption(wire.NBD_OPT_STRUCTURED_REPLY, new Uint8Array(0)),
]);
const UNREAD = Buffer.concat(Array.from({ length: READS }, (_, i) => request(wire.NBD_CMD_READ, 0, i, i * READ_BYTES, READ_BYTES)));
const HALF = Buffer.concat([request(wire.NBD_CMD_WRITE, 0, 1, 0, PROMISED_BYTES), new Uint8Array(1024)]);
/** For 64 turns, 64 bytes each. */
const GARBAGE = Buffer.from(Array.from({ length: 64 * 64 }, (_, i) => ((i % 64) * 37 + Math.floor(i / 64) * 101) & 255));
const OPTIONS = Buffer.concat(Array.from({ length: 20 }, () => hs.encodeOption(wire.NBD_OPT_LIST, new Uint8Array(0))));
const REFUSED = Buffer.concat(
  Array.from({ length: 5 }, (_, i) => [
    request(wire.NBD_CMD_READ, 0, i, 2 ** 50, 4096),
    request(77, 0xffff, i, 0, 4096),
    request(wire.NBD_CMD_TRIM, 0, i, 1, 3),
  ]).flat(),
);

class Peer {
  readonly #kind: Kind;
  readonly #o: HostileOptions;
  readonly #address: string;
  #socket: Socket | undefined;
  #received = 0;
  #step = 0;
  ended = 0;
  stopped = false;

  constructor(kind: Kind, number: number, o: HostileOptions) {
    this.#kind = kind;
    this.#o = o;
    const host = Math.floor(number / PER_ADDRESS) + 2;
    this.#address = `127.${String(o.secondByte)}.${String(host >> 8)}.${String(host & 255)}`;
  }

  get connected(): boolean {
    return this.#socket !== undefined && this.#received > 0;
  }

  /** The greeting, and what follows the two options. */
  get inTransmission(): boolean {
    return this.#socket !== undefined && this.#received > hs.encodeGreeting(0).length + 40;
  }

  begin(): void {
    const s = connect({ host: '127.0.0.1', port: this.#o.port, localAddress: this.#address });
    this.#socket = s;
    this.#received = 0;
    this.#step = 0;
    s.on('data', (b: Buffer) => {
      this.#received += b.length;
    });
    s.on('connect', () => {
      if (this.#kind === 'silent' || this.#kind === 'garbage' || this.#kind === 'trickle' || this.#kind === 'churn') return;
      if (this.#kind === 'options') s.write(HELLO);
      else s.write(Buffer.concat([HELLO, hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest(this.#o.exportName, []))]));
    });
    // Being ended is what it is here for.
    s.on('error', () => undefined);
    s.on('close', () => {
      if (this.#socket !== s) return;
      this.#socket = undefined;
      this.ended += 1;
    });
  }

  end(): void {
    this.stopped = true;
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  /** Ten times a second. */
  tick(now: number): void {
    const s = this.#socket;
    if (s === undefined) {
      if (!this.stopped && now % 5 === 0) this.begin();
      return;
    }
    if (s.pending || s.destroyed) return;
    this.#step += 1;
    this.#act(s);
  }

  #act(s: Socket): void {
    switch (this.#kind) {
      case 'silent':
      case 'idle':
        return;
      case 'unread':
        if (!this.inTransmission || s.isPaused()) return;
        s.pause();
        s.write(UNREAD);
        return;
      case 'half':
        if (!this.inTransmission || this.#step > 1000) return;
        this.#step = 1001;
        s.write(HALF);
        return;
      case 'garbage':
        s.write(GARBAGE.subarray((this.#step % 64) * 64).subarray(0, 64));
        return;
      case 'options':
        s.write(OPTIONS);
        return;
      case 'trickle':
        s.write(HELLO.subarray(this.#step % HELLO.length, (this.#step % HELLO.length) + 1));
        return;
      case 'churn':
        s.resetAndDestroy();
        return;
      case 'refused':
        if (this.inTransmission) s.write(REFUSED);
    }
  }
}

export class HostilePeers {
  readonly #peers: Peer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #begunMs = 0;
  #ticks = 0;
  #skipped = 0;
  #begun = 0;

  constructor(o: HostileOptions) {
    for (let i = 0; i < o.idle; i += 1) this.#peers.push(new Peer(i % 3 === 0 ? 'silent' : 'idle', i, o));
    for (let i = 0; i < o.misbehaving; i += 1) {
      this.#peers.push(new Peer(MISDEEDS[i % MISDEEDS.length] ?? 'churn', o.idle + i, o));
    }
  }

  start(): void {
    this.#begunMs = performance.now();
    this.#timer = setInterval(() => {
      const late = this.#due() - this.#ticks - this.#skipped;
      this.#skipped += Math.max(0, late - TICKS_LATE_MAX);
      for (let i = Math.min(late, TICKS_LATE_MAX); i > 0; i -= 1) this.#tick();
    }, TICK_MS);
  }

  #due(): number {
    return Math.floor((performance.now() - this.#begunMs) / TICK_MS);
  }

  #tick(): void {
    this.#ticks += 1;
    // Not all at once: the listener's queue is no part of what is tried.
    for (let i = 0; i < 200 && this.#begun < this.#peers.length; i += 1, this.#begun += 1) this.#peers[this.#begun]?.begin();
    for (let i = 0; i < this.#begun; i += 1) this.#peers[i]?.tick(this.#ticks + i);
  }

  counts(): HostileCounts {
    return {
      connected: this.#peers.filter((p) => p.connected).length,
      inTransmission: this.#peers.filter((p) => p.inTransmission).length,
      ended: this.#peers.reduce((n, p) => n + p.ended, 0),
      turns: this.#ticks,
      turnsDue: this.#due(),
    };
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const p of this.#peers) p.end();
  }
}
