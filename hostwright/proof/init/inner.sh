#!/bin/sh
# The only process of the guest that is booted inside the booted host, to see what was passed through to it.
# Prints, between two marks, what lspci knows and the sha256 of the NVMe drive's first 16 MiB, then powers off.

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
# The kernel's lines would come in between.
dmesg --console-off

drive=/dev/nvme0n1
tries=60
while [ ! -b "$drive" ] && [ "$tries" -gt 0 ]; do
    tries=$((tries - 1))
    sleep 0.5
done

echo HOSTWRIGHT-INNER-BEGIN
lspci -nnv
echo "sha256 $(head -c 16777216 "$drive" | sha256sum)"
echo HOSTWRIGHT-INNER-END

echo o >/proc/sysrq-trigger
while :; do
    sleep 60
done
