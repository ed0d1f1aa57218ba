#!/usr/bin/env bash
# Install server, worker and flows on this host from the clone that this script is in, or update them.
# Safe to run again.
#
#   sudo deployments/ec2/provision.sh
#
# Environment:
#   DATA_VOLUME_SECONDS  how long to wait for a data volume that is still being attached (default 0)
#   RUNNING              while a flow run is running: "refuse" to update (default), or "wait" for its end
#   AWS_DEFAULT_REGION   region of the buckets; saved in /etc/bigearthnet/local by the first installation
set -euo pipefail
umask 022

DATA_VOLUME_SECONDS=${DATA_VOLUME_SECONDS:-0}
RUNNING=${RUNNING:-refuse}

ACCOUNT=bigearthnet # of worker and runs
SERVER_ACCOUNT=bigearthnet-server
HOME_DIR=/opt/bigearthnet
STAGE=/opt/bigearthnet.new
STATE=/var/lib/bigearthnet
DATA=/data
ETC=/etc/bigearthnet
FSTAB=/etc/fstab
UNITS=/etc/systemd/system
STAMP=$HOME_DIR/.installed
SWAP=/swapfile
PACKAGES=(ca-certificates curl git procps python3 python3-venv rsync)

say() { printf 'provision: %s\n' "$*"; }
die() {
    say "$*" >&2
    exit 1
}

# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/data_volume.sh"

write() { # write text $3 to file $2 with mode $1, atomically
    (umask 077 && printf '%s\n' "$3" >"$2.new")
    chmod "$1" "$2.new"
    mv "$2.new" "$2"
}

check_host() {
    [[ $(id -u) == 0 ]] || die "cannot provision as $(id -un). Run it with sudo."
    [[ $RUNNING == refuse || $RUNNING == wait ]] || die "cannot use RUNNING=$RUNNING. Set it to refuse or wait."
    [[ -d /run/systemd/system ]] || die "cannot find systemd on this host. Use Ubuntu 24.04 or Debian 12."
    [[ -e $1/.git ]] || die "cannot find a git clone at $1. Clone the project and run the script in the clone."
    exec 9>/run/bigearthnet-provision.lock # released when the process ends
    flock --nonblock 9 || die "another provision.sh is running. Wait until it has ended."
}

