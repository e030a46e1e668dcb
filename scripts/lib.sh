# shellcheck shell=bash disable=SC2034  # the variables are for those who source this
# What the scripts here share. Sourced, never run; needs bash.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=${XDG_STATE_HOME:-$HOME/.local/state}/ffe-deploy-dev
TOOLS=$STATE/bin # programs of an exact version, put there by scripts/services
PATH=$TOOLS:$PATH
PLUGINS=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1 || [[ -x /usr/sbin/$1 ]]; }

as_root() {
    if ((EUID == 0)); then "$@"; return; fi
    have sudo || die "needs root for: $* (no sudo here: run this script as root)"
    sudo "$@"
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { say "timed out: $what"; return 1; }
        sleep 0.1
    done
}

# Docker labels and names allow less than a path does.
random_word() { od -An -N4 -tx4 /dev/urandom | tr -d ' '; }

# The built binaries lie under target/<host triple>/, because .cargo/config.toml names a target.
target_dir() { printf '%s\n' "${CARGO_TARGET_DIR:-$ROOT/target}"; }
host_triple() { rustc -vV | sed -n 's/^host: //p'; }

# For the tests of crash points: programs that die where they are told to, put aside so that no other test takes them. What
# they depend on is not compiled again.
build_with_faults() {
    local aside
    aside=$(target_dir)/fault-injection
    cargo build --locked --bins --features fault-injection
    mkdir -p "$aside"
    cp --remove-destination "$(target_dir)/$(host_triple)/debug/"ffe-{deploy,agent} "$aside/"
}
