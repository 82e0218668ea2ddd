"""/usr/libexec/hostwright/confined where there is no cgroup: it notes the process, and confines nothing."""

CONFINED = """#!/bin/sh
root=${HOSTWRIGHT_ROOT-}
group=$root/sys/fs/cgroup/guests/$1
mkdir -p "$group"
echo 5637144576 >"$group/memory.max"
echo 512 >"$group/pids.max"
shift
program=$root$1
shift
"$program" "$@" &
trap 'kill $!' TERM
echo $! >"$group/cgroup.procs"
wait
status=$?
rm -r "$group"
exit "$status"
"""
