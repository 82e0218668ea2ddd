#!/bin/sh
# Run by the installer when the new system is complete below /target. Every step ends in the log, which the
# installing machine reads; the last line there says that all went well.
set -eu
answers=/hostwright
user=$(cat "$answers/user")

# Whatever step fails, the installing machine is told which.
step=start
trap '[ $? -eq 0 ] || say "late: failed: $step"' EXIT

say() { logger -t hostwright "$*"; }

keys() {
    in-target install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
    cp "$answers/authorized_keys" "/target/home/$user/.ssh/authorized_keys"
    in-target chown "$user:$user" "/home/$user/.ssh/authorized_keys"
    chmod 600 "/target/home/$user/.ssh/authorized_keys"
}

# Without a password there is none to ask for.
without_password() {
    mkdir -p /target/etc/sudoers.d
    echo "$user ALL=(ALL:ALL) NOPASSWD: ALL" >"/target/etc/sudoers.d/$user"
    chmod 440 "/target/etc/sudoers.d/$user"
    echo "PasswordAuthentication no" >/target/etc/ssh/sshd_config.d/keys-only.conf
}

# During the install the archive is at a loopback port of the installing machine, which is gone afterwards.
sources() {
    cp "$answers/sources.list" /target/etc/apt/sources.list
    rm -rf /target/var/lib/apt/lists/*
}

hooks() {
    for hook in "$answers"/late.d/*; do
        [ -f "$hook" ] || continue
        name=${hook##*/}
        cp "$hook" "/target/root/$name"
        chmod 700 "/target/root/$name"
        step=$name
        in-target "/root/$name"
        rm "/target/root/$name"
    done
}

# The card's name, which must be the same in the new system.
network() {
    for card in /sys/class/net/*; do
        [ ! -e "$card/device" ] || say "network ${card##*/} $(cat "$card/address")"
    done
}

packages() {
    # shellcheck disable=SC2016 # dpkg-query fills these in.
    chroot /target dpkg-query -W -f '${Package} ${Version} ${Architecture}\n' |
        while read -r each; do say "package $each"; done
}

step="the keys of $user"
keys
step="access without a password"
[ ! -e "$answers/without-password" ] || without_password
hooks
step="the package sources"
sources
step="the network card"
network
step="the list of packages"
packages
sync
say "late: done"
