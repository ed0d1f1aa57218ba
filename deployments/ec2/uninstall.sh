#!/usr/bin/env bash
# Remove server, worker, code and accounts from this host. Datasets, the history of runs and the swap file stay.
set -euo pipefail

[[ $(id -u) == 0 ]] || {
    echo "uninstall: cannot uninstall as $(id -un). Run it with sudo." >&2
    exit 1
}

for unit in bigearthnet-worker bigearthnet-server; do # stopping the worker also ends its run
    if [[ -e /etc/systemd/system/$unit.service ]]; then
        systemctl --quiet disable --now "$unit"
    fi
done
rm -rf /etc/systemd/system/bigearthnet-{server,worker,deploy}.service /etc/systemd/system/bigearthnet-.service.d \
    /etc/systemd/journald.conf.d/bigearthnet.conf /etc/bigearthnet /opt/bigearthnet /opt/bigearthnet.new \
    /var/lib/bigearthnet-worker
systemctl daemon-reload
systemctl reset-failed 'bigearthnet-*' 2>/dev/null || true
for account in bigearthnet bigearthnet-server; do
    if id "$account" >/dev/null 2>&1; then
        userdel "$account"
    fi
done

cat <<'END'
uninstall: removed services, code, secret and accounts. Left in place:
  /data                  datasets, archives, and the data volume with its line in /etc/fstab
  /var/lib/bigearthnet   the history of runs
  /swapfile              with its line in /etc/fstab
provision.sh uses them again.
END
