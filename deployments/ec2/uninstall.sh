#!/usr/bin/env bash
# Take server, worker, code and user off this host. Data stays: /data, the history of runs, the swap file.
set -euo pipefail

[[ $(id -u) == 0 ]] || {
    echo "uninstall: expected root, found $(id -un); run it with sudo" >&2
    exit 1
}

for unit in bigearthnet-worker bigearthnet-server; do # a run at work ends in good order
    if [[ -e /etc/systemd/system/$unit.service ]]; then
        systemctl --quiet disable --now "$unit"
    fi
done
rm -rf /etc/systemd/system/bigearthnet-{server,worker,deploy}.service /etc/systemd/system/bigearthnet-.service.d \
    /etc/systemd/journald.conf.d/bigearthnet.conf /etc/bigearthnet /opt/bigearthnet /opt/bigearthnet.new
systemctl daemon-reload
systemctl reset-failed 'bigearthnet-*' 2>/dev/null || true
if id bigearthnet >/dev/null 2>&1; then
    userdel bigearthnet
fi

cat <<'END'
uninstall: services, code, secret and user are gone. Left as they are:
  /data                  the datasets, the archives, and the data volume with its line in /etc/fstab
  /var/lib/bigearthnet   the history of runs
  /swapfile              with its line in /etc/fstab
provision.sh takes them up again.
END
