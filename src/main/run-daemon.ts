/** The daemon's composition root: configuration, wiring, signals. */
import { parseArgs } from 'node:util';
import { join } from 'node:path';
import { DaemonControl } from '../control/actions.ts';
import { loadConfig, type NodeConfig } from '../control/config.ts';
import { Daemon } from '../control/daemon.ts';
import { type ControlServer, startControlServer } from '../control/http-server.ts';
import { controlSocketPath, DEFAULT_ROOT } from '../control/places.ts';
import { securedParts, tlsNeeds } from '../control/tls-needs.ts';
import { makeFolders } from '../failover/flags.ts';
import { nodePaths } from '../failover/paths.ts';
import { FaultEngine } from '../io/fault-engine.ts';
import { memoryShield, shieldChoice, shieldLines } from '../io/node/memory-shield.ts';
import { createNodeIo, engineChoice } from '../io/node/node-io.ts';
import { packageVersion } from '../io/node/package-folder.ts';
import type { Log } from '../io/log.ts';
import { NodeClientTls } from '../io/node/client-tls.ts';
import { type KernelTls, kernelTlsChoice } from '../io/node/kernel-tls.ts';
import { NodeTls } from '../io/node/tls.ts';
import type { Io, IoFile } from '../io/types.ts';
import { createLog, type LogFormat } from './log.ts';
import { devicesBelow, LostDevices } from './lost-devices.ts';

const HELP = `netraidd: the NetRAID daemon, one a node

Usage: netraidd [--root DIR] [--log text|json]

  --root DIR      where this node keeps its state and configuration (default ${DEFAULT_ROOT}, or NETRAID_ROOT)
  --log FORMAT    text (default) or json, on standard error
  --help          this text
  --version       the version

NETRAID_ENGINE in the environment: native (default), the engine in the native shim, or portable, which is slower and needs no
shim, and serves where there is none for the machine.
NETRAID_KERNEL_TLS in the environment: on (default), the kernel encrypts what nodes send each other in TLS, where it can and the
native engine serves; or off, Node does.
NETRAID_MEMORY_SHIELD in the environment: on (default), the daemon keeps itself from waiting for itself and from being killed when
memory is short, as far as it may, and says what it may not; or off.

The configuration is DIR/etc/netraid.yaml, for example:
  version: 1
  cluster: production
  node: server1
  listen: 10.0.0.1:7788
  peers: {server2: '10.0.0.2:7788'}

Exit codes: 0 stopped in order, 1 could not start or had to stop, 2 wrong usage or configuration.
SIGTERM and SIGINT stop it in order: mirrors leave service cleanly.
`;

/** How long a clean stop may take, besides hooks, before the daemon leaves as after a crash. */
const STOP_MAX_MS = 60_000;
/** A hook that runs when the stop begins, and those for out-of-service. */
const HOOK_EVENTS_AT_STOP = 2;

interface Arguments {
  root: string;
  log: LogFormat;
}

/** What to run with, or the exit code when there is nothing to run. */
function readArguments(): Arguments | number {
  try {
    const { values } = parseArgs({
      options: { root: { type: 'string' }, log: { type: 'string' }, help: { type: 'boolean' }, version: { type: 'boolean' } },
    });
    if (values.help === true) {
      process.stdout.write(HELP);
      return 0;
    }
    if (values.version === true) {
      process.stdout.write(`${packageVersion()}\n`);
      return 0;
    }
    const log = values.log ?? 'text';
    if (log !== 'text' && log !== 'json') throw new Error(`--log ${log}: allowed are text and json`);
    if (values.root === '') throw new Error('--root is empty: allowed is a folder');
    // Set and empty is not set, as for the commands.
    const fromEnvironment = process.env['NETRAID_ROOT'] ?? '';
    return { root: values.root ?? (fromEnvironment === '' ? DEFAULT_ROOT : fromEnvironment), log };
  } catch (e: unknown) {
    process.stderr.write(`netraidd: ${e instanceof Error ? e.message : String(e)}; see netraidd --help\n`);
    return 2;
  }
}

/** One daemon a root: the lock lives as long as the process. */
async function lockRoot(io: Io, root: string): Promise<IoFile> {
  await makeFolders(io.files, root);
  const file = await io.files.open(join(root, 'run/netraidd.lock'), { write: true, create: true });
  if (await file.tryLock()) return file;
  await file.close();
  throw new Error(`another netraidd is running on ${root}`);
}

