#!/bin/bash
# First step of the action: finds the program, or brings it, and names it in the output `binary`.
#
# In this order: the input `binary` or FFE_DEPLOY_BINARY; one of this version in the tool cache; the release of this version,
# whose SHA-256 must be that of the release's SHA256SUMS; built from source, when the action is used as `./` or there is no
# such release. docs/action.md says what a release has to have.
# shellcheck source=scripts/action/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

ACTION=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
REPOSITORY=${FFE_ACTION_REPOSITORY:-}
SERVER=${GITHUB_SERVER_URL:-https://github.com}
readonly ATTEMPTS=3

announce() {
    printf 'binary=%s\n' "$1" >>"${GITHUB_OUTPUT:-/dev/stdout}"
    exit 0
}

own_binary() {
    local path=$1
    [[ -f $path && -x $path ]] || fail 2 invalid "no program at \`$path\`, which the input \`binary\` or FFE_DEPLOY_BINARY names"
    announce "$(realpath "$path")"
}

triple() {
    case "${RUNNER_OS:-$(uname -s)}-${RUNNER_ARCH:-$(uname -m)}" in
        Linux-X64 | Linux-x86_64) echo x86_64-unknown-linux-gnu ;;
        Linux-ARM64 | Linux-aarch64) echo aarch64-unknown-linux-gnu ;;
        *) return 1 ;;
    esac
}

