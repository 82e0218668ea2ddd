#!/bin/sh
# The first program (init=) of a machine with the installer's kernel and tools, for a guest that is made without the
# installer. It makes the file systems, unpacks the new system below /target, and configures its packages with its own
# dpkg. Every step writes to the log, which the building machine reads like the installer's.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
answers=/hostwright

say() { logger -t hostwright "$*"; }

begin() {
    syslogd -m 0 -O /var/log/syslog -S
    sh "$answers/watch"
    sh "$0" work 2>&1 </dev/null | logger -t second-stage
    # The log is read once a second: wait until the last lines are sent.
    sleep 3
    sync
    poweroff -f
}

inside() { chroot /target "$@"; }

disks() {
    case $filesystem in
    xfs) mkfs.xfs -q -f -m "uuid=$root_uuid" /dev/vda2 ;;
    *) mkfs.ext4 -q -F -U "$root_uuid" /dev/vda2 ;;
    esac
    mkfs.fat -F 32 -i "$esp_serial" /dev/vda1
    mkdir -p /target
    modprobe "$filesystem" || :
    mount -t "$filesystem" /dev/vda2 /target
}

unpack() { tar -xf /dev/vdb -C /target; }

# They include the firmware's variables, where the boot loader adds its entry.
mounts() {
    modprobe vfat
    mkdir -p /target/boot/efi
    mount -t vfat -o umask=0077 /dev/vda1 /target/boot/efi
    for each in dev proc sys run; do
        mount --rbind "/$each" "/target/$each"
    done
    modprobe efivarfs || :
    mount -t efivarfs efivarfs /target/sys/firmware/efi/efivars
}

# As netcfg writes it. The card's name follows the rules of udev, which are the same in the installer.
network() {
    for card in /sys/class/net/*; do
        [ -e "$card/device" ] || continue
        name=${card##*/}
        cat >>/target/etc/network/interfaces <<END

# The primary network interface
allow-hotplug $name
iface $name inet dhcp
END
        # An address of QEMU's user network: a hook may need the archive.
        ip link set "$name" up
        ip address add 10.0.2.15/24 dev "$name"
    done
}

# dpkg would run preinst before it unpacks a package, but the packages were unpacked without dpkg.
preinst() {
    file=${1##*/}
    package=${file%.preinst}
    inside env DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE="${package%%:*}" \
        DPKG_MAINTSCRIPT_ARCH=amd64 DPKG_ROOT='' DPKG_ADMINDIR=/var/lib/dpkg \
        "/var/lib/dpkg/info/$file" install
}

# Accounts first: other packages look them up.
prepare() {
    inside ldconfig
    preinst base-passwd.preinst
    for script in /target/var/lib/dpkg/info/*.preinst; do
        step="the preinst script of ${script##*/}"
        [ "${script##*/}" = base-passwd.preinst ] || preinst "$script"
    done
    # As finish-install does: load the screen's driver early, but do not make the initramfs again for it.
    ! lsmod | grep -q '^bochs ' || echo bochs >>/target/etc/initramfs-tools/modules
    step="the answers for debconf"
    inside debconf-set-selections <"$answers/selections"
}

# The form of dpkg's --status-fd: status: PACKAGE: STATE.
tell_share() {
    count=$(find /target/var/lib/dpkg/info -name '*.list' | wc -l)
    done=0
    while read -r kind _ state; do
        [ "$kind $state" = "status: installed" ] || continue
        done=$((done + 1))
        say "share $done $count"
    done
}

# Every script may use essential packages without a dependency: they come first, as in debootstrap.
configure() {
    inside dpkg --force-depends --configure base-passwd base-files
    rm /target/usr/bin/awk
    inside dpkg --force-depends --configure mawk dpkg libc6:amd64 perl-base debconf
    mknod /run/status p
    tell_share </run/status &
    inside dpkg --configure -a --status-fd 9 9>/run/status
    wait
    unconfigured=$(inside dpkg --audit)
    [ -z "$unconfigured" ] || {
        echo "$unconfigured"
        return 1
    }
}

# As user-setup does; root is locked.
account() {
    inside shadowconfig on
    inside usermod --password '!' root
    inside adduser --quiet --disabled-password --comment "$user" "$user"
    inside usermod --password "$password" "$user"
    for group in audio cdrom dip floppy video plugdev netdev sudo; do
        inside adduser --quiet "$user" "$group" || :
    done
}

boot_loader() {
    inside grub-install --force --force-extra-removable /dev/vda
    inside update-grub
}

work() {
    step="the settings of this machine"
    user=$(cat "$answers/user")
    filesystem=$(cat "$answers/filesystem")
    root_uuid=$(cat "$answers/root_uuid")
    esp_serial=$(cat "$answers/esp_serial")
    password=$(cat "$answers/password")
    trap '[ $? -eq 0 ] || [ -z "$step" ] || say "late: failed: $step"' EXIT
    export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C

    say "stage unpack"
    step="the file systems"
    disks
    step="unpacking the system"
    unpack
    mounts
    hostname "$(cat /target/etc/hostname)"
    step="the network"
    network

    say "stage prepare"
    step="what packages do before they are unpacked"
    prepare
    say "stage configure"
    step="configuring the packages"
    configure
    say "stage boot"
    step="the account of $user"
    account
    step="the boot loader"
    boot_loader

    say "stage finish"
    # From here on late.sh itself reports a failing step.
    step=
    sh "$answers/late"
    rm /target/usr/sbin/policy-rc.d
    sync
    umount -l /target
}

if [ "${1:-}" = work ]; then
    work
else
    begin
fi
