# Functions that find the data volume, format it if it is blank, and mount it. Sourced by provision.sh, which
# defines DATA, FSTAB and the functions `say`, `die` and `add_to_fstab`.
# shellcheck shell=bash

LABEL=bigearthnet

# Print the whole, writable disks, except the root disk.
list_disks() {
    local disk
    for disk in $(lsblk -bdnrpo NAME,TYPE,RO,SIZE | awk '$2 == "disk" && $3 == 0 && $4 > 0 { print $1 }'); do
        lsblk -nro MOUNTPOINTS "$disk" | grep -qx / || printf '%s\n' "$disk"
    done
}

is_ours() { [[ $(blkid -p -s LABEL -s TYPE -o value "$1") == "$LABEL"$'\next4' ]]; }

# Print what is on disk $1; nothing if it is blank. systemd's x-systemd.makefs would format a disk that has a
# partition table, or data without a signature.
describe_contents() {
    local signatures
    if [[ $(lsblk -nro NAME "$1" | wc -l) != 1 ]]; then
        printf 'partitions or volumes'
    elif [[ -n $(lsblk -nro MOUNTPOINTS "$1") ]]; then
        printf 'something that is mounted'
    elif ! signatures=$(wipefs --no-act --noheadings --output TYPE "$1" 2>&1) || [[ -n $signatures ]]; then
        printf 'a signature (%s)' "${signatures%%$'\n'*}"
    elif ! cmp -s -n 1M "$1" /dev/zero || ! tail -c 1M "$1" | cmp -s -n 1M - /dev/zero; then
        printf 'data in its first or last MiB'
    fi
}

# Set `ours`, `blank` and `foreign` (messages).
find_disks() {
    local disk contents
    ours=() blank=() foreign=()
    for disk in $(list_disks); do
        if is_ours "$disk"; then
            ours+=("$disk")
        elif contents=$(describe_contents "$disk") && [[ -z $contents ]]; then
            blank+=("$disk")
        else
            foreign+=("$disk is left alone: it has $contents")
        fi
    done
}

# Mount the disk with our label at /data. If there is none, format the one blank disk.
ensure_data_volume() {
    local ours blank foreign disks
    mkdir -p "$DATA"
    if mountpoint --quiet "$DATA"; then
        return
    fi
    if grep -Eq "^[^#[:space:]]+[[:space:]]+${DATA}[[:space:]]" "$FSTAB"; then
        mount --fstab "$FSTAB" "$DATA" || true # with nofail it succeeds although the volume is missing
        mountpoint --quiet "$DATA" ||
            die "cannot mount the volume that $FSTAB names for $DATA. Attach it, or delete the line, and try again."
        return
    fi
    ((DATA_VOLUME_SECONDS == 0)) || say "waiting up to $DATA_VOLUME_SECONDS s for the data volume"
    until find_disks && ((${#ours[@]} + ${#blank[@]})) || ((SECONDS >= DATA_VOLUME_SECONDS)); do
        sleep 5
    done
    disks=("${blank[@]}")
    if ((${#ours[@]})); then
        disks=("${ours[@]}")
        foreign+=("${blank[@]/%/ is left alone: it is blank, but ${ours[0]} is the data volume}")
    fi
    ((${#foreign[@]} == 0)) || printf 'provision: %s\n' "${foreign[@]}"
    if ((${#disks[@]} == 0)); then
        say "there is no data volume: $DATA is a folder on the root disk. Use transfer 'stream'."
        return
    fi
    ((${#disks[@]} == 1)) ||
        die "cannot choose a data volume from ${disks[*]}. Detach all but one and try again. Nothing was formatted."
    [[ -z $(ls -A "$DATA") ]] || die "cannot mount ${disks[0]} at $DATA: the folder is not empty." \
        "Stop the worker, move the folder (mv $DATA $DATA.root), and try again."
    if ((${#ours[@]} == 0)); then
        say "formatting ${disks[0]}, which is blank: ext4 with label $LABEL"
        mkfs.ext4 -q -m 0 -L "$LABEL" "${disks[0]}"
    fi
    # A machine without CPU credits may need minutes to find the disk; "nofail" lets it boot meanwhile.
    # By label: device names and serial numbers differ between Xen and Nitro instances.
    add_to_fstab "LABEL=$LABEL $DATA ext4 defaults,nofail,x-systemd.device-timeout=5min 0 2"
    systemctl daemon-reload
    mount --fstab "$FSTAB" "$DATA"
    say "${disks[0]} is mounted at $DATA"
}