# The version that the action's own files are of: a moving tag (v1) leads to the release that it stands for.
version() {
    local line
    while IFS= read -r line; do
        if [[ $line =~ ^version\ =\ \"([0-9A-Za-z.+-]+)\"$ ]]; then echo "${BASH_REMATCH[1]}"; return; fi
    done <"$ACTION/Cargo.toml"
    return 1
}

# Of each repository, as a fork has versions of its own.
cache_directory() {
    local base=${RUNNER_TOOL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}}
    if ! mkdir -p "$base/ffe-deploy" 2>/dev/null || [[ ! -w $base/ffe-deploy ]]; then base=${RUNNER_TEMP:-/tmp}; fi
    printf '%s/ffe-deploy/%s/%s-%s\n' "$base" "${REPOSITORY//\//+}" "$VERSION" "$TRIPLE"
}

is_whole() { [[ -x $1/ffe-deploy ]] && (cd "$1" && sha256sum --check --status ffe-deploy.sha256 2>/dev/null); }

# fetch URL FILE: 0 it is here; 4 there is none; 1 it cannot be had, and $why says why.
why=
fetch() {
    local attempt code protocol='=https'
    [[ $SERVER = https://* ]] || protocol='=http,https'
    for ((attempt = 1; attempt <= ATTEMPTS; attempt++)); do
        ((attempt == 1)) || sleep "$((attempt - 1))"
        if code=$(curl --silent --show-error --location --proto "$protocol" --connect-timeout 10 --max-time 300 \
            --output "$2" --write-out '%{http_code}' "$1" 2>"$WORK/curl.log"); then
            case $code in
                200) return 0 ;;
                404) return 4 ;;
            esac
            why="the server answers HTTP $code"
        else
            why=$(<"$WORK/curl.log")
        fi
    done
    return 1
}

no_download() {
    fail 7 unreachable "$1 could not be downloaded in $ATTEMPTS attempts: $why
Nothing was deployed. Run the job again; on a runner without a way there, put the program on it and name it with the input \`binary\`."
}

# The digest that SHA256SUMS has for a file.
published_digest() {
    local digest name
    while read -r digest name; do
        if [[ ${name#\*} = "$1" && $digest =~ ^[0-9a-f]{64}$ ]]; then echo "$digest"; return; fi
    done <"$WORK/SHA256SUMS"
    return 1
}

# Brings the release into the cache; 4 when there is none.
download() {
    local asset=ffe-deploy-$TRIPLE.tar.gz base=$SERVER/$REPOSITORY/releases/download/v$VERSION status=0
    local wanted digest
    fetch "$base/SHA256SUMS" "$WORK/SHA256SUMS" || status=$?
    ((status != 4)) || return 4
    ((status == 0)) || no_download "$base/SHA256SUMS"
    wanted=$(published_digest "$asset") || fail 3 refused "$base/SHA256SUMS has no line for $asset; nothing was run"
    fetch "$base/$asset" "$WORK/$asset" || status=$?
    ((status != 4)) || why="there is none, although SHA256SUMS names it"
    ((status == 0)) || no_download "$base/$asset"
    read -r digest _ < <(sha256sum "$WORK/$asset")
    [[ $digest = "$wanted" ]] || fail 3 refused "$base/$asset is not what was published; nothing of it was run
SHA-256 found:     $digest
SHA-256 published: $wanted
If a second attempt says so, too, somebody may have tampered with it: report it."
    keep "$WORK/$asset"
}

# Unpacks beside the cache and moves the directory into it: another job finds all of it, or nothing.
keep() {
    local fresh=$CACHE.$BASHPID
    mkdir -p "$fresh" || fail 1 internal "could not write $fresh"
    tar --extract --gzip --file "$1" --directory "$fresh" --no-same-owner ffe-deploy ||
        fail 3 refused "$1 has no file ffe-deploy in it; nothing was run"
    chmod 755 "$fresh/ffe-deploy"
    [[ $("$fresh/ffe-deploy" --version 2>&1) = "ffe-deploy $VERSION" ]] ||
        fail 3 refused "what was downloaded does not run here, or is not ffe-deploy $VERSION; nothing was deployed"
    (cd "$fresh" && sha256sum ffe-deploy >ffe-deploy.sha256)
    rm -rf "$CACHE"
    mv --no-target-directory "$fresh" "$CACHE" 2>/dev/null || { rm -rf "$fresh"; is_whole "$CACHE"; } ||
        fail 1 internal "could not write $CACHE"
}

build() {
    local target
    have cargo || fail 2 invalid "$1, and there is no cargo here to build ffe-deploy from source
Use a released version (\`@v1\`), install Rust before this step, or name a program that is there with the input \`binary\`."
    say "$1: building from source"
    target=$(cd "$ACTION" && realpath -m "${CARGO_TARGET_DIR:-target}")
    (cd "$ACTION" && cargo build --locked --release --target "$TRIPLE" --bin ffe-deploy --bin ffe-agent) ||
        fail 1 internal "ffe-deploy could not be built from source; cargo says why, above. Nothing was deployed."
    announce "$target/$TRIPLE/release/ffe-deploy"
}

own=${FFE_INPUT_BINARY:-${FFE_DEPLOY_BINARY:-}}
[[ -z $own ]] || own_binary "$own"

TRIPLE=$(triple) || fail 2 invalid "ffe-deploy runs on Linux, x86-64 and ARM64; this runner is ${RUNNER_OS:-$(uname -s)} ${RUNNER_ARCH:-$(uname -m)}
Let the job run on ubuntu-latest or ubuntu-24.04-arm: the server can be reached from there."
[[ -n $REPOSITORY ]] || build "the action is used from its own repository"

[[ $REPOSITORY =~ ^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$ ]] || fail 2 invalid "\`$REPOSITORY\` is no repository"
VERSION=$(version) || fail 1 internal "$ACTION/Cargo.toml names no version"
CACHE=$(cache_directory)
if is_whole "$CACHE"; then announce "$CACHE/ffe-deploy"; fi

for tool in curl tar gzip sha256sum; do have "$tool" || fail 2 invalid "no $tool on this runner: install it, or use the input \`binary\`"; done
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
status=0
download || status=$?
((status != 4)) || build "$SERVER/$REPOSITORY has no release v$VERSION"
say "installed $VERSION in $CACHE"
announce "$CACHE/ffe-deploy"
