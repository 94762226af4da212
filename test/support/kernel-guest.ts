/**
 * A virtual machine with a Linux kernel of its own, whose nbd.ko is a client that nobody here wrote. It reaches this machine's loopback as 10.0.2.2.
 *
 *   KernelGuest -> setpriv --pdeathsig KILL qemu-system-x86_64 -> guest-init
 *                        ttyS0: what the kernel says, in FOLDER/console
 *                        ttyS1: scripts in, their output and status out
 *
 * Quick by kvm; where that does not serve, every instruction is translated (tcg), and a second of work takes ten.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { GuestImage } from './guest-image.ts';
import { programsPath } from './programs.ts';

/** The host, as the guest sees it. */
export const HOST = '10.0.2.2';
/** Where kvm serves at all, a guest is there in two seconds; on some machines it is there, and hangs or aborts. */
const BOOT_MAX_MS = { kvm: 15_000, tcg: 90_000 };
const SCRIPT_MAX_MS = 60_000;
const SHOWN_LINES = 25;
const AGAIN = '@again\n';
const SENT_MAX = 5;

const MACHINE = ['-machine', 'q35', '-cpu', 'max', '-smp', '2', '-m', '768'];
const DEVICES = ['-nodefaults', '-display', 'none', '-no-reboot', '-netdev', 'user,id=n,ipv6=off', '-device', 'virtio-net-pci,netdev=n,romfile='];
const COMMAND_LINE = 'console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr random.trust_cpu=on';

export class KernelGuest {
  readonly #child: ChildProcess;
  readonly #consolePath: string;
  #said = '';
  #wake: () => void = () => undefined;
  #running = true;

  private constructor(image: GuestImage, folder: string, accelerator: 'kvm' | 'tcg') {
    this.#consolePath = path.join(folder, 'console');
    const serial = ['-serial', `file:${this.#consolePath}`, '-serial', 'stdio'];
    const boot = ['-kernel', image.kernel, '-initrd', image.initramfs, '-append', COMMAND_LINE];
    const args = ['--pdeathsig', 'KILL', 'qemu-system-x86_64', '-accel', accelerator, ...MACHINE, ...DEVICES, ...serial, ...boot];
    this.#child = spawn('setpriv', args, { env: { ...process.env, PATH: programsPath }, stdio: ['pipe', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#said += text.replaceAll('\r', '');
        this.#wake();
      });
    }
    // A guest that has ended takes no more; what waits for it says so.
    this.#child.stdin?.on('error', () => undefined);
    this.#child.on('error', (e) => {
      this.#said += String(e);
    });
    this.#child.on('close', () => {
      this.#running = false;
      this.#wake();
    });
  }

  /** Resolves when it takes scripts. */
  static async boot(image: GuestImage, folder: string): Promise<KernelGuest> {
    if (existsSync('/dev/kvm')) {
      try {
        return await KernelGuest.#boot(image, folder, 'kvm');
      } catch (e: unknown) {
        process.stderr.write(`no guest by kvm on this machine: ${/^qemu.*/m.exec(String(e))?.[0] ?? 'it does not boot'}\n`);
      }
    }
    return await KernelGuest.#boot(image, folder, 'tcg');
  }

  static async #boot(image: GuestImage, folder: string, accelerator: 'kvm' | 'tcg'): Promise<KernelGuest> {
    const guest = new KernelGuest(image, folder, accelerator);
    try {
      const said = await guest.#until(/^@ready .*\n/m, 'boot', BOOT_MAX_MS[accelerator]);
      if (said.includes('@failed')) throw new Error(`the guest is not whole:\n${said}`);
    } catch (e: unknown) {
      await guest.kill();
      throw e;
    }
    return guest;
  }

  /** Runs a shell script as `sh -eu` does, one at a time; gives its output. Any status but 0 is an error. */
  async run(script: string, timeoutMs = SCRIPT_MAX_MS): Promise<string> {
    const { status, output } = await this.try(script, timeoutMs);
    if (status !== 0) throw new Error(`in the guest: status ${String(status)} of: ${script}\n${output}\n${this.#console()}`);
    return output;
  }

  async try(script: string, timeoutMs = SCRIPT_MAX_MS): Promise<{ status: number; output: string }> {
    const line = Buffer.from(script).toString('base64');
    const sum = createHash('md5').update(`${line}\n`).digest('hex');
    let said = AGAIN;
    // A serial line loses bytes where the guest is busy for too long.
    for (let i = 0; i < SENT_MAX && said.endsWith(AGAIN); i += 1) {
      this.#child.stdin?.write(`${sum} ${line}\n`);
      said = await this.#until(/^@(?:done \d+|again)\n/m, script, timeoutMs);
    }
    if (said.endsWith(AGAIN)) throw new Error(`the guest was sent a script ${String(SENT_MAX)} times, and never whole: ${script}`);
    const [, output = '', status] = /^([^]*)^@done (\d+)\n$/m.exec(said) ?? [];
    return { status: Number(status), output };
  }

  /** What the kernel has said since the last time. */
  async kernelSaid(): Promise<string[]> {
    return (await this.run('dmesg -c')).split('\n');
  }

  async kill(): Promise<void> {
    if (!this.#running) return;
    const ended = new Promise<void>((resolve) => {
      this.#child.once('close', () => {
        resolve();
      });
    });
    this.#child.kill('SIGKILL');
    await ended;
  }

  #console(): string {
    const lines = readFileSync(this.#consolePath, 'utf8').split(/[\r\n]+/);
    return `--- the guest's kernel\n${lines.slice(-SHOWN_LINES).join('\n')}`;
  }

  /** Takes what was said up to the end of the match. At the deadline the guest is killed: nobody knows what it does. */
  async #until(end: RegExp, what: string, timeoutMs: number): Promise<string> {
    const late = setTimeout(() => {
      this.#child.kill('SIGKILL');
    }, timeoutMs);
    try {
      for (;;) {
        const found = end.exec(this.#said);
        if (found !== null) {
          const taken = this.#said.slice(0, found.index + found[0].length);
          this.#said = this.#said.slice(taken.length);
          return taken;
        }
        if (!this.#running)
          throw new Error(`the guest has ended, or was killed after ${String(timeoutMs)} ms, in: ${what}\n${this.#said}\n${this.#console()}`);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(late);
    }
  }
}
