# Sourced by scripts/demo and scripts/demo-story: nodes, what is printed, and how everything goes away again.
#
#   base/serverN        root of a node: etc/netraid.yaml, state, sockets, logs; mnt is where it mounts the mirror
#   loopback-images/serverN/leg    its leg
#
# The base is a short path of its own, since names of unix sockets may have some hundred bytes only. What a demo that was
# killed left behind is found through loopback-images/.demo, which names its base.

export LC_ALL=C
images=$PWD/loopback-images
record=$images/.demo
tag=data
nodes=(server1 server2 server3)
base=''
keep=''
writer=''
watchdog=''
checks=0
declare -A pids=()
declare -A ports=()
demo_packages="$packages_base $packages_devices procps"

bold='' dim='' green='' red='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

# ------------------------------------------------------------------------------------------------------ printing

now_ms() { printf '%s' $((${EPOCHREALTIME/./} / 1000)); }
began_ms=$(now_ms)
seconds() { awk -v ms="$1" 'BEGIN { printf "%.1f s", ms / 1000 }'; }
since() { seconds $(($(now_ms) - $1)); }
size() {
  awk -v b="$1" 'BEGIN { n = split("B KiB MiB GiB", u); i = 1; while (b >= 1024 && i < n) { b /= 1024; i++ } printf (i == 1 ? "%d %s" : "%.1f %s"), b, u[i] }'
}

steps=0
step() {
  steps=$((steps + 1))
  printf '\n%s%2d. %s%s %s[%s]%s\n' "$bold" "$steps" "$*" "$plain" "$dim" "$(since "$began_ms")" "$plain"
}
tell() { printf '    %s\n' "$*"; }
passed() {
  checks=$((checks + 1))
  printf '    %sok%s  %s\n' "$green" "$plain" "$*"
}

fail() {
  printf '\n%sFAILED: %s%s\n' "$red" "$*" "$plain"
  local node log
  for node in "${nodes[@]}"; do
    log=$base/$node/log
    [[ -n $base && -s $log ]] || continue
    printf '\nThe end of the log of %s:\n' "$node"
    tail -n 15 "$log"
  done
  exit 1
}

# check TEXT COMMAND...: one thing that must hold.
check() {
  local text=$1
  shift
  "$@" || fail "$text: it is not so ($*)"
  passed "$text"
}

# --------------------------------------------------------------------------------------------------------- nodes

# A program of NetRAID on a node, in silence. Nothing that is started may hold the lock of the demo.
at() {
  local node=$1 program=$2
  shift 2
  NETRAID_ROOT=$base/$node timeout -k 5 90 node "dist/main/$program.js" "$@" 9>&-
}

# The same as one would type it there, with what it answers.
on() {
  local node=$1 program=$2
  shift 2
  printf '    %s%s#%s %s\n' "$bold" "$node" "$plain" "$program $*"
  interruptible env NETRAID_ROOT="$base/$node" node "dist/main/$program.js" "$@" >"$base/said" 2>&1
  local status=$?
  sed 's/^/      /' "$base/said"
  ((status == 0)) || fail "on $node: $program $* (exit code $status)"
}

# What lasts does not keep Ctrl-C from getting through, not even where it hangs in the kernel.
interruptible() {
  timeout -k 5 90 "$@" 9>&- &
  wait $!
}

configure() {
  local node=$1 peer
  mkdir -p "$base/$node/etc" "$images/$node"
  {
    printf 'version: 1\ncluster: demo\nnode: %s\nlisten: 127.0.0.1:%s\n' "$node" "${ports[$node]}"
    # By default the 1024 regions that were written last stay marked, which is all of so small a device.
    printf 'keepDirtyMax: 16\npeers:\n'
    for peer in "${nodes[@]}"; do
      [[ $peer == "$node" ]] || printf '  %s: 127.0.0.1:%s\n' "$peer" "${ports[$peer]}"
    done
  } >"$base/$node/etc/netraid.yaml"
}

# In a session of its own: Ctrl-C is for the demo, which then stops its nodes in order.
start() {
  local node=$1
  setsid node dist/main/netraidd.js --root "$base/$node" </dev/null >>"$base/$node/log" 2>&1 9>&- &
  pids[$node]=$!
  disown "${pids[$node]}"
  printf '%s\n' "${pids[$node]}" >"$base/$node/pid"
}
hears() { [[ $(at "$1" netraid info --json 2>/dev/null | grep -c '"reachable": true') == "$2" ]]; }

crash() {
  kill -KILL "${pids[$1]}"
  while kill -0 "${pids[$1]}" 2>/dev/null; do sleep 0.02; done
  unset "pids[$1]"
  rm -f "$base/$1/pid"
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
  local until=$(($(now_ms) + $1 * 1000)) what=$2
  shift 2
  until "$@"; do
    (($(now_ms) < until)) || fail "waited in vain: $what"
    sleep 0.1 &
    wait $!
  done
}

facts() { node scripts/demo-facts.mjs "$@"; }

# `facts status` of a node: one line for itself, one for each target when it is in service. Empty while it does not answer.
look() { at "$1" netraid status "$tag" --json 2>/dev/null | facts status 2>/dev/null; }
serves() { [[ $(look "$1") == 'node Source true '* ]]; }
# What would be resynced if the source crashed now has come down to what its configuration keeps.
settled() {
  local intent
  read -r _ _ _ _ intent < <(look "$1")
  [[ -n $intent ]] && ((intent <= $2))
}
# all_are NODE STATE TARGET...: `seen` is what the node said last.
seen=''
all_are() {
  local node=$1 state=$2 target
  shift 2
  seen=$(look "$node")
  for target in "$@"; do grep -q "^$target $state " <<<"$seen" || return 1; done
}

