#!/bin/sh
# The installer runs this when the new system is complete below /target. Every step writes to the log, which the
# installing machine reads. The last line there reports success.
set -eu
answers=/hostwright
user=$(cat "$answers/user")

# The log names the step that fails.
step=start
trap '[ $? -eq 0 ] || say "late: failed: $step"' EXIT

say() { logger -t hostwright "$*"; }

keys() {
    in-target install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
    cp "$answers/authorized_keys" "/target/home/$user/.ssh/authorized_keys"
    in-target chown "$user:$user" "/home/$user/.ssh/authorized_keys"
    chmod 600 "/target/home/$user/.ssh/authorized_keys"
}

# A user without a password cannot enter one.
without_password() {
    mkdir -p /target/etc/sudoers.d
    echo "$user ALL=(ALL:ALL) NOPASSWD: ALL" >"/target/etc/sudoers.d/$user"
    chmod 440 "/target/etc/sudoers.d/$user"
    echo "PasswordAuthentication no" >/target/etc/ssh/sshd_config.d/keys-only.conf
}

# During the install the archive is at a loopback port of the installing machine, which later no longer exists.
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

# The card's name must be the same in the new system.
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
