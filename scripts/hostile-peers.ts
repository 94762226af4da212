/** The peers of scripts/bench-hostile, in a process of their own: argv PORT EXPORT IDLE MISBEHAVING NICE NET; a line of JSON each second; ends with its input. */
import { setPriority } from 'node:os';
import { HostilePeers } from '../test/support/hostile-peers.ts';

const [port = '', exportName = '', idle = '', misbehaving = '', nice = '0', net = '1'] = process.argv.slice(2);
setPriority(Number(nice));
const peers = new HostilePeers({ port: Number(port), exportName, idle: Number(idle), misbehaving: Number(misbehaving), secondByte: Number(net) });
peers.start();
const timer = setInterval(() => {
  process.stdout.write(`${JSON.stringify(peers.counts())}\n`);
}, 1000);
process.stdin.on('end', () => {
  clearInterval(timer);
  peers.stop();
});
process.stdin.resume();