# ---------------------------------------------------------------------------------------------------- going away

# Everything of a demo at `base` that outlives its processes: mounts, devices, FUSE folders.
drop_devices() {
  local node loop backing dir
  for node in "${nodes[@]}"; do
    if compgen -G "$base/$node/run/*.attach*" >/dev/null; then at "$node" netraid detach "$tag" --unmount >/dev/null 2>&1; fi
  done
  # What is left after that is left by a bug, and goes by force.
  while read -r dir; do umount -l "$dir"; done < <(mounts_below | grep -v '\.attach$')
  for loop in /sys/block/loop*/loop/backing_file; do
    [[ -r $loop ]] && read -r backing <"$loop" && [[ $backing == "$base"/* ]] || continue
    loop=${loop#/sys/block/}
    losetup -d "/dev/${loop%%/*}"
  done
  while read -r dir; do fusermount3 -u -z "$dir"; done < <(mounts_below)
}
mounts_below() { awk -v below="$base/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | tac; }
loops_below() { cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep -F "$base/"; }
processes_below() { pgrep -f -- "$base/"; }

stop_nodes() {
  local node pid until=$(($(now_ms) + 10000))
  for node in "${nodes[@]}"; do
    pid=$(cat "$base/$node/pid" 2>/dev/null) || continue
    # The number may have been given to another process since: only one of ours is stopped.
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$base/$node" || continue
    kill -TERM "$pid" 2>/dev/null || continue
    while kill -0 "$pid" 2>/dev/null; do
      if (($(now_ms) >= until)); then kill -KILL "$pid" 2>/dev/null; fi
      sleep 0.05
    done
    rm -f "$base/$node/pid"
  done
}

# Idempotent; also for what an earlier demo left.
take_away() {
  [[ -n $base && -d $base ]] || return 0
  local job
  for job in $(jobs -p) $writer; do kill "$job" 2>/dev/null; done
  drop_devices
  stop_nodes
}

remove_files() {
  local node
  for node in "${nodes[@]}"; do rm -rf "${images:?}/$node"; done
  [[ -z $base ]] || rm -rf "$base"
  rm -f "$record"
  base=''
}

# Of a demo that was killed, or kept.
take_leftovers() {
  [[ -s $record ]] || return 0
  base=$(<"$record")
  if [[ $base == /tmp/netraid-demo.* ]]; then
    if [[ -n $(mounts_below)$(loops_below)$(processes_below) ]]; then say "an earlier demo was killed: cleaning up after it ($base)"; fi
    take_away
    remove_files
  fi
  base=''
}

finish() {
  local status=$?
  # In this order: a USR1 in between would end it without cleaning up.
  trap '' INT USR1 TERM HUP
  trap - EXIT
  if [[ -n $watchdog ]]; then kill "$watchdog" 2>/dev/null; fi
  take_away
  if [[ -n $base && -z $keep ]]; then remove_files; fi
  if [[ -n $base && -n $keep ]]; then
    say "kept: legs in $images, state and logs in $base; the next demo removes them"
  fi
  exit "$status"
}

# watch_over SECONDS: from here on it ends on a signal, or after that time, and everything goes away again. Ctrl-C comes by way
# of the watchdog: bash alone would forget some. SIGINT itself must not reach bash at all, which is why it is blocked from its
# start: one that comes just when bash begins to wait for a command has it send itself SIGINT for ever, even where it is ignored.
watch_over() {
  local blocked
  blocked=$(sed -n 's/^SigBlk:[[:space:]]*//p' "/proc/$$/status")
  ((0x$blocked & 2)) || fail 'a shell that is watched over is started by: env --block-signal=INT'
  trap finish EXIT
  trap 'interrupted Interrupted 130' USR1
  trap 'interrupted Terminated 143' TERM
  trap 'interrupted "Hung up" 129' HUP
  exec 8< <(exec node scripts/demo-watchdog.mjs $$ "$1" 9>&-)
  watchdog=$!
  read -r <&8 || fail 'scripts/demo-watchdog.mjs does not start'
  exec 8<&-
}

interrupted() {
  printf '\n%s%s: stopping the nodes and cleaning up%s\n' "$red" "$1" "$plain"
  exit "$2"
}

# ------------------------------------------------------------------------------------------------------- lacking

# One line for each thing without which the demo can not run.
lacks() {
  local p
  ((EUID == 0)) || say 'root, who alone makes block devices and mounts them: run it as root (sudo scripts/demo)'
  setup_node >/dev/null || say "Node 20.19 or later; found: $node_version. Install Node 20, 22 or 24 from nodejs.org"
  if command -v dpkg-query >/dev/null; then
    # shellcheck disable=SC2086
    p=$(missing_packages $demo_packages)
    [[ -z $p ]] || say "Debian packages: $p(sudo apt-get update && sudo apt-get install -y $p)"
  else
    for p in cc make python3 nbdfuse fusermount3 losetup mount blkid wipefs mkfs.ext4 e2fsck pgrep; do
      PATH=$PATH:/usr/sbin:/sbin command -v "$p" >/dev/null || say "the program $p"
    done
  fi
  if ((EUID == 0)); then modprobe -q -a fuse loop ext4 2>/dev/null; fi
  if [[ ! -e /dev/nbd0 ]]; then
    for p in /dev/fuse /dev/loop-control; do [[ -e $p ]] || say "$p: a kernel, or a container, that has it"; done
  fi
  grep -qw ext4 /proc/filesystems || say 'ext4 in the kernel'
}
