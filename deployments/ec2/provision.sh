#!/usr/bin/env bash
# Put server, worker and flows on this host, or bring them up to date. Running it again is safe.
#
#   sudo deployments/ec2/provision.sh      from a clone: installs what the clone holds
#   as cloud-init user data, or from       installs what REPOSITORY holds
#   /opt/bigearthnet on the host itself
#
# Environment:
#   REPOSITORY           URL to clone where there is no clone (the project's)
#   REF                  branch or tag of it (its default branch)
#   DATA_VOLUME_SECONDS  how long to wait for a data volume that is being attached (0)
#   RUNNING              what to do while a flow run is Running: refuse, or wait for its end (refuse)
#   AWS_DEFAULT_REGION   written to /etc/bigearthnet/local at the first time, for buckets
set -euo pipefail
umask 022

REPOSITORY=${REPOSITORY:-https://github.com/bigearthnet-prefect/bigearthnet-prefect}
REF=${REF:-}
DATA_VOLUME_SECONDS=${DATA_VOLUME_SECONDS:-0}
RUNNING=${RUNNING:-refuse}

ACCOUNT=bigearthnet
HOME_DIR=/opt/bigearthnet
STAGE=/opt/bigearthnet.new
STATE=/var/lib/bigearthnet
DATA=/data
ETC=/etc/bigearthnet
UNITS=/etc/systemd/system
STAMP=$HOME_DIR/.installed
SWAP=/swapfile
PACKAGES=(ca-certificates curl git procps python3 python3-venv rsync)

say() { printf 'provision: %s\n' "$*"; }
die() {
    printf 'provision: %s\n' "$*" >&2
    exit 1
}

write() { # text $3 becomes file $2 with mode $1, whole or not at all
    (umask 077 && printf '%s\n' "$3" >"$2.new")
    chmod "$1" "$2.new"
    mv "$2.new" "$2"
}

require_root() {
    [[ $(id -u) == 0 ]] || die "expected root, found $(id -un); run it with sudo"
    [[ $RUNNING == refuse || $RUNNING == wait ]] || die "expected RUNNING to be refuse or wait, found '$RUNNING'"
    [[ -d /run/systemd/system ]] || die "expected a host run by systemd, found none; use Ubuntu 24.04 or Debian 12"
}

# One at a time; the lock ends with the process.
require_alone() {
    exec 9>/run/bigearthnet-provision.lock
    flock --nonblock 9 || die "expected no other provision.sh at work, found one; wait for its end"
}

install_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    apt-get -q -o DPkg::Lock::Timeout=600 update >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends \
        "${missing[@]}" >/dev/null
}

require_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "expected Python 3.11 or newer, found $(python3 --version); use Ubuntu 24.04 or Debian 12"
}

ensure_swap() {
    if [[ -n $(swapon --show --noheadings) ]]; then
        return
    fi
    if [[ ! -e $SWAP ]]; then
        say "making a swap file of 1 GiB, $SWAP"
        install -m 600 /dev/null "$SWAP.new"
        fallocate -l 1GiB "$SWAP.new"
        mkswap "$SWAP.new" >/dev/null
        mv "$SWAP.new" "$SWAP"
    fi
    if ! grep -q "^${SWAP}[[:space:]]" /etc/fstab; then
        write 644 /etc/fstab "$(cat /etc/fstab)"$'\n'"$SWAP none swap sw 0 0"
    fi
    swapon "$SWAP"
}

# The number that data of an earlier installation belongs to, if nobody else has it now.
earlier_uid() {
    local folder uid
    for folder in "$DATA" "$STATE"; do
        uid=$(stat -c %u "$folder" 2>/dev/null) || continue
        if [[ $uid != 0 ]] && ! getent passwd "$uid" >/dev/null; then
            printf '%s' "$uid"
            return
        fi
    done
}

ensure_account() {
    local uid
    if ! id "$ACCOUNT" >/dev/null 2>&1; then
        uid=$(earlier_uid)
        useradd --system --user-group ${uid:+--uid "$uid"} --home-dir "$DATA" --no-create-home \
            --shell /usr/sbin/nologin "$ACCOUNT"
    fi
    mkdir -p "$DATA"
    if [[ $(stat -c %u "$DATA") == 0 && -z $(find "$DATA" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit) ]]; then
        chown "$ACCOUNT:$ACCOUNT" "$DATA"
    fi
    [[ $(stat -c %U "$DATA") == "$ACCOUNT" ]] ||
        die "expected $DATA to be $ACCOUNT's, found $(stat -c %U "$DATA")'s; if nothing but this" \
            "project has files there: sudo chown -R $ACCOUNT: $DATA, and run this again"
}

# What git tracks, as it is in the clone now, beside its place.
stage() {
    rm -rf "$STAGE"
    mkdir "$STAGE"
    git -c safe.directory="$1" -C "$1" ls-files -z |
        rsync -rlpt --chmod=D755,Fgo-w --from0 --files-from=- --ignore-missing-args "$1/" "$STAGE/"
    [[ -s $STAGE/uv.lock ]] || die "expected uv.lock in $1, found none; use a whole clone of the project"
}