install_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    if ((${#missing[@]})); then
        say "installing ${missing[*]}"
        apt-get -q -o DPkg::Lock::Timeout=600 update >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 install \
            --no-install-recommends "${missing[@]}" >/dev/null
    fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$(python3 --version) is too old: 3.11 or newer is needed. Use Ubuntu 24.04 or Debian 12."
}

add_to_fstab() { write 644 "$FSTAB" "$(<"$FSTAB")"$'\n'"$1"; }

ensure_swap() {
    if [[ -n $(swapon --show --noheadings) ]]; then
        return
    fi
    if [[ ! -e $SWAP ]]; then
        say "making a swap file of 1 GiB: $SWAP"
        install -m 600 /dev/null "$SWAP.new"
        fallocate -l 1GiB "$SWAP.new"
        mkswap "$SWAP.new" >/dev/null
        mv "$SWAP.new" "$SWAP"
    fi
    grep -q "^${SWAP}[[:space:]]" "$FSTAB" || add_to_fstab "$SWAP none swap sw 0 0"
    swapon "$SWAP"
}

# Print the uid that owns the data of an earlier installation, if no user has it now.
find_earlier_uid() {
    local uid
    uid=$(stat -c %u "$DATA")
    if [[ $uid != 0 ]] && ! getent passwd "$uid" >/dev/null; then
        printf '%s' "$uid"
    fi
}

ensure_account() { # with name $1 and home $2; more options of useradd follow
    id "$1" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin \
        --home-dir "$2" "${@:3}" "$1"
}

ensure_accounts() {
    local uid
    uid=$(find_earlier_uid)
    ensure_account "$ACCOUNT" "$DATA" ${uid:+--uid "$uid"}
    # systemd gives the server's folder to its user, also that of an earlier installation.
    ensure_account "$SERVER_ACCOUNT" "$STATE"
    if [[ $(stat -c %u "$DATA") == 0 && -z $(ls -A --ignore=lost+found "$DATA") ]]; then
        chown "$ACCOUNT:$ACCOUNT" "$DATA"
    fi
    [[ $(stat -c %U "$DATA") == "$ACCOUNT" ]] || die "cannot use $DATA: it belongs to $(stat -c %U "$DATA")." \
        "If all files there are this project's, run: sudo chown -R $ACCOUNT: $DATA, and try again."
}

# Copy the files that git tracks, as they are now in clone $1, to the staging folder.
stage() {
    rm -rf "$STAGE"
    mkdir "$STAGE"
    git -c safe.directory="$1" -C "$1" ls-files -z |
        rsync -rlpt --chmod=D755,Fgo-w --from0 --files-from=- --ignore-missing-args "$1/" "$STAGE/"
}

print_digest() {
    python3 --version
    (cd "$STAGE" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

is_current() {
    [[ -s $ETC/secret && -e $STAMP && $(print_digest) == "$(<"$STAMP")" ]] &&
        systemctl --quiet is-active bigearthnet-server && systemctl --quiet is-active bigearthnet-worker
}

# Print the ids of flow runs that have a process on this host: Prefect passes each id in the environment.
list_runs() {
    local pid
    for pid in $(pgrep -u "$ACCOUNT"); do
        { tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^PREFECT__FLOW_RUN_ID=//p'; } 2>/dev/null || true
    done | sort -u
}

wait_for_runs() {
    local runs waiting=''
    while runs=$(list_runs) && [[ -n $runs ]]; do
        [[ $RUNNING == wait ]] || die "cannot update: flow run ${runs//$'\n'/, } is running" \
            "(http://127.0.0.1:4200/runs/flow-run/${runs%%$'\n'*}). Wait, cancel it, or set RUNNING=wait."
        [[ -n $waiting ]] || say "waiting for the end of flow run ${runs//$'\n'/, }"
        waiting=yes
        sleep 5
    done
}

restart_services() {
    say "the update failed; see above. Starting the services again with what is installed. Run this again."
    systemctl start bigearthnet-server bigearthnet-worker || true
}

stop_services() {
    if [[ -e $UNITS/bigearthnet-worker.service ]]; then
        trap restart_services EXIT
        systemctl stop bigearthnet-worker bigearthnet-server
    fi
}

ensure_uv() {
    local requirement version
    requirement=$(python3 "$STAGE/deployments/uv_requirement.py")
    version=${requirement%% *}
    if [[ $("$HOME_DIR/.uv/bin/uv" --version 2>/dev/null) != "${version/==/ } "* ]]; then
        python3 -m venv --clear "$HOME_DIR/.uv"
        "$HOME_DIR/.uv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --require-hashes \
            --requirement <(printf '%s\n' "$requirement")
    fi
}

sync_packages() { # of the project in folder $1
    UV_PROJECT_ENVIRONMENT=$HOME_DIR/.venv UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 \
        "$HOME_DIR/.uv/bin/uv" sync --quiet --locked --no-dev --compile-bytecode --system-certs \
        --python /usr/bin/python3 --project "$@"
}

install_code() {
    say "installing into $HOME_DIR; the first time this takes some minutes"
    mkdir -p "$HOME_DIR"
    rm -f "$STAMP"
    ensure_uv
    sync_packages "$STAGE" --no-install-project # downloads come first, while the installed code is still whole
    rsync -rlpt --checksum --delete --exclude=/.venv --exclude=/.uv "$STAGE/" "$HOME_DIR/"
    sync_packages "$HOME_DIR"
    (cd "$HOME_DIR" && .venv/bin/python -m compileall -q bigearthnet tasks flows deployments)
}

configure() {
    local settings secret journald=/etc/systemd/journald.conf.d/bigearthnet.conf
    mkdir -p "$ETC" "${journald%/*}"
    settings=$(cd "$HOME_DIR" && .venv/bin/python -m deployments.settings)
    write 644 "$ETC/environment" "$settings"
    if [[ ! -s $ETC/secret ]]; then
        secret="$ACCOUNT:$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')"
        write 600 "$ETC/secret" "PREFECT_SERVER_API_AUTH_STRING=$secret"$'\n'"PREFECT_API_AUTH_STRING=$secret"
    fi
    if [[ ! -e $ETC/local ]]; then
        write 600 "$ETC/local" "# More settings for server and worker, as NAME=VALUE. Restart both after a change.
${AWS_DEFAULT_REGION:+AWS_DEFAULT_REGION=$AWS_DEFAULT_REGION}"
    fi
    rsync -r --chmod=D755,F644 "$HOME_DIR/deployments/ec2/units/" "$UNITS/"
    if ! cmp -s "$HOME_DIR/deployments/ec2/journald.conf" "$journald"; then
        install -m 644 "$HOME_DIR/deployments/ec2/journald.conf" "$journald"
        systemctl restart systemd-journald
    fi
    systemctl daemon-reload
}

start_services() {
    local unit
    for unit in bigearthnet-{server,deploy,worker}; do
        say "starting $unit"
        systemctl start "$unit" || die "cannot start $unit. See journalctl -u $unit."
    done
    systemctl --quiet enable bigearthnet-server bigearthnet-worker
}

update() {
    wait_for_runs
    stop_services
    install_code
    configure
    start_services
    write 644 "$STAMP" "$(print_digest)"
    trap - EXIT
}

main() {
    local clone
    clone=$(cd "$(dirname "$0")/../.." && pwd)
    check_host "$clone"
    install_packages
    ensure_data_volume
    ensure_swap
    ensure_accounts
    stage "$clone"
    if is_current; then
        say "everything is up to date; nothing was changed"
    else
        update
        say "server and worker are running"
    fi
    rm -rf "$STAGE"
    say "after ssh -L 4200:127.0.0.1:4200 the UI is at http://127.0.0.1:4200. For its login: sudo cat $ETC/secret"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main
fi
