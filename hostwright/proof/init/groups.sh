#!/bin/sh
# The only process of a machine that is booted to see which IOMMU groups its kernel makes.
#
# hostwright.vfs=ADDRESS=NUMBER,... on the command line: how many virtual functions to switch on, and where.
# hostwright.capture: write what hostwright-capture says to the disk.
# Prints, between two marks, "function ADDRESS VENDOR:DEVICE CLASS", "group NUMBER ADDRESS" and what the kernel log says
# of the override, then powers off.

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

read -r words </proc/cmdline
vfs='' capture=''
for word in $words; do
    case $word in
    hostwright.vfs=*) vfs=${word#*=} ;;
    hostwright.capture) capture=yes ;;
    esac
done

# No driver is wanted for them, and some wait long for a controller that is offline.
enable_vfs() {
    device=/sys/bus/pci/devices/$1
    echo 0 >"$device/sriov_drivers_autoprobe"
    echo "$2" >"$device/sriov_numvfs" || echo "no virtual functions at $1"
}

if [ "$vfs" ]; then
    modprobe igb
    old=$IFS
    IFS=,
    for one in $vfs; do
        enable_vfs "${one%=*}" "${one##*=}"
    done
    IFS=$old
fi

echo HOSTWRIGHT-GROUPS-BEGIN
for device in /sys/bus/pci/devices/*; do
    read -r vendor <"$device/vendor"
    read -r id <"$device/device"
    read -r class <"$device/class"
    echo "function ${device##*/} ${vendor#0x}:${id#0x} ${class#0x}"
done
for link in /sys/kernel/iommu_groups/*/devices/*; do
    group=${link#/sys/kernel/iommu_groups/}
    echo "group ${group%%/*} ${link##*/}"
done
dmesg --notime | while read -r line; do
    case $line in
    *pcie_acs_override*) echo "$line" ;;
    esac
done
echo HOSTWRIGHT-GROUPS-END

[ ! "$capture" ] || hostwright-capture /dev/sda
sync
echo o >/proc/sysrq-trigger
while :; do
    read -r _ <&1
done
