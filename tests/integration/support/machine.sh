#!/bin/bash
# What a machine of the tests does inside its namespaces. Variables: DIR, everything that lies on its disks; NAME; ADDRESS;
# RUNNER, where it reaches the runner.
#
#   init                its PID 1: mounts, network, sshd, the engine, and what the crontab says of a boot
#   sshd | engine       starts it
#   end-sshd            ends it with all its sessions, at once
#   end-engine SIGNAL   ends dockerd, and returns when it is gone
#   agents ROLE         pids of our agents in this role: attach, guard, work
#   fill | free         takes the last byte of the disk on which the root lies, and gives it back
set -euo pipefail

start_sshd() { /usr/sbin/sshd -f "$DIR/sshd_config" -E "$DIR/sshd.log"; }

# The listener first, or a client that is quick gets in again.
end_sshd() {
    local process all
    kill -KILL "$(cat /run/sshd.pid)"
    while :; do
        all=()
        for process in /proc/[0-9]*; do
            [[ $(cat "$process/comm" 2>/dev/null) != sshd* ]] || all+=("${process##*/}")
        done
        ((${#all[@]})) || return 0
        kill -KILL "${all[@]}" 2>/dev/null || true
    done
}

start_engine() {
    rm -f /run/docker.pid /run/docker/containerd/containerd.pid
    setsid --fork dockerd --cgroup-parent "/$NAME" --exec-opt native.cgroupdriver=cgroupfs \
        --insecure-registry "$RUNNER/32" </dev/null >>"$DIR/dockerd.log" 2>&1
}

end_engine() {
    local pid end=$((SECONDS + 60))
    pid=$(cat /run/docker.pid)
    kill -"$1" "$pid"
    while [[ -d /proc/$pid ]]; do
        ((SECONDS < end)) || { echo "dockerd does not end" >&2; exit 1; }
        sleep 0.05
    done
}

agents() {
    local process
    for process in /proc/[0-9]*; do
        [[ $(readlink "$process/exe") = */ffe-agent* ]] || continue
        [[ $(tr '\0' ' ' <"$process/cmdline") != *" $1 " ]] || echo "${process##*/}"
    done 2>/dev/null
}

fill() {
    local left
    left=$(df --output=avail --block-size=1 "$DIR/srv" | tail -n 1)
    fallocate -l "$((left > 1048576 ? left - 1048576 : 1))" "$DIR/srv/filler"
    dd if=/dev/zero bs=4k of="$DIR/srv/filler" oflag=append conv=notrunc,fsync 2>/dev/null || true
}

mount_all() {
    mount -t proc proc /proc
    mount --rbind /sys/fs/cgroup "$DIR/cgroup"
    mount -t sysfs sysfs /sys
    mount --rbind "$DIR/cgroup" /sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/sshd /run/lock /var/lib/docker
    mount --bind "$DIR/docker" /var/lib/docker
    [[ ! -d /etc/docker ]] || mount --bind "$DIR/etc-docker" /etc/docker
    mount -o loop "$DIR/disk.img" "$DIR/srv"
}

join_network() {
    ip link set lo up
    until ip addr add "$ADDRESS/24" dev eth0 2>/dev/null; do sleep 0.02; done
    ip link set eth0 up
}

# As cron does, which is not there.
run_at_boot() {
    local line
    [[ -f $DIR/crontab ]] || return 0
    while read -r line; do
        line=${line//\\%/%}
        [[ $line != @reboot* ]] ||
            env -i HOME="$DIR/home" PATH=/usr/bin:/bin SHELL=/bin/sh setsid --fork /bin/sh -c "${line#@reboot}" \
                </dev/null >>"$DIR/cron.log" 2>&1
    done <"$DIR/crontab"
}

init() {
    hostname "$NAME"
    mount_all
    join_network
    start_sshd
    start_engine
    run_at_boot
    while :; do sleep 3600 & wait $! || true; done
}

case $1 in
    init) init ;;
    sshd) start_sshd ;;
    end-sshd) end_sshd ;;
    engine) start_engine ;;
    end-engine) end_engine "$2" ;;
    agents) agents "$2" ;;
    fill) fill ;;
    free) rm -f "$DIR/srv/filler" ;;
    *) exit 2 ;;
esac
