/**
 * demo-watchdog.mjs PID SECONDS: for scripts/demo, whose child it is. Says `listening` once it listens; passes Ctrl-C on to its
 * parent as SIGUSR1, and ends it with SIGTERM after that time. The parent, once it ends, ends it.
 *
 * It says so again until then, since bash forgets about one in a hundred signals: one that comes while it reaps a command whose
 * output it asked for, which is what the demo does most.
 */
const [pid, seconds] = process.argv.slice(2).map(Number);
const AGAIN_MS = 200;

let signal;
function look() {
  // Once its parent is gone the number may be another process's.
  if (process.ppid !== pid) process.exit(0);
  if (signal !== undefined) process.kill(pid, signal);
}
function tell(what) {
  signal = what;
  look();
}

setInterval(look, AGAIN_MS);
setTimeout(() => tell('SIGTERM'), seconds * 1000);
process.on('SIGINT', () => tell('SIGUSR1'));
process.stdout.write('listening\n');
