# Sourced by scripts/test, scripts/demo and scripts/prebuild, from the top of the tree: sets up what they both need, or says what is lacking.
# Nothing here ends the caller: a function answers by its status, and has then said why.

export DEBIAN_FRONTEND=noninteractive npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false

# What npm needs to build native packages.
packages_base='build-essential python3'
# What makes block devices and filesystems of mirrors.
packages_devices='libnbd-bin fuse3 nbd-client e2fsprogs util-linux mount'
build_stamp=node_modules/.cache/netraid-built

say() { printf '%s\n' "$*"; }

missing_packages() {
  local p
  for p in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] || printf '%s ' "$p"
  done
}

# Sets `lacking` to those of the Debian packages that are not there; root gets them installed first.
lacking=''
setup_packages() {
  local needed log
  needed=$(printf '%s\n' "$@" | sort -u | tr '\n' ' ')
  lacking=''
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system: whether these are installed is not checked: $needed"
    return 0
  fi
  # shellcheck disable=SC2086
  lacking=$(missing_packages $needed)
  if [[ -n $lacking ]] && ((EUID == 0)); then
    say "installing Debian packages: $lacking"
    log=$(mktemp)
    # shellcheck disable=SC2086
    timeout -k 10 600 bash -c 'apt-get update -q && apt-get install -q -y --no-install-recommends "$@"' apt $lacking >"$log" 2>&1 || tail -n 20 "$log"
    rm -f "$log"
    # shellcheck disable=SC2086
    lacking=$(missing_packages $needed)
  fi
  [[ -z $lacking ]] && return 0
  say "MISSING Debian packages: $lacking"
  say "  install them: sudo apt-get update && sudo apt-get install -y $lacking"
  return 1
}

# Sets `node_version`; false when it is too old or absent.
node_version=''
setup_node() {
  local major minor
  node_version=$(node --version 2>/dev/null || say none)
  IFS=. read -r major minor _ <<<"${node_version#v}"
  if [[ $node_version != none ]] && ((major > 20 || (major == 20 && minor >= 19))); then return 0; fi
  say "Node: found $node_version, and NetRAID needs 20.19 or later (Debian 12's own package is 18, too old)."
  say '  install Node 20, 22 or 24 from nodejs.org or with a version manager, so that `node --version` shows it'
  return 1
}

# Quiet when it goes well; the beginning and the end of what it said when not.
run_quietly() {
  local log status=0
  log=$(mktemp)
  timeout -k 10 600 "$@" >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    head -n 15 "$log"
    tail -n +16 "$log" | tail -n 20
  fi
  rm -f "$log"
  return "$status"
}

# The npm packages of the lock file, and the native shim. NETRAID_NATIVE=required: a shim that does not build is a failure.
setup_npm() {
  local built
  if [[ ! -f node_modules/.package-lock.json || package-lock.json -nt node_modules/.package-lock.json ]]; then
    say 'npm ci'
    run_quietly npm ci
  elif [[ -f native-shims/binding.gyp ]]; then
    built=$(find native-shims/build/Release -name '*.node' -print -quit 2>/dev/null)
    if [[ -z $built || -n $(find native-shims \( -path native-shims/build -o -path native-shims/prebuilds \) -prune -o -type f -newer "$built" -print -quit) ]]; then
      say 'building the native shim'
      run_quietly npm run install
    fi
  fi
}

# Compiles src to dist, unless nothing has changed since the last time.
setup_build() {
  if [[ -f $build_stamp && -f dist/main/netraidd.js && -z $(find src scripts/build.mjs package.json tsconfig*.json -newer "$build_stamp" -print -quit) ]]; then return 0; fi
  say 'npm run build'
  mkdir -p "${build_stamp%/*}"
  # Marked as of its beginning: what changes while it runs is compiled again.
  touch "$build_stamp.began"
  run_quietly npm run build || return 1
  mv "$build_stamp.began" "$build_stamp"
}