/** Null: no connection of this node is to be secured. Rejects with Error, one line. */
async function openTls(io: Io, root: string, config: NodeConfig, log: Log, kernel: KernelTls | undefined): Promise<NodeTls | null> {
  const needs = tlsNeeds(config);
  if (!needs.links && !needs.exports) return null;
  try {
    return await NodeTls.open({ files: io.files, folder: nodePaths(root).tls, node: config.node, clock: io.clock, log, kernel });
  } catch (e: unknown) {
    const why = e instanceof Error ? e.message : String(e);
    const hint =
      needs.links && config.tls === 'auto'
        ? '. Nodes speak TLS beyond loopback; in a network that nobody else reaches, "tls: off" in netraid.yaml does without'
        : '';
    throw new Error(`${why}${hint}`, { cause: e });
  }
}

async function main(): Promise<number> {
  const args = readArguments();
  if (typeof args === 'number') return args;
  const { root } = args;
  const shield = memoryShield();
  const faults = process.env['NETRAID_TEST_FAULTS'];
  let engine;
  let kernelTls;
  let io: Io;
  let loaded;
  try {
    engine = engineChoice(process.env['NETRAID_ENGINE']);
    kernelTls = kernelTlsChoice(process.env['NETRAID_KERNEL_TLS'], engine.engine);
    if (shieldChoice(process.env['NETRAID_MEMORY_SHIELD'])) shield.raise();
    io = createNodeIo({
      engine,
      ...(faults === undefined ? {} : { wrapEngine: (inner, files, clock) => new FaultEngine(inner, files, clock, faults) }),
    });
    loaded = await loadConfig(io.files, root, process.env);
  } catch (e: unknown) {
    process.stderr.write(`netraidd: ${e instanceof Error ? e.message : String(e)}\n`);
    return 2;
  }
  const { config, tunables } = loaded;
  const log = createLog(args.log);
  if (engine.instead !== undefined) log.warn(engine.instead, {});
  for (const key of tunables.unknown) log.warn('a tunable that NetRAID does not know is ignored', { key });
  let lock: IoFile | undefined;
  let control: ControlServer | undefined;
  let daemon: Daemon | undefined;
  // The clock's timers do not keep a process alive; a daemon must.
  const hold = setInterval(() => undefined, STOP_MAX_MS);
  try {
    lock = await lockRoot(io, root);
    const tls = await openTls(io, root, config, log, kernelTls);
    const clientTls = new NodeClientTls({ files: io.files, clock: io.clock, folder: nodePaths(root).tls, node: config.node });
    daemon = new Daemon({
      io,
      root,
      ...config,
      ...securedParts(config, tls),
      foreignTls: { tls: clientTls, required: config.tls === 'required' },
      settings: loaded.settings,
      tunables: loaded.nodeTunables,
      log,
    });
    for (const { level, message, fields } of shieldLines(shield.facts)) log[level](message, fields);
    const client = new DaemonControl(daemon, {
      version: packageVersion(),
      regionBytes: tunables.regionBytes,
      waitForPreviousSourceSec: tunables.waitForPreviousSourceSec,
    });
    const devices = new LostDevices(devicesBelow(nodePaths(root).run), io.clock, log);
    daemon.onEvent((e) => {
      if (e.kind === 'out-of-service') devices.left(e.tag);
    });
    const stopping = new Promise<string>((resolve) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const)
        process.once(signal, () => {
          resolve(signal);
        });
    });
    await daemon.start();
    void devices.sweep();
    control = await startControlServer({ client, socketPath: controlSocketPath(root), log });
    log.info('stopping', { signal: await stopping });
    devices.stop();
    await control.close();
    const late = setTimeout(
      () => {
        process.stderr.write('netraidd: the clean stop takes too long; leaving as after a crash\n');
        process.exit(1);
      },
      STOP_MAX_MS + HOOK_EVENTS_AT_STOP * config.hookTimeoutMs,
    );
    await daemon.stop();
    clearTimeout(late);
    log.info('stopped', {});
    return 0;
  } catch (e: unknown) {
    log.error('netraidd can not run', { error: e instanceof Error ? e.message : String(e) });
    await control?.close();
    await daemon?.stop();
    return 1;
  } finally {
    clearInterval(hold);
    await lock?.close();
    await log.close();
  }
}

process.exitCode = await main();