digest() {
    python3 --version
    (cd "$STAGE" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

is_current() {
    [[ -s $ETC/secret && -e $STAMP && $(digest) == "$(<"$STAMP")" ]] &&
        systemctl --quiet is-active bigearthnet-server bigearthnet-worker
}

# Ids of the flow runs that have a process here: the worker starts each with its id in the environment.
runs_at_work() {
    local pid
    for pid in $(pgrep -u "$ACCOUNT"); do
        { tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^PREFECT__FLOW_RUN_ID=//p'; } 2>/dev/null || true
    done | sort -u
}

require_idle() {
    local runs told=''
    while runs=$(runs_at_work) && [[ -n $runs ]]; do
        [[ $RUNNING == wait ]] ||
            die "expected no flow run at work while the code is changed, found ${runs//$'\n'/, }" \
                "(http://127.0.0.1:4200/runs/flow-run/${runs%%$'\n'*}); wait for its end, cancel it, or set RUNNING=wait"
        [[ -n $told ]] || say "waiting for the end of flow run ${runs//$'\n'/, }"
        told=yes
        sleep 5
    done
}

has_unit() { [[ -e $UNITS/bigearthnet-$1.service ]]; }

stop_services() {
    if has_unit worker; then
        trap 'restart_what_is_there' EXIT
        systemctl stop bigearthnet-worker bigearthnet-server
    fi
}

restart_what_is_there() {
    say "expected the update to go through, found the failure above; starting what is there. Run this again"
    systemctl start bigearthnet-server bigearthnet-worker || true
}

ensure_uv() {
    local version
    version=$(sed -n 's/^UV_VERSION := //p' "$STAGE/Makefile")
    if [[ $("$HOME_DIR/.uv/bin/uv" --version 2>/dev/null) != "uv $version"* ]]; then
        python3 -m venv --clear "$HOME_DIR/.uv"
        "$HOME_DIR/.uv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir "uv==$version"
    fi
}

sync_packages() { # of the project in folder $1
    UV_PROJECT_ENVIRONMENT=$HOME_DIR/.venv UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 \
        "$HOME_DIR/.uv/bin/uv" sync --quiet --locked --no-dev --compile-bytecode --system-certs \
        --python /usr/bin/python3 --project "$@"
}

install_code() {
    say "installing the code and its packages into $HOME_DIR; the first time takes some minutes"
    mkdir -p "$HOME_DIR"
    rm -f "$STAMP"
    ensure_uv
    sync_packages "$STAGE" --no-install-project # what needs the network most, before the code is touched
    rsync -rlpt --checksum --delete --exclude=/.venv --exclude=/.uv "$STAGE/" "$HOME_DIR/"
    sync_packages "$HOME_DIR"
    (cd "$HOME_DIR" && .venv/bin/python -m compileall -q bigearthnet tasks flows deployments)
}

configure() {
    local settings secret
    mkdir -p "$ETC" /etc/systemd/journald.conf.d
    settings=$(cd "$HOME_DIR" && .venv/bin/python -m deployments.ec2.environment)
    write 644 "$ETC/environment" "$settings"
    if [[ ! -s $ETC/secret ]]; then
        secret="$ACCOUNT:$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')"
        write 600 "$ETC/secret" "PREFECT_SERVER_API_AUTH_STRING=$secret"$'\n'"PREFECT_API_AUTH_STRING=$secret"
    fi
    if [[ ! -e $ETC/local ]]; then
        write 600 "$ETC/local" "# More settings of server and worker here, as NAME=VALUE; restart them after a change.
${AWS_DEFAULT_REGION:+AWS_DEFAULT_REGION=$AWS_DEFAULT_REGION}"
    fi
    rsync -r --chmod=D755,F644 "$HOME_DIR/deployments/ec2/units/" "$UNITS/"
    if ! cmp -s "$HOME_DIR/deployments/ec2/journald.conf" /etc/systemd/journald.conf.d/bigearthnet.conf; then
        install -m 644 "$HOME_DIR/deployments/ec2/journald.conf" /etc/systemd/journald.conf.d/bigearthnet.conf
        systemctl restart systemd-journald
    fi
    systemctl daemon-reload
}

start_services() {
    say "starting the server"
    systemctl start bigearthnet-server ||
        die "expected the server to start, found the failure above; see journalctl -u bigearthnet-server"
    systemctl start bigearthnet-deploy ||
        die "expected the deployments on the server, found the failure above; see journalctl -u bigearthnet-deploy"
    systemctl --quiet enable bigearthnet-server bigearthnet-worker
    systemctl start bigearthnet-worker ||
        die "expected the worker to start, found the failure above; see journalctl -u bigearthnet-worker"
}

update() {
    require_idle
    stop_services
    install_code
    configure
    start_services
    digest >"$STAMP.new"
    mv "$STAMP.new" "$STAMP"
    trap - EXIT
}

provision() { # from the clone in folder $1
    python3 "$1/deployments/ec2/data_volume.py" "$DATA_VOLUME_SECONDS"
    ensure_swap
    ensure_account
    stage "$1"
    if is_current; then
        say "everything is up to date, and was left as it is"
    else
        update
        say "server and worker are up"
    fi
    rm -rf "$STAGE"
    say "the UI, after ssh -L 4200:127.0.0.1:4200: http://127.0.0.1:4200; who it asks for: sudo cat $ETC/secret"
}

provision_from_repository() {
    local clone done=0
    clone=$(mktemp -d)
    say "cloning $REPOSITORY"
    git clone --quiet ${REF:+--branch "$REF"} -- "$REPOSITORY" "$clone" || done=$?
    ((done)) || RUNNING=$RUNNING DATA_VOLUME_SECONDS=$DATA_VOLUME_SECONDS "$clone/deployments/ec2/provision.sh" || done=$?
    rm -rf "$clone"
    return "$done"
}

main() {
    local root
    root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/../.." && pwd)
    require_root
    install_packages
    require_python
    if [[ -e $root/.git && -e $root/deployments/ec2/provision.sh ]]; then
        require_alone
        provision "$root"
    else
        provision_from_repository
    fi
}

if [[ ${BASH_SOURCE[0]:-$0} == "$0" ]]; then
    main
fi
